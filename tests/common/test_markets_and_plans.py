"""Names that are safe in keys and paths; plans that name the same objects every time."""

from datetime import UTC, datetime

import pytest

from daedalus_common.markets import Market, path_symbol
from daedalus_common.plans import (
    Destination,
    Plan,
    bronze_destination,
    counters_after,
    gold_destination,
    hour_of,
    make_plan,
    object_key,
    silver_destination,
)

BTC = Market("binanceus", "BTC/USDT")
HOUR_14 = datetime(2026, 2, 3, 14, tzinfo=UTC)
HOUR_15 = datetime(2026, 2, 3, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("BTC/USDT:USDT", "BTC-USDT_USDT"),
        ("BTC/USD:BTC-240927-40000-C", "BTC-USD_BTC-240927-40000-C"),
        ("{A}/B C", "%7BA%7D-B%20C"),
    ],
)
def test_a_symbol_becomes_one_path_segment(symbol: str, name: str) -> None:
    assert path_symbol(symbol) == name


def test_the_hour_of_a_time_is_its_partition() -> None:
    assert hour_of(1_770_127_199_999_999_999) == HOUR_14.replace(hour=13)
    assert hour_of(1_770_127_200_000_000_000) == HOUR_14


def test_destinations_follow_the_layout() -> None:
    market = "exchange=binanceus/symbol=BTC-USDT"
    day = "year=2026/month=2/day=3"
    stamp = "20260203T14"
    assert bronze_destination("ccxt", "trades", BTC, HOUR_14) == Destination(
        "bronze/ccxt/trades", f"{market}/{day}/hour=14", stamp
    )
    assert silver_destination("orderbook", BTC, HOUR_14) == Destination(
        "silver/orderbook", f"{market}/{day}", stamp
    )
    assert gold_destination("bars", 60, BTC, HOUR_14) == Destination(
        "gold/bars", f"duration=60/{market}/year=2026/month=2", stamp
    )


def plan_of(*hours: datetime, counters: dict[str, str] | None = None) -> Plan:
    places = [bronze_destination("ccxt", "trades", BTC, hour) for hour in hours]
    ids = [f"{i}-0" for i in range(1, len(hours) + 1)]
    return make_plan("raw", "0-0", ids, places, counters or {})


def test_a_run_within_an_hour_is_one_segment() -> None:
    plan = plan_of(HOUR_14, HOUR_14, HOUR_14)
    assert [object_key(segment) for segment in plan.segments] == [
        "bronze/ccxt/trades/exchange=binanceus/symbol=BTC-USDT/year=2026/month=2/day=3/hour=14/"
        "segment_20260203T14_00001.parquet"
    ]
    assert plan.segments[0].rows == 3
    assert (plan.first_id, plan.last_id, plan.entries) == ("1-0", "3-0", 3)


def test_a_run_across_an_hour_is_two_segments_and_each_hour_counts_from_one() -> None:
    plan = plan_of(HOUR_14, HOUR_15, HOUR_15, counters={"bronze/ccxt/trades": "20260203T14 6"})
    assert [(s.stamp, s.counter, s.rows) for s in plan.segments] == [("20260203T14", 7, 1), ("20260203T15", 1, 2)]
    assert counters_after(plan.segments) == {"bronze/ccxt/trades": "20260203T15 1"}


def test_bars_of_each_duration_have_their_own_counter() -> None:
    places = [gold_destination("bars", d, BTC, HOUR_14) for d in (60, 300, 60)]
    plan = make_plan("gold", "0-0", ["1-0", "2-0", "3-0"], places, {"gold/bars/duration=300": "20260203T14 3"})
    assert [(s.rows, s.counter) for s in plan.segments] == [(1, 4), (2, 1)]
    assert counters_after(plan.segments) == {
        "gold/bars/duration=60": "20260203T14 1",
        "gold/bars/duration=300": "20260203T14 4",
    }


def test_a_plan_survives_its_encoding() -> None:
    plan = plan_of(HOUR_14, HOUR_15)
    assert Plan.decode(plan.encode()) == plan
    assert plan.encode() == plan_of(HOUR_14, HOUR_15).encode()
