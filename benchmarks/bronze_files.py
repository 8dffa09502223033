"""The writer's own files, read back with the types that it wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common.parquet.arrow_tables import arrow_schema
from daedalus_common.tables import BRONZE, Table


def table_of(path: Path) -> Table:
    """The declaration of the table that the file belongs to, by its folder."""
    return BRONZE[path.parts[path.parts.index("ccxt") + 1]]


def read_rows(paths: Sequence[Path]) -> Any:
    """The rows of files of one table as one Arrow table in the order of the market's sequence."""
    schema = arrow_schema(table_of(paths[0]))
    read = [pq.ParquetFile(path).read().cast(schema) for path in paths]
    joined = pa.Table.from_arrays(pa.concat_tables(read).columns, schema=schema)
    return joined.sort_by("seq").combine_chunks()


def group_rows(path: Path) -> int:
    """How many rows the file's first row group holds, which is the longest."""
    rows: int = pq.read_metadata(path).row_group(0).num_rows
    return rows
