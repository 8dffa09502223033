"""Looks into a folder of Parquet objects as a user would."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common.lake import current
from daedalus_common.stores import LocalDisk


def objects(folder: Path) -> list[str]:
    """The keys of all objects, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))


def counting(folder: Path, below: str) -> list[Path]:
    """The objects below a prefix that count: a merged one stands for those it covers."""
    store = LocalDisk(folder)
    infos = (info for info in store.list(f"{below}/") if info.key.endswith(".parquet"))
    return [folder / info.key for info in current(store, infos).objects]


def stored(folder: Path, table: str) -> pa.Table:
    """All rows of a table such as `bronze/ccxt/trades`, object by object in the order of their first entry."""
    found = counting(folder, table)
    found.sort(key=lambda path: _place(metadata(path)["first_id"]))
    return pa.concat_tables([pq.ParquetFile(path).read() for path in found])


def metadata(path: Path) -> dict[str, str]:
    """What the writer says of an object in its footer."""
    pairs = pq.read_metadata(path).metadata.items()
    return {key.decode().removeprefix("daedalus."): value.decode() for key, value in pairs}


def seqs_in(path: Path) -> list[int]:
    """The seq of every row of one object."""
    seqs: list[int] = pq.ParquetFile(path).read(columns=["seq"])["seq"].to_pylist()
    return seqs


def all_seqs(folder: Path, layer: str) -> list[int]:
    """The seq of every row of a layer, ascending; a missing or doubled row shows."""
    return sorted(seq for path in counting(folder, layer) for seq in seqs_in(path))


def _place(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)
