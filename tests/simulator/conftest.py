"""A synthetic simulator for each test that asks for one."""

from collections.abc import AsyncIterator

import pytest

from simulator.harness import Simulator, simulator


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    """Two lively markets of its own for the test."""
    async with simulator("--symbols", "BTC/USDT", "ETH/USDT", "--depth-rate", "100", "--trade-rate", "30") as running:
        yield running
