"""Makes Parquet objects of packed rows as the writer does, reads them back, and keeps them.

    parquet_objects.py ROWS FOLDER

Runs in the emulated machine and on this one. ROWS is what featurizer_rows.py wrote, FOLDER gets an object per table.
"""

import io
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.feature_tables import stored_table, wrong_values
from daedalus_common.parquet.objects import Draft, read_identity
from daedalus_common.rows import RowSchema, unpack_rows


def main(rows: Path, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    sizes = []
    for layer, table, columns, payloads in msgspec.msgpack.decode(rows.read_bytes()):
        data = read_back(msgspec.json.decode(columns, type=RowSchema), payloads)
        (folder / f"{layer}-{table}.parquet").write_bytes(data)
        sizes.append(len(data))
    print(f"{len(sizes)} objects, {sum(sizes)} bytes, pyarrow {pa.__version__}")
    return 0 if sizes else 1


def read_back(schema: RowSchema, payloads: list[bytes]) -> memoryview:
    """The object of these rows; RuntimeError where what is read is not what was written."""
    timestamp, values = unpack_rows(schema, payloads)
    if wrong_values(schema, values).any():
        raise RuntimeError(f"{schema.table}: values that their columns cannot hold")
    number = np.arange(1, len(payloads) + 1)
    rows = stored_table(schema, timestamp, values, np.stack([number, 0 * number, number], axis=1))
    draft = Draft(rows.table, rows.schema, Compression("zstd", 3))
    draft.add(rows)
    data, identity = draft.finished(Market("binanceus", "BTC/USDT"), {"stream": schema.layer})
    # On this thread: Arrow's scanner may still have one of its own when the program ends, which is then aborted
    # (apache/arrow#39862; seen here with 15 programs waiting for each processor).
    found = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True).read(use_threads=False)
    # Labels are read as text.
    if not found.equals(rows.arrow.cast(found.schema)) or read_identity(io.BytesIO(data)) != identity:
        raise RuntimeError(f"{schema.table}: the object does not hold what was written")
    return data


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
