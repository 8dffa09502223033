"""What every benchmark gets: how long it may take, a folder, the recordings, and somebody who listens."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from benchmarks.results import Skipped

ROOT = Path(__file__).resolve().parents[1]
Size = Literal["short", "full"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Workbench:
    """`size` decides how much is measured; `name` is the benchmark's, for its progress lines."""

    name: str
    size: Size

    def pick(self, *, short: _T, full: _T) -> _T:
        return short if self.size == "short" else full

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", file=sys.stderr, flush=True)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder, gone afterwards."""
        with tempfile.TemporaryDirectory(prefix=f"daedalus-bench-{self.name}-") as folder:
            yield Path(folder)

    def recordings(self) -> Path:
        """The folder of real recordings beside the checkout. Raises Skipped."""
        folder = ROOT.parent / "shared" / "data" / "binance_spot_2024-08"
        if not folder.is_dir():
            raise Skipped("it needs ../shared/data, the recordings that lie beside the checkout")
        return folder


def seconds_until(condition: Callable[[], bool], what: str, patience_seconds: float, poll_seconds: float) -> float:
    """How long it took until the condition held; TimeoutError when it does not in time."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > patience_seconds:
            raise TimeoutError(f"{what}: not within {patience_seconds:g} s")
        time.sleep(poll_seconds)
    return time.perf_counter() - began
