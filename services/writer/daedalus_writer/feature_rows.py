"""Entries of the silver and gold streams as rows of their tables, by the schemas that the market declares."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from msgspec.structs import replace
from numpy.typing import NDArray

from daedalus_common.batches import Foreign, RawEntry
from daedalus_common.broker.keys import GOLD
from daedalus_common.entries import ForeignEntry
from daedalus_common.markets import Market
from daedalus_common.plans import Destination, gold_destination, silver_destination
from daedalus_common.rows import Column, RowSchema, schema_id, unpack_rows
from daedalus_common.tables import BAR_DURATION, rows_table
from daedalus_writer.arrays import bools, categories, numbers
from daedalus_writer.arrow_tables import arrow_schema
from daedalus_writer.hours import HOUR_NS, hour_at
from daedalus_writer.stored_rows import StoredRows, split

Schemas = Mapping[bytes, RowSchema]
Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LARGEST_WHOLE = 2.0**53


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    key: tuple[int, int, int]
    payload: bytes


def schema_ids(entries: Sequence[RawEntry]) -> frozenset[bytes]:
    """The schemas that these rows need, as far as the entries are rows at all."""
    return frozenset(bytes(fields[b"p"][:8]) for _, fields in entries if b"p" in fields)


def feature_rows(
    market: Market, layer: str, entries: Sequence[RawEntry], schemas: Schemas
) -> tuple[dict[Destination, StoredRows], tuple[Foreign, ...]]:
    """Rows by their place in Silver or Gold, and the entries that are not ours.

    Never raises for an entry's content; a row of an unknown schema is refused, never guessed.
    """
    rows: dict[bytes, list[_Row]] = defaultdict(list)
    foreign: list[Foreign] = []
    for id_, fields in entries:
        try:
            row = _row(id_, fields, layer, schemas)
            rows[row.payload[:8]].append(row)
        except ForeignEntry as error:
            foreign.append(Foreign(id_.decode(), str(error)))
    places: dict[Destination, StoredRows] = {}
    for id_, of_schema in rows.items():
        found, refused = _rows_of_schema(market, schemas[id_], of_schema)
        places |= found
        foreign += refused
    return places, tuple(foreign)


def _row(id_: bytes, fields: Mapping[bytes, bytes], layer: str, schemas: Schemas) -> _Row:
    try:
        payload, seq, table = fields[b"p"], int(fields[b"s"]), fields[b"c"]
        id_of_schema = schema_id(payload)
        key = (*map(int, id_.split(b"-")), seq)
    except KeyError as error:
        raise ForeignEntry(f"field {error} is missing") from error
    except ValueError as error:
        raise ForeignEntry(f"no row: {error}") from error
    schema = schemas.get(id_of_schema)
    if schema is None:
        raise ForeignEntry(f"unknown schema {id_of_schema.hex()}")
    if (schema.layer, schema.table.encode()) != (layer, table):
        raise ForeignEntry(f"schema {id_of_schema.hex()} is of {schema.layer} {schema.table}, not of this table")
    timestamp = int.from_bytes(payload[8:16], "little")
    if not 0 < seq < 2**53 or max(key) >= 2**63 or timestamp >= 2**62:
        raise ForeignEntry(f"seq {seq}, timestamp {timestamp} or the id is out of range")
    _checked_by_itself(schema, payload)
    return _Row(id_.decode(), (key[0], key[1], seq), payload)


def _checked_by_itself(schema: RowSchema, payload: bytes) -> None:
    """Raises ForeignEntry unless the payload has the length that its bitmap says."""
    start = 16 + (len(schema.columns) + 7) // 8
    present = int.from_bytes(payload[16:start], "little") & ((1 << len(schema.columns)) - 1)
    if len(payload) != start + 8 * present.bit_count():
        raise ForeignEntry(f"row of {len(payload)} bytes does not have the length its bitmap says")


def _rows_of_schema(
    market: Market, schema: RowSchema, rows: Sequence[_Row]
) -> tuple[dict[Destination, StoredRows], list[Foreign]]:
    timestamp, values = unpack_rows(schema, [row.payload for row in rows])
    wrong = _wrong_values(schema, values)
    foreign = [Foreign(rows[i].id, "a value does not fit its column") for i in np.flatnonzero(wrong).tolist()]
    right = np.flatnonzero(~wrong)
    if not len(right):
        return {}, foreign
    timestamp, values = timestamp[right], values[right]
    keys = np.array([rows[i].key for i in right.tolist()], dtype=np.int64)
    table = rows_table(schema)
    columns = [numbers(timestamp, pa.timestamp("ns", "UTC")), numbers(keys[:, 2], pa.int64())]
    columns += [_column(column, values[:, i]) for i, column in enumerate(schema.columns)]
    stored = StoredRows(table, pa.Table.from_arrays(columns, schema=arrow_schema(table)), keys, schema.id.hex())
    places: dict[Destination, StoredRows] = {}
    for duration, of_duration in _by_duration(schema, stored, values).items():
        for hour, of_hour in split(of_duration, _hours(of_duration)).items():
            places[_destination(market, schema, duration, hour)] = of_hour
    return places, foreign


def _wrong_values(schema: RowSchema, values: Float64s) -> Bools:
    """Rows with a value that its column cannot hold: such a row is of a faulty producer."""
    wrong: Bools = np.zeros(len(values), dtype=np.bool_)
    for i, column in enumerate(schema.columns):
        cells = values[:, i]
        low, high = _range(column)
        if column.dtype != "float64":
            # NaN is null and passes: it compares as false.
            wrong |= (cells < low) | (cells > high) | (np.floor(cells) < cells)
        if column.name == BAR_DURATION:
            wrong |= ~(cells >= 1)
    return wrong


def _range(column: Column) -> tuple[float, float]:
    if column.dtype == "bool":
        return 0.0, 1.0
    if column.dtype == "category":
        return 0.0, len(column.labels) - 1.0
    return -_LARGEST_WHOLE, _LARGEST_WHOLE


def _column(column: Column, cells: Float64s) -> pa.Array:
    absent = np.isnan(cells)
    if column.dtype == "float64":
        return numbers(cells, pa.float64(), absent)
    whole = np.where(absent, 0.0, cells).astype(np.int64)
    if column.dtype == "int64":
        return numbers(whole, pa.int64(), absent)
    if column.dtype == "bool":
        return bools(whole.astype(np.bool_), absent)
    return categories(whole.astype(np.int32), column.labels, absent)


def _by_duration(schema: RowSchema, rows: StoredRows, values: Float64s) -> dict[int, StoredRows]:
    """Rows by bar duration in seconds; 0 stands for rows that are no time bars."""
    names = [column.name for column in schema.columns]
    if schema.layer != GOLD or BAR_DURATION not in names:
        return {0: rows}
    return split(rows, values[:, names.index(BAR_DURATION)].astype(np.int64))


def _hours(rows: StoredRows) -> NDArray[np.int64]:
    timestamp: NDArray[np.int64] = rows.arrow["timestamp"].cast(pa.int64()).to_numpy()
    return timestamp // HOUR_NS


def _destination(market: Market, schema: RowSchema, duration: int, hour: int) -> Destination:
    if schema.layer == GOLD:
        place = gold_destination(schema.table, duration or None, market, hour_at(hour))
    else:
        place = silver_destination(schema.table, market, hour_at(hour))
    return replace(place, schema=schema.id.hex())
