"""What the catalogue finds in Bronze, and what it does not even look at."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from daedalus.etl.bronze_catalog import BronzeCatalog
from daedalus.etl.filters import FilterSpec
from daedalus_common.events import Heartbeat, Trade
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk, ObjectInfo, ObjectStore
from support.bronze import BronzeBuilder

BTC = Market("binanceus", "BTC/USDT")
ETH = Market("binanceus", "ETH/USDT")
PERPETUAL = Market("coinbase", "BTC/USDT:USDT")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def write_hours(store: ObjectStore, market: Market, *starts: datetime) -> BronzeBuilder:
    """A heartbeat in each of these hours, and a trade in every second one."""
    bronze = BronzeBuilder(store, market)
    for number, start in enumerate(starts):
        ts = int(start.timestamp()) * 1_000_000_000 + 1
        bronze.write([Heartbeat(ts), *([Trade(ts, None, "1", 1.0, 1.0, None)] if number % 2 else [])])
    return bronze


class Watched(LocalDisk):
    """Knows which folders were looked into and which objects were opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fsync=False)
        self.seen: list[str] = []

    def list(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        self.seen.append(prefix)
        return super().list(prefix, start_after)

    def folders(self, prefix: str = "") -> Iterator[str]:
        self.seen.append(prefix)
        return super().folders(prefix)


@pytest.fixture
def catalog(tmp_path: Path) -> BronzeCatalog:
    return BronzeCatalog(Watched(tmp_path / "lake"))


def test_markets_have_the_symbols_that_the_exchange_uses(disk: LocalDisk, catalog: BronzeCatalog) -> None:
    for market in (PERPETUAL, ETH, BTC):
        write_hours(disk, market, NOON)
    assert catalog.markets() == [BTC, ETH, PERPETUAL]
    assert catalog.markets(FilterSpec(symbol="BTC/USDT:USDT")) == [PERPETUAL]
    assert catalog.markets(FilterSpec(exchange="binanceus", symbol="ETH-USDT")) == [ETH]
    assert catalog.markets(FilterSpec(exchange="kraken")) == []


def test_an_empty_store_has_no_markets(catalog: BronzeCatalog) -> None:
    assert catalog.markets() == []
    assert list(catalog.hours(BTC)) == []
    assert catalog.days(BTC, "control") == []


def test_a_market_whose_first_segments_are_damaged_is_named_by_a_later_one(
    disk: LocalDisk, catalog: BronzeCatalog, tmp_path: Path
) -> None:
    keys = write_hours(disk, PERPETUAL, NOON, NOON + timedelta(hours=1)).keys
    (tmp_path / "lake" / keys[0]).write_bytes(b"")
    assert catalog.markets() == [PERPETUAL]
    for key in keys:
        (tmp_path / "lake" / key).write_bytes(b"")
    assert catalog.markets() == [Market("coinbase", "BTC-USDT_USDT")]
    assert len(list(catalog.hours(catalog.markets()[0]))) == 2


def test_what_is_no_segment_is_passed_over(disk: LocalDisk, catalog: BronzeCatalog) -> None:
    write_hours(disk, BTC, NOON)
    at = "bronze/ccxt/trades/exchange=binanceus/symbol=BTC-USDT/year=2026/month=1/day=31"
    strange = ("year=x", "year=0", "year=2026/month=13", "year=2026/month=2/day=30", "year=2026/month=1/day=31/hour=24")
    for folder in [at, f"{at}/hour=12/more", *(f"{at[: at.index('/year')]}/{name}" for name in strange)]:
        disk.create(f"{folder}/segment_20260131T12_00001.parquet", b"", {})
    disk.create(f"{at}/hour=12/notes.txt", b"", {})
    disk.create("bronze/ccxt/late/exchange=binanceus/symbol=XRP-USDT/spool.bin", b"", {})
    disk.create("bronze/ccxt/trades/exchange=kraken/readme.txt", b"", {})
    assert catalog.markets() == [BTC]
    (hour,) = catalog.hours(BTC)
    assert sorted(hour.segments) == ["control"]


def test_hours_come_in_order_with_the_segments_of_all_tables(disk: LocalDisk, catalog: BronzeCatalog) -> None:
    starts = [NOON + timedelta(hours=hours) for hours in (0, 1, 12, 13, 24 * 40)]
    bronze = write_hours(disk, BTC, *starts)
    hours = list(catalog.hours(BTC))
    assert [hour.start for hour in hours] == starts
    assert [hour.day for hour in hours][1:3] == [date(2026, 1, 31), date(2026, 2, 1)]
    assert [sorted(hour.segments) for hour in hours] == [["control"], ["control", "trades"]] * 2 + [["control"]]
    assert [key for hour in hours for keys in hour.keys().values() for key in keys] == sorted(
        bronze.keys, key=lambda key: (key.rsplit("_")[-2], "trades/" not in key)
    )
    sizes = {key: size for hour in hours for key, size in hour.sizes().items()}
    assert sizes == {info.key: info.size_bytes for info in disk.list()}
    assert hours[0].size_bytes == sum(hours[0].sizes().values())


def test_segments_of_an_hour_come_by_their_counter_as_a_number(disk: LocalDisk, catalog: BronzeCatalog) -> None:
    at = "bronze/ccxt/trades/exchange=binanceus/symbol=BTC-USDT/year=2026/month=1/day=31/hour=2"
    for counter in (100_000, 2, 99_999, 10):
        disk.create(f"{at}/segment_20260131T02_{counter:05d}.parquet", b"", {})
    (hour,) = catalog.hours(BTC)
    counters = [int(key[-13:-8].lstrip("_")) for key in hour.keys()["trades"]]
    assert counters == [2, 10, 99_999, 0]  # the last is 100000, of which these are five digits


def test_a_range_of_days_restricts_the_hours(disk: LocalDisk, catalog: BronzeCatalog) -> None:
    write_hours(disk, BTC, *(NOON + timedelta(days=days) for days in range(60)))
    days = FilterSpec(begin=date(2026, 2, 9), end=date(2026, 2, 11))
    assert [hour.day.day for hour in catalog.hours(BTC, days)] == [9, 10, 11]
    assert catalog.days(BTC, "control", days) == [date(2026, 2, day) for day in (9, 10, 11)]
    assert len(catalog.days(BTC, "trades")) == 30
    assert list(catalog.hours(BTC, FilterSpec(begin=date(2027, 1, 1)))) == []
    assert list(catalog.hours(BTC, FilterSpec(exchange="kraken"))) == []


def test_hours_go_on_after_one(disk: LocalDisk, catalog: BronzeCatalog) -> None:
    write_hours(disk, BTC, *(NOON + timedelta(hours=hours) for hours in (0, 5, 11, 12, 36)))

    def after(hour: int, filters: FilterSpec = FilterSpec()) -> list[int]:  # noqa: B008 frozen
        return [found.hour for found in catalog.hours(BTC, filters, after_hour=hour)]

    noon = int(NOON.timestamp()) // 3600
    assert after(noon) == [noon + 5, noon + 11, noon + 12, noon + 36]
    assert after(noon + 11) == [noon + 12, noon + 36]
    assert after(noon + 36) == []
    assert after(noon + 5, FilterSpec(end=date(2026, 1, 31))) == [noon + 11]
    assert after(noon + 12, FilterSpec(end=date(2026, 1, 31))) == []


def test_what_does_not_match_is_neither_listed_nor_opened(disk: LocalDisk, tmp_path: Path) -> None:
    for market in (BTC, ETH, PERPETUAL):
        write_hours(disk, market, *(NOON + timedelta(days=days) for days in (0, 1, 40, 400)))
    store = Watched(tmp_path / "lake")
    catalog = BronzeCatalog(store)
    filters = FilterSpec("binanceus", "BTC/USDT", date(2026, 2, 1), date(2026, 2, 28))
    assert catalog.markets(filters) == [BTC]
    assert len(list(catalog.hours(BTC, filters))) == 1
    assert store.seen
    assert not [at for at in store.seen if "coinbase" in at or "ETH" in at or "2027" in at or "month=3" in at]
    below_a_month = [at for at in store.seen if "/day=" in at]
    assert all(at.endswith("/year=2026/month=2/day=1/") for at in below_a_month)
    assert len(below_a_month) == 2  # of the tables control and trades


def test_a_bucket_is_listed_like_a_disk(open_bucket: Callable[[], ObjectStore], disk: LocalDisk) -> None:
    bucket = open_bucket()
    for store in (disk, bucket):
        for market in (BTC, PERPETUAL):
            write_hours(store, market, *(NOON + timedelta(hours=hours) for hours in (0, 1, 13)))
    on_disk, in_bucket = BronzeCatalog(disk), BronzeCatalog(bucket)
    assert in_bucket.markets() == on_disk.markets() == [BTC, PERPETUAL]
    for filters in (FilterSpec(), FilterSpec(begin=date(2026, 2, 1))):
        expected = [(hour.hour, hour.keys()) for hour in on_disk.hours(BTC, filters)]
        assert [(hour.hour, hour.keys()) for hour in in_bucket.hours(BTC, filters)] == expected
