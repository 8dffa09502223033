"""Fixtures of the ingestor's tests: a tapped exchange without a network, and whole processes."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daedalus_ingestor.ccxt_exchange import ExchangeAccess, make_exchange
from ingestor.offline_exchange import OfflineExchange
from support.spooling import Replica, Stream

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
async def offline() -> AsyncIterator[Callable[..., OfflineExchange]]:
    """`offline("okx", "BTC/USDT")`: the tapped exchange, into whose websocket the test puts frames."""
    made: list[OfflineExchange] = []

    def make(exchange_id: str, *symbols: str, **options: Any) -> OfflineExchange:
        access = ExchangeAccess(exchange_id, exchange_id, symbols, NOWHERE, timedelta(seconds=30))
        made.append(OfflineExchange(make_exchange(access), symbols, **options))
        return made[-1]

    yield make
    for exchange in made:
        await exchange.close()


@pytest.fixture
async def stream() -> Stream:
    return Stream()


@pytest.fixture
async def replica(tmp_path: Path, stream: Stream) -> Replica:
    replica = Replica(tmp_path / "spool")
    await replica.take(stream, 1)
    return replica
