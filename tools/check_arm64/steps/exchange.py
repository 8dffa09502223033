"""Loads an exchange's module as the ingestor does, and makes a client of it that keeps a book.

    exchange.py NAME

Runs in the emulated machine. Nothing is sent.
"""

import asyncio
import sys
from datetime import timedelta

from daedalus_ingestor import lean_ccxt

lean_ccxt.install()

from daedalus_ingestor.ccxt_exchange import ExchangeAccess, make_exchange  # noqa: E402  (it imports ccxt)

CHANNELS = ("watchOrderBook", "watchTrades", "watchTicker")


async def main(name: str) -> int:
    client = make_exchange(ExchangeAccess(name, name, (), None, timedelta(seconds=30)))
    try:
        book = client.order_book({"bids": [[99.0, 1.0], [98.0, 2.0]], "asks": [[101.0, 1.0]], "nonce": 1}, 50)
        book["bids"].store(98.5, 3.0)
        watched = [channel for channel in CHANNELS if client.has[channel]]
        loaded = sum(module.startswith("ccxt.pro.") for module in sys.modules)
        print(f"{client.id}: {', '.join(watched)}; {loaded} modules of ccxt.pro loaded")
        return 0 if list(book["bids"])[1] == [98.5, 3.0] and len(watched) == len(CHANNELS) else 1
    finally:
        await client.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
