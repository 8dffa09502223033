"""The real recording of two symbols, and what Bronze must hold after its replay."""

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from support.offline import assert_silver_and_gold_follow_from_bronze, bronze

SYMBOLS = {"BTC/USDT": "btcusdt", "ETH/USDT": "ethusdt"}
"""The recorded symbols, and the beginnings of their files' names."""


@dataclass
class Tape:
    """What the recording of one symbol holds: depth updates and trades by their ids, tops by their update id."""

    last_update_id: int = 0
    depth: list[int] = field(default_factory=list)
    trades: list[str] = field(default_factory=list)
    tickers: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)


def files_of(shared_data: Path, symbol: str) -> list[Path]:
    """The symbol's two files in date order."""
    return [shared_data / "binance_spot_2024-08" / f"{SYMBOLS[symbol]}_{day}.gz" for day in ("20240808", "20240809")]


def partition_of(symbol: str) -> str:
    return f"exchange=binanceus/symbol={symbol.replace('/', '-')}"


def frames(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Every frame as a client on a plain stream sees it, and the depth snapshot."""
    for path in paths:
        with gzip.open(path, "rt") as lines:
            for line in lines:
                frame = json.loads(line.split(" ", 1)[1])
                yield frame.get("data", frame)


def tape_of(paths: Sequence[Path]) -> Tape:
    tape = Tape()
    for frame in frames(paths):
        if "lastUpdateId" in frame:
            tape.last_update_id = frame["lastUpdateId"]
        elif frame.get("e") == "depthUpdate":
            tape.depth.append(frame["u"])
        elif frame.get("e") == "trade":
            tape.trades.append(str(frame["t"]))
        elif "B" in frame:
            tape.tickers[frame["u"]] = (float(frame["b"]), float(frame["B"]), float(frame["a"]), float(frame["A"]))
    return tape


def check_market(data: Path, market: str, tape: Tape) -> int:
    """Fails unless Bronze is the recording, and Silver and Gold follow from it; how many tops bookTickers confirm."""
    books = bronze(data, "orderbook", market)
    nonces = books["nonce"].to_list()
    # The updates that reached ccxt before its snapshot are part of the first book it gives.
    expected = [u for u in tape.depth if u >= nonces[0]]
    assert nonces == expected, f"{market}: {len(expected)} updates expected, {len(nonces)} others recorded"
    assert nonces[0] <= next(u for u in tape.depth if u > tape.last_update_id), f"{market}: begins late"
    assert bronze(data, "trades", market)["id"].to_list() == tape.trades, f"{market}: trades differ"
    confirmed = tops_equal_to_tickers(books, tape)
    assert confirmed > 1000, f"{market}: only {confirmed} tops could be compared"
    gaps = bronze(data, "control", market).filter(pl.col("kind") == "gap")
    assert set(gaps["reason"].to_list()) == {"start"}, "nothing else may be declared"
    rows = assert_silver_and_gold_follow_from_bronze(data, market)["silver/orderbook"]
    assert rows > 5, f"{market}: only {rows} Silver rows"
    return confirmed


def tops_equal_to_tickers(books: pl.DataFrame, tape: Tape) -> int:
    """How many recorded books a bookTicker speaks of; fails where they differ in price or size."""
    tops = np.column_stack(
        [books[name].list.first().to_numpy() for name in ("bid_price", "bid_size", "ask_price", "ask_size")]
    )
    spoken = [i for i, nonce in enumerate(books["nonce"].to_list()) if nonce in tape.tickers]
    oracle = np.array([tape.tickers[books["nonce"][i]] for i in spoken])
    np.testing.assert_array_equal(tops[spoken], oracle)
    return len(spoken)
