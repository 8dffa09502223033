"""What every row of the order-book table says about its interval."""

from daedalus_features.arrays import FloatArray
from daedalus_features.inputs import Intervals
from daedalus_features.registry import feature


@feature(unit="1", dtype="bool")
def gap(rows: Intervals) -> FloatArray:
    """Whether a gap event lies between the previous row's sampled book (or the start) and this row's."""
    return rows.gap.astype(float)


@feature(unit="1", dtype="int64")
def snapshot_count(rows: Intervals) -> FloatArray:
    """Number of valid books since the previous row."""
    return rows.snapshot_count
