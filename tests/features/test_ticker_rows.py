"""Rows of the ticker table, worked out by hand."""

import math

import pytest

from daedalus_features import FeatureConfig, Tickers, advance
from features.reference import Event
from features.sequences import as_dicts, at, columns, gathered

PARAMS = FeatureConfig(channels=("ticker",))
GIVEN = {
    "bid": 99.0,
    "bid_size": 2.0,
    "ask": 101.0,
    "ask_size": 3.0,
    "last": 100.5,
    "open": 95.0,
    "high": 102.0,
    "low": 94.0,
    "vwap": 98.5,
    "base_volume": 1000.0,
    "quote_volume": 98_500.0,
}


def ticker(ts: int, **changes: float) -> Event:
    return Event("ticker", ts, ticker=tuple({**GIVEN, **changes}[name] for name in Tickers.FIELDS))


def row_of(**changes: float) -> dict:
    (row,) = as_dicts(gathered([advance(None, columns([ticker(at(1.5), **changes)], PARAMS))])["ticker"])
    return row


def test_a_ticker_is_a_row_with_the_exchanges_own_fields():
    assert row_of() == {
        "timestamp": at(1.5),
        "mid_price": 100.0,
        "spread": 2.0,
        "relative_spread": 0.02,
        "last_vs_mid": 0.005,
        **GIVEN,
    }


@pytest.mark.parametrize(
    "quote",
    [
        {"bid": math.nan},
        {"ask": math.nan},
        {"bid": 101.0},
        {"bid": 102.0},
        {"bid": 0.0},
        {"bid": -99.0},
        {"bid": 1e-16},
        {"ask": math.inf},
        {"ask": 1e16},
    ],
)
def test_without_a_usable_bid_below_a_usable_ask_there_is_no_mid(quote):
    row = row_of(**quote)
    assert [row[name] for name in ("mid_price", "spread", "relative_spread", "last_vs_mid")] == [None] * 4
    (name, value) = next(iter(quote.items()))
    assert row[name] == (value if math.isfinite(value) else None)
    assert row["last"] == 100.5


@pytest.mark.parametrize("last", [math.nan, math.inf, 0.0, -1.0, 1e16])
def test_without_a_usable_last_price_only_its_distance_is_null(last):
    row = row_of(last=last)
    assert (row["mid_price"], row["last_vs_mid"]) == (100.0, None)


@pytest.mark.parametrize("name", Tickers.FIELDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_field_that_is_not_finite_is_null(name, value):
    row = row_of(**{name: value})
    assert row[name] is None
    assert all(row[other] == GIVEN[other] for other in GIVEN if other != name)


def test_a_ticker_of_nothing_is_a_row_of_nulls():
    row = row_of(**dict.fromkeys(GIVEN, math.nan))
    assert {name for name, value in row.items() if value is not None} == {"timestamp"}


def test_each_ticker_is_a_row_even_at_one_time_and_among_other_events():
    events = [ticker(at(1)), Event("gap", at(1)), ticker(at(1), last=1.0), Event("heartbeat", at(2)), ticker(at(0))]
    rows = as_dicts(gathered([advance(None, columns(events, PARAMS))])["ticker"])
    assert [(row["timestamp"], row["last"]) for row in rows] == [(at(1), 100.5), (at(1), 1.0), (at(2), 100.5)]


def test_tickers_keep_their_places_in_a_part_of_the_sequence():
    events = columns([ticker(at(i), last=float(i)) for i in range(6)])
    part = events.part(2, 5)
    assert part.tickers.position.tolist() == [0, 1, 2]
    assert part.tickers.column("last").tolist() == [2.0, 3.0, 4.0]


def test_a_field_of_another_name_is_refused():
    with pytest.raises(ValueError, match="not in"):
        Tickers.empty().column("bids")
