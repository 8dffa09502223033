"""The yardstick of the ingestor, as a process of its own: ccxt.pro's own loop, which records nothing.

python bare_loop.py URL SYMBOL CHANNEL...
    SIGUSR1: counts from zero on;  SIGTERM: prints {"books": awaited, "trades": given} and ends

The exchange comes from the ingestor's factory and the loop is uvloop, so that both differ in the recording alone.
"""

import asyncio
import json
import signal
import sys
from datetime import timedelta
from typing import Any

import uvloop

from daedalus_ingestor.ccxt_exchange import ExchangeAccess, make_exchange


class Seen:
    """What the loops were given."""

    def __init__(self) -> None:
        self.count_anew()

    def count_anew(self) -> None:
        self.books = 0
        self.trades = 0

    async def watch_books(self, exchange: Any, symbol: str) -> None:
        while True:
            await exchange.watch_order_book(symbol)
            self.books += 1

    async def watch_trades(self, exchange: Any, symbol: str) -> None:
        while True:
            self.trades += len(await exchange.watch_trades(symbol))


async def run(url: str, symbol: str, channels: list[str]) -> Seen:
    """Watches until SIGTERM."""
    seen, stop = Seen(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, seen.count_anew)
    exchange = make_exchange(ExchangeAccess("binanceus", "binanceus", (symbol,), url, timedelta(seconds=30)))
    watches = {"books": seen.watch_books, "trades": seen.watch_trades}
    tasks = [asyncio.create_task(watches[channel](exchange, symbol)) for channel in channels]
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await exchange.close()
    return seen


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(run(sys.argv[1], sys.argv[2], sys.argv[3:]))
    print(json.dumps({"books": result.books, "trades": result.trades}), flush=True)
