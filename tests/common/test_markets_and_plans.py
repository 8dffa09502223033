"""Names that are safe in keys and paths; plans that name the same objects every time."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
import pytest

from daedalus_common.markets import Market, path_symbol
from daedalus_common.plans import (
    HOUR_NS,
    Destination,
    Plan,
    bronze_destination,
    counters_after,
    gold_destination,
    hour_at,
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
    assert hour_at(1_770_127_199_999_999_999 // HOUR_NS) == HOUR_14.replace(hour=13)
    assert hour_at(1_770_127_200_000_000_000 // HOUR_NS) == HOUR_14


def test_destinations_follow_the_layout() -> None:
    market = "exchange=binanceus/symbol=BTC-USDT"
    day = "year=2026/month=2/day=3"
    stamp = "20260203T14"
    assert bronze_destination("ccxt", "trades", BTC, HOUR_14) == Destination(
        "bronze/ccxt/trades", f"{market}/{day}/hour=14", stamp
    )
    assert silver_destination("orderbook", BTC, HOUR_14) == Destination("silver/orderbook", f"{market}/{day}", stamp)
    assert gold_destination("bars", 60, BTC, HOUR_14) == Destination(
        "gold/bars", f"duration=60/{market}/year=2026/month=2", stamp
    )


def plan_of(*hours: datetime, counters: dict[str, str] | None = None) -> Plan:
    rows = Counter(bronze_destination("ccxt", "trades", BTC, hour) for hour in hours)
    return plan_for(rows, counters or {})


def plan_for(rows: Mapping[Destination, int], counters: Mapping[str, str]) -> Plan:
    n = sum(rows.values())
    return make_plan(
        stream="raw", cursor="0-0", first_id="1-0", last_id=f"{n}-0", entries=n, rows=rows, counters=counters
    )


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


def test_counters_go_on_by_time_though_partitions_sort_by_name() -> None:
    nine, ten = HOUR_14.replace(hour=9), HOUR_14.replace(hour=10)
    plan = plan_of(nine, ten, counters={"bronze/ccxt/trades": "20260203T09 6"})
    assert [(s.stamp, s.counter) for s in plan.segments] == [("20260203T09", 7), ("20260203T10", 1)]
    assert counters_after(plan.segments) == {"bronze/ccxt/trades": "20260203T10 1"}


def test_bars_of_each_duration_have_their_own_counter() -> None:
    rows = {gold_destination("bars", 60, BTC, HOUR_14): 2, gold_destination("bars", 300, BTC, HOUR_14): 1}
    plan = plan_for(rows, {"gold/bars/duration=300": "20260203T14 3"})
    assert [(s.rows, s.counter) for s in plan.segments] == [(1, 4), (2, 1)]
    assert counters_after(plan.segments) == {
        "gold/bars/duration=60": "20260203T14 1",
        "gold/bars/duration=300": "20260203T14 4",
    }


def test_rows_of_two_schemas_in_one_hour_are_two_parts_with_two_counters() -> None:
    place = silver_destination("orderbook", BTC, HOUR_14)
    other = msgspec.structs.replace(place, schema="0b")
    plan = plan_for({other: 2, place: 3}, {"silver/orderbook": "20260203T14 7"})
    assert [(s.schema, s.counter, s.rows) for s in plan.segments] == [("", 8, 3), ("0b", 9, 2)]
    assert [segment.destination for segment in plan.segments] == [place, other]
    assert counters_after(plan.segments) == {"silver/orderbook": "20260203T14 9"}


def test_a_plan_survives_its_encoding() -> None:
    plan = plan_of(HOUR_14, HOUR_15)
    assert Plan.decode(plan.encode()) == plan
    assert plan.encode() == plan_of(HOUR_14, HOUR_15).encode()
