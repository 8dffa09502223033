"""Real frames through the simulator, ccxt.pro, Redis and the writer: Bronze shows exactly the books they spell."""

from pathlib import Path

import pytest

from support.recording import SYMBOLS, check_market, files_of, partition_of, tape_of
from support.stack import Stack

SPEED = 30
CONFIG = {
    "ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": [*SYMBOLS], "watchTrades": [*SYMBOLS]}}}},
    "features": {"bar_durations": [5]},
}


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_every_real_update_is_recorded_once_and_every_book_ticker_agrees(shared_data: Path, tmp_path: Path) -> None:
    paths = {symbol: files_of(shared_data, symbol) for symbol in SYMBOLS}
    with Stack(tmp_path, CONFIG) as stack:
        stack.start("writer")
        stack.start("featurizer")
        stack.wait_until(lambda: stack.lag("binanceus:ETH-USDT", "raw", "featurizer") == 0, "featurizer is there")
        simulator = stack.simulate(
            "--replay", *(str(path) for both in paths.values() for path in both),
            "--speed", str(SPEED), "--await-subscriptions", "4",
        )  # fmt: skip
        stack.start("ingestor")
        stack.wait_until(lambda: simulator.status()["done"], "the tape ends", 120)
        stack.stop_in_order()
    for symbol, both in paths.items():
        check_market(stack.data, partition_of(symbol), tape_of(both))
