"""A row packed into one stream field comes back with its nulls, and only under its own schema."""

import numpy as np
import pytest

from daedalus_common.rows import Column, RowSchema, UnknownSchema, pack_rows, unpack_rows

SCHEMA = RowSchema("silver", "orderbook", tuple(Column(f"c{i}") for i in range(11)))


def test_rows_come_back_with_their_timestamps_values_and_nulls() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(50, 11))
    values[rng.random(values.shape) < 0.3] = np.nan
    timestamp = np.arange(50, dtype=np.int64) * 1_000_000_000 + 1_770_000_000_000_000_000
    back_timestamp, back = unpack_rows(SCHEMA, pack_rows(SCHEMA, timestamp, values))
    assert back_timestamp.tolist() == timestamp.tolist()
    np.testing.assert_array_equal(back, values)


def test_a_null_takes_no_bytes() -> None:
    full = pack_rows(SCHEMA, np.array([1]), np.ones((1, 11)))[0]
    empty = pack_rows(SCHEMA, np.array([1]), np.full((1, 11), np.nan))[0]
    assert len(full) - len(empty) == 11 * 8


@pytest.mark.parametrize(
    "other",
    [
        RowSchema("gold", "orderbook", SCHEMA.columns),
        RowSchema("silver", "orderbook", SCHEMA.columns[:-1]),
        RowSchema("silver", "orderbook", (*SCHEMA.columns[:-1], Column("c10", unit="base"))),
    ],
)
def test_a_row_of_another_schema_is_refused(other: RowSchema) -> None:
    payload = pack_rows(SCHEMA, np.array([1]), np.ones((1, 11)))
    with pytest.raises(UnknownSchema):
        unpack_rows(other, payload)


@pytest.mark.parametrize("cut", [0, 5, 16, 17, 30])
def test_a_cut_row_is_refused(cut: int) -> None:
    payload = pack_rows(SCHEMA, np.array([1]), np.ones((1, 11)))[0][:cut]
    with pytest.raises(ValueError, match="row of"):
        unpack_rows(SCHEMA, [payload])
