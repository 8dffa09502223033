"""What was computed there against what is computed here."""

from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

from daedalus_common.rows import RowSchema, unpack_rows

# Of a column's largest value. The C library's logarithm and exponential, and sums that fuse a multiplication, may
# round the last bit otherwise than on x86-64: 2e-13 was seen.
TOLERANCE = 1e-9


class Differs(Exception):
    """The two are not the same; the text says where."""


def compare_rows(there: Path, here: Path) -> str:
    """In words how close two files of featurizer_rows.py are. Raises Differs."""
    one, other = (msgspec.msgpack.decode(file.read_bytes()) for file in (there, here))
    if [table[:3] for table in one] != [table[:3] for table in other]:
        raise Differs("other tables or columns")
    largest, values, unlike = 0.0, 0, 0
    for (_, name, columns, rows), (*_, expected) in zip(one, other, strict=True):
        schema = msgspec.json.decode(columns, type=RowSchema)
        (at, found), (wanted_at, wanted) = unpack_rows(schema, rows), unpack_rows(schema, expected)
        if not np.array_equal(at, wanted_at) or not np.array_equal(np.isnan(found), np.isnan(wanted)):
            raise Differs(f"{name}: other rows, or values where there should be none")
        scale = np.nanmax(np.abs(wanted), axis=0, initial=np.finfo(float).tiny)
        apart = np.nan_to_num(np.abs(found - wanted) / scale)
        if (worst := apart.max(initial=0.0)) > TOLERANCE:
            column = schema.columns[int(apart.max(axis=0).argmax())].name
            raise Differs(f"{name}.{column}: {worst:.1e} of its largest value apart, {TOLERANCE:.0e} is allowed")
        largest = max(largest, worst)
        values += int((~np.isnan(wanted)).sum())
        unlike += int((apart > 0).sum())
    return f"{values} values as here, {unlike} of them but for rounding ({largest:.0e})"


def compare_objects(there: Path, here: Path) -> str:
    """In words that two folders hold the same Parquet objects, at whatever depth. Raises Differs."""
    names = objects_in(here)
    if not names or names != objects_in(there):
        raise Differs("other objects")
    for name in names:
        one, other = (pq.ParquetFile(folder / name, page_checksum_verification=True).read() for folder in (there, here))
        if not one.equals(other, check_metadata=True):
            raise Differs(f"{name}: other rows, columns or metadata")
    return f"{len(names)} objects hold here what they hold there"


def objects_in(folder: Path) -> list[str]:
    """The names of the Parquet objects in a folder, sorted."""
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.parquet"))
