"""What the look at the newest objects costs on S3: it does not grow with the years that a market was recorded."""

from pathlib import Path
from typing import Any

import pytest

from daedalus_common.broker.keys import GOLD, RAW, SILVER
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from daedalus_writer.newest_objects import newest_objects

BTC = Market("binanceus", "BTC/USDT")


class Counted:
    """A store whose listings are counted in pages of S3, 1,000 keys each."""

    def __init__(self, store: LocalDisk) -> None:
        self._store = store
        self.pages = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def list(self, prefix: str = "", start_after: str | None = None) -> Any:
        found = list(self._store.list(prefix, start_after))
        self.pages += 1 + len(found) // 1000
        return iter(found)

    def folders(self, prefix: str = "") -> Any:
        """S3 gives the keys of the folder itself along with the folders in it."""
        own = sum("/" not in info.key.removeprefix(prefix) for info in self._store.list(prefix)) if prefix else 0
        found = list(self._store.folders(prefix))
        self.pages += 1 + (own + len(found)) // 1000
        return iter(found)


def fill(folder: Path, table: str, partition: str, word: str, stamps: dict[str, int]) -> None:
    place = folder / table / BTC.partition / partition
    place.mkdir(parents=True)
    for stamp, count in stamps.items():
        for counter in range(1, count + 1):
            (place / f"{word}_{stamp}_{counter:05d}.parquet").touch()


def fill_year(folder: Path, year: int) -> None:
    """Flushes every five seconds to Bronze, as many to Silver as a slow one, and a part an hour to Gold."""
    for month in (1, 12):
        stamps = {f"{year}{month:02}{day:02}T{hour:02}": 1 for day in range(1, 29) for hour in range(24)}
        fill(folder, "gold/bars", f"year={year}/month={month}", "part", stamps)
        for day in (1, 28):
            stamps = {f"{year}{month:02}{day:02}T{hour:02}": 100 for hour in range(24)}
            fill(folder, "silver/orderbook", f"year={year}/month={month}/day={day}", "part", stamps)
            for hour in (0, 23):
                place = f"year={year}/month={month}/day={day}/hour={hour}"
                fill(folder, "bronze/ccxt/trades", place, "segment", {f"{year}{month:02}{day:02}T{hour:02}": 720})


@pytest.mark.parametrize(("stream", "most"), [(RAW, 16), (SILVER, 10), (GOLD, 8)])
def test_years_of_data_cost_no_more_listings_than_a_day(stream: str, most: int, tmp_path: Path) -> None:
    pages = []
    for year in (2023, 2024, 2025):
        fill_year(tmp_path, year)
        store = Counted(LocalDisk(tmp_path, fsync=False))
        found = newest_objects(store, BTC, stream)
        assert [stamp.partition("T")[0] for stamp in found.counters.values()] == [f"{year}1228"]
        pages.append(store.pages)
    assert len(set(pages)) == 1, pages
    assert pages[0] <= most
