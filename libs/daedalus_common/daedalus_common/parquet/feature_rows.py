"""Entries of the silver and gold streams as rows of their tables, by the schemas that the market declares."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from daedalus_common.batches import Foreign, RawEntry
from daedalus_common.entries import ForeignEntry
from daedalus_common.markets import Market
from daedalus_common.parquet.feature_tables import by_duration, row_destination, stored_table, wrong_values
from daedalus_common.parquet.stored_rows import StoredRows, split
from daedalus_common.plans import HOUR_NS, Destination
from daedalus_common.rows import RowSchema, schema_id, unpack_rows

Schemas = Mapping[bytes, RowSchema]


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
    wrong = wrong_values(schema, values)
    foreign = [Foreign(rows[i].id, "a value does not fit its column") for i in np.flatnonzero(wrong).tolist()]
    right = np.flatnonzero(~wrong)
    if not len(right):
        return {}, foreign
    keys = np.array([rows[i].key for i in right.tolist()], dtype=np.int64)
    stored = stored_table(schema, timestamp[right], values[right], keys)
    places: dict[Destination, StoredRows] = {}
    for duration, of_duration in by_duration(schema, stored).items():
        for hour, of_hour in split(of_duration, of_duration.timestamp // HOUR_NS).items():
            places[row_destination(market, schema, duration, hour)] = of_hour
    return places, foreign
