"""Real frames through the simulator, ccxt.pro, Redis and the writer: Bronze shows exactly the books they spell."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from support.offline import assert_silver_and_gold_follow_from_bronze, bronze
from support.stack import Stack

SPEED = 30
SYMBOLS = {"BTC/USDT": "btcusdt", "ETH/USDT": "ethusdt"}
CONFIG = {
    "ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": [*SYMBOLS], "watchTrades": [*SYMBOLS]}}}},
    "features": {"bar_durations": [5]},
}


@dataclass
class Tape:
    """What the recording of one symbol holds."""

    last_update_id: int = 0
    depth: list[int] = field(default_factory=list)
    trades: list[str] = field(default_factory=list)
    tickers: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)


def files_of(folder: Path, name: str) -> list[Path]:
    return [folder / "binance_spot_2024-08" / f"{name}_{day}.gz" for day in ("20240808", "20240809")]


def frames(paths: list[Path]) -> Iterator[dict]:
    for path in paths:
        with gzip.open(path, "rt") as lines:
            for line in lines:
                frame = json.loads(line.split(" ", 1)[1])
                yield frame.get("data", frame)


def tape_of(paths: list[Path]) -> Tape:
    tape = Tape()
    for frame in frames(paths):
        if "lastUpdateId" in frame:
            tape.last_update_id = frame["lastUpdateId"]
        elif frame.get("e") == "depthUpdate":
            tape.depth.append(frame["u"])
        elif frame.get("e") == "trade":
            tape.trades.append(str(frame["t"]))
        elif "B" in frame:
            tape.tickers[frame["u"]] = tuple(float(frame[name]) for name in ("b", "B", "a", "A"))
    return tape


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_every_real_update_is_recorded_once_and_every_book_ticker_agrees(shared_data: Path, tmp_path: Path) -> None:
    paths = {symbol: files_of(shared_data, name) for symbol, name in SYMBOLS.items()}
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
        check_market(stack.data, f"exchange=binanceus/symbol={symbol.replace('/', '-')}", tape_of(both))


def check_market(data: Path, market: str, tape: Tape) -> None:
    books = bronze(data, "orderbook", market)
    nonces = books["nonce"].to_list()
    # The updates that reached ccxt before its snapshot are part of the first book it gives.
    expected = [u for u in tape.depth if u >= nonces[0]]
    assert nonces == expected
    assert nonces[0] <= next(u for u in tape.depth if u > tape.last_update_id)
    assert bronze(data, "trades", market)["id"].to_list() == tape.trades
    assert tops_equal_to_tickers(books, tape) > 1000
    gaps = bronze(data, "control", market).filter(pl.col("kind") == "gap")
    assert set(gaps["reason"].to_list()) == {"start"}, "nothing else may be declared"
    assert assert_silver_and_gold_follow_from_bronze(data, market) > 20


def tops_equal_to_tickers(books: pl.DataFrame, tape: Tape) -> int:
    """How many recorded books a bookTicker speaks of; fails where they differ in price or size."""
    tops = np.column_stack(
        [books[name].list.first().to_numpy() for name in ("bid_price", "bid_size", "ask_price", "ask_size")]
    )
    spoken = [i for i, nonce in enumerate(books["nonce"].to_list()) if nonce in tape.tickers]
    oracle = np.array([tape.tickers[books["nonce"][i]] for i in spoken])
    np.testing.assert_array_equal(tops[spoken], oracle)
    return len(spoken)
