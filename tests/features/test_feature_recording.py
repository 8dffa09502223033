"""Agreement with the slow second implementation on a real recording."""

import pyarrow.parquet as pq
import pytest

from daedalus_features import FeatureConfig
from features.reference import Event, run
from features.sequences import columns, differences, gathered, in_chunks

BOOKS, TRADES, LEVELS = 1_100, 4_500, 60


@pytest.fixture(scope="module")
def recording(shared_data) -> list[Event]:
    """About two minutes of BTC/USDT: books of 60 levels every 0.1 s, and the trades, in order of time."""
    folder = shared_data / "binance_depth1000_2026-02"
    books = pq.read_table(
        folder / "lobdeep_btc_spot_2026-02-16_04.parquet",
        columns=["ts_ms", "bids_px", "bids_qty", "asks_px", "asks_qty"],
    ).slice(0, BOOKS)
    trades = pq.read_table(folder / "trades_btc_spot_2026-02-16_04.parquet", columns=["ts_ms", "price", "qty", "side"])

    def top_levels(name: str) -> list[list[float]]:
        every = books[name].combine_chunks().flatten().to_numpy()
        return every.reshape(len(books), -1)[:, :LEVELS].tolist()

    sides = [
        [tuple(zip(price, size, strict=True)) for price, size in zip(*map(top_levels, names), strict=True)]
        for names in (("bids_px", "bids_qty"), ("asks_px", "asks_qty"))
    ]
    events = [
        Event("book", ts * 1_000_000, bids, asks)
        for ts, bids, asks in zip(books["ts_ms"].to_pylist(), *sides, strict=True)
    ]
    end = events[-1].ts
    for place, trade in enumerate(trades.slice(0, TRADES).to_pylist()):
        side = (1 if trade["side"] == "buy" else -1) if place % 5 else 0
        events.append(Event("trade", trade["ts_ms"] * 1_000_000, price=trade["price"], amount=trade["qty"], side=side))
    return sorted((event for event in events if event.ts <= end), key=lambda event: event.ts)


@pytest.mark.parametrize("every", [100_000, 37])
def test_rows_and_bars_agree_on_a_recording(recording, every):
    params = FeatureConfig(bar_durations=(10, 60), vpin_bucket_size=0.05)
    whole = columns(recording, params)
    expected = run(recording, params)
    assert len(expected.rows) > 100
    assert expected.rows[-1].cells["kyle_lambda"] is not None
    assert expected.rows[-1].cells["vpin"] is not None
    assert expected.rows[-1].cells["spread_regime"] is not None
    found = gathered(in_chunks(whole, range(every, len(whole), every)))
    assert differences(found, expected) == []
