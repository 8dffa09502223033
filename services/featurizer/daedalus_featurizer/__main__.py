"""Turns the events of a market into feature rows and bars: `python -m daedalus_featurizer --config FILE`."""

import os
import sys
from uuid import uuid4

from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Role
from daedalus_common.service import ServiceContext, run_service, wait_for_redis
from daedalus_featurizer.featurizer import Featurizer
from daedalus_featurizer.settings import settings_from


async def run(context: ServiceContext) -> None:
    settings = settings_from(context.config)
    redis = context.config.redis
    client = connect(redis.url, redis.username, redis.password.get_secret_value(), redis.socket_timeout)
    try:
        if await wait_for_redis(client, context.stop, context.health, context.log):
            keeper = LeaseKeeper(
                client, Role.FEATURIZER, context.name, tuple(settings.params), settings.lease_ttl, lambda: uuid4().hex
            )
            await Featurizer(settings, MarketLog(client), keeper, context.health).run(context.stop)
    finally:
        await client.aclose()


if __name__ == "__main__":
    sys.exit(
        run_service(
            "featurizer", "Turns the events of a market into feature rows and bars.", run, sys.argv[1:], os.environ
        )
    )
