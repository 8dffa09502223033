"""A history of Bronze for one or more markets: hourly segments of the writer's own form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.market_events import Event, Mix, market_events
from benchmarks.workbench import Workbench
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.bronze import BronzeBuilder

TRADES_PER_BOOK = 0.3


@dataclass(frozen=True, slots=True)
class History:
    """What was made: `files` are the order-book segments of all markets, in order."""

    books: int
    per_second: float
    files: tuple[Path, ...]

    @property
    def sample(self) -> Path:
        return self.files[0]


def bronze_history(
    bench: Workbench, folder: Path, markets: Sequence[Market], *, books: int, per_second: float, levels: int
) -> History:
    """So many books per market at equal distances, and a trade to every third."""
    store = LocalDisk(folder, fsync=False)
    mix = Mix(per_second * (1 + TRADES_PER_BOOK), TRADES_PER_BOOK)
    files: list[Path] = []
    count = 0
    for market in markets:
        builder = BronzeBuilder(store, market)
        events = market_events(bench, int(books * (1 + TRADES_PER_BOOK)), mix, levels)
        count += _books_of(events)
        builder.write_payloads(events)
        files += [folder / key for key in builder.keys if "/orderbook/" in key]
    return History(count, per_second, tuple(files))


def _books_of(events: Sequence[Event]) -> int:
    return sum(payload[0] == 0 for _, payload in events)
