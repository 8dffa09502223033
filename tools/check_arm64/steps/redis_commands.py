"""Opens a market on a server, publishes events under a lease and reads them back, on uvloop as the ingestor does.

    redis_commands.py URL

Runs in the emulated machine; the server runs on this one.
"""

import asyncio
import sys

import hiredis
import redis
import uvloop

from daedalus_common.broker import keys
from daedalus_common.broker.client import connect
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.broker.scripts import Scripts
from daedalus_common.entries import encode_book
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market

BOOKS = 500
LEVELS = [(100.0 + level, 1.0) for level in range(50)]
TIME = 1_770_000_000_000_000_000


async def main(url: str) -> int:
    loop = type(asyncio.get_running_loop()).__module__
    market = Market("binanceus", "BTC/USDT")
    client = connect(url)
    try:
        log = MarketLog(client)
        await log.open_market(market)
        epoch, taken = await Scripts(client).call(
            "take_lease", [keys.lease(market, Role.INGESTOR)], ["check", "token", 60_000, ""]
        )
        lease = Lease(market, int(epoch), "token")
        sent = [encode_book(TIME + number, None, number, LEVELS, LEVELS) for number in range(BOOKS)]
        first, _ = await log.sequence(market)
        await log.publish(lease, first + 1, [(TIME + number, payload) for number, payload in enumerate(sent)])
        found = [fields[b"e"] for _, fields in await log.read(market, "raw", "0-0", 10 * BOOKS)]
    finally:
        await client.aclose()
    print(
        f"{len(found)} events of {len(sent)}; redis {redis.__version__}, hiredis {hiredis.__version__}, loop of {loop}"
    )
    return 0 if taken and found == sent and loop == "uvloop" else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main(sys.argv[1])))
