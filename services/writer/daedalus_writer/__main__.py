"""Writes Parquet from the streams: `python -m daedalus_writer --config FILE`."""

import gc
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

from daedalus_common.broker import keys
from daedalus_common.broker.client import Client, connect_to
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Role
from daedalus_common.service import ServiceContext, run_service, wait_for_redis
from daedalus_common.surroundings import watch_disk, watched
from daedalus_writer.carrying_out import Carrier
from daedalus_writer.patience import Patience
from daedalus_writer.run_writing import RunWriter
from daedalus_writer.settings import Settings, settings_from
from daedalus_writer.shelves import Shelves, open_shelves
from daedalus_writer.writer import Writer

# Entries are tens of thousands of small containers without cycles. At the default of 700 the collector looks through
# them so often that reading takes twice as long (13 instead of 7 us an entry).
GC_THRESHOLD = 50_000


async def run(context: ServiceContext) -> None:
    gc.set_threshold(GC_THRESHOLD)
    settings = settings_from(context.config)
    client = connect_to(context.config.redis)
    try:
        with _threads(settings.upload_threads) as pool:
            shelves = await open_shelves(settings.bronze_store, settings.feature_store, pool, context)
            for store in (settings.bronze_store, settings.feature_store):
                if store.backend == "local":
                    watch_disk(store.role.removeprefix("storage."), store.base_dir)
            if shelves and await wait_for_redis(client, context.stop, context.health, context.log):
                async with watched(client):
                    await _writer(context, settings, client, shelves, pool).run(context.stop)
    finally:
        await client.aclose()


def _writer(context: ServiceContext, settings: Settings, client: Client, shelves: Shelves, pool: Executor) -> Writer:
    market_log = MarketLog(client, keys.groups(features=bool(context.config.etl.channels.enabled)))
    patience = Patience(context.health)
    carrier = Carrier(market_log, shelves, pool, patience, settings.keep, settings.max_dead_letters)
    keeper = LeaseKeeper(client, Role.WRITER, context.name, settings.markets, settings.lease_ttl, lambda: uuid4().hex)
    run_writer = RunWriter(market_log, carrier, patience, settings.compression)
    return Writer(market_log, keeper, run_writer, patience, context.health, settings.limits, settings.pace)


@contextmanager
def _threads(count: int) -> Iterator[Executor]:
    pool = ThreadPoolExecutor(count, thread_name_prefix="write")
    try:
        yield pool
    finally:
        # An upload that hangs must not hold up the stop: its plan stays, and carrying it out again does no harm.
        pool.shutdown(wait=False, cancel_futures=True)


if __name__ == "__main__":
    sys.exit(run_service("writer", "Writes Parquet from the streams.", run, sys.argv[1:], os.environ))
