"""What a run is built of, by its seed: the kind of store, clocks that can jump, an older build to begin with."""

from collections.abc import Sequence
from dataclasses import dataclass

from faults.cells import Cell
from faults.tools.clock import FakeClock
from faults.tools.disk import FaultyDisk
from faults.tools.older_build import OlderBuild


@dataclass(frozen=True, slots=True)
class Setup:
    """`s3` or a disk; whether wall clocks can jump; whether the services begin as an older build."""

    s3: bool
    clocks: bool
    older: bool
    disks: bool
    """Whether the disks of Redis, spool and store can fail."""

    @property
    def store(self) -> str:
        return "s3" if self.s3 else "disk"

    def missing(self, cell: Cell) -> str | None:
        """Why a cell is not applicable, None where it is."""
        return next((reason for need in sorted(cell.needs) if (reason := self._lacks(need)) is not None), None)

    def _lacks(self, need: str) -> str | None:
        if need == "s3":
            return None if self.s3 else "the store of this run is a disk"
        if need == "local":
            return "the store of this run is S3" if self.s3 else None
        has, tool = {
            "clocks": (self.clocks, FakeClock.missing()),
            "older": (self.older, OlderBuild.missing()),
            "disks": (self.disks, FaultyDisk.missing()),
        }[need]
        return None if has else tool or f"this run has no {need}"


def setup_of(seed: int, cells: Sequence[Cell]) -> Setup:
    """Eight seeds in a row have all combinations; what every chosen cell needs is there in any case."""
    common = frozenset.intersection(*(cell.needs for cell in cells)) if cells else frozenset()
    needed = frozenset[str]().union(*(cell.needs for cell in cells))
    return Setup(
        s3="s3" in common or ("local" not in common and ("local" not in needed or seed % 2 == 1) and "s3" in needed),
        clocks=FakeClock.missing() is None
        and "clocks" in needed
        and ("clocks" in common or seed // 2 % 2 == 1),
        older=OlderBuild.missing() is None and "older" in needed and ("older" in common or seed // 4 % 2 == 1),
        disks=FaultyDisk.missing() is None and "disks" in needed,
    )  # fmt: skip
