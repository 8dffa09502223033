"""The rows that the featurizer added to a market's streams, and those that one pure computation gives."""

import numpy as np

from daedalus_common.batches import decode_batch
from daedalus_common.broker import keys
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.markets import Market
from daedalus_common.rows import RowSchema, schema_id, unpack_rows
from daedalus_features import advance
from daedalus_featurizer.decoding import events_of
from daedalus_featurizer.row_schemas import row_schema

BTC = Market("binanceus", "BTC/USDT")
Rows = dict[tuple[str, str], tuple[list[int], np.ndarray]]


async def streamed(market_log: MarketLog, schemas: dict[bytes, RowSchema] | None = None) -> Rows:
    """What the silver and gold streams hold, in order, by (layer, table)."""
    known = schemas or await market_log.schemas(BTC)
    found: dict[tuple[str, str], list[tuple[int, np.ndarray]]] = {}
    for stream in (keys.SILVER, keys.GOLD):
        for number, (_, fields) in enumerate(await market_log.read(BTC, stream, BEGINNING, 100_000), start=1):
            assert int(fields[b"s"]) == number, "the seq of rows is contiguous"
            schema = known[schema_id(fields[b"p"])]
            timestamp, values = unpack_rows(schema, [fields[b"p"]])
            found.setdefault((schema.layer, fields[b"c"].decode()), []).append((int(timestamp[0]), values[0]))
    return {
        name: ([timestamp for timestamp, _ in rows], np.array([values for _, values in rows]))
        for name, rows in found.items()
        if len({len(values) for _, values in rows}) == 1
    }


async def computed_at_once(market_log: MarketLog) -> Rows:
    """The same sequence through the pure features in one piece."""
    batch = decode_batch(await market_log.read(BTC, keys.RAW, BEGINNING, 1_000_000))
    found: Rows = {}
    for rows in advance(None, events_of(batch)).rows:
        schema = row_schema(rows.table)
        before = found.get((schema.layer, schema.table), ([], np.empty((0, len(schema.columns)))))
        found[schema.layer, schema.table] = (
            before[0] + rows.timestamp.tolist(),
            np.concatenate([before[1], rows.values]),
        )
    return {name: rows for name, rows in found.items() if len(rows[0])}


def assert_same(left: Rows, right: Rows) -> None:
    assert left.keys() == right.keys()
    for name, (timestamp, values) in left.items():
        assert timestamp == right[name][0], name
        np.testing.assert_allclose(values, right[name][1], rtol=1e-9, atol=1e-9, err_msg=str(name))
