"""Loads packages one after the other and computes with them: `python trial.py MODULE...`

Run by its path as a process of its own, for it dies where a package has an instruction that the processor lacks.
A line each: `try NAME` before, `fail NAME REASON` where it could not be loaded.
"""

import importlib
import io
import sys


def main(modules: list[str]) -> None:
    for name in modules:
        print("try", name, flush=True)  # noqa: T201  (a program of its own: this is its answer)
        try:
            importlib.import_module(name)
            if name == "pyarrow.parquet":
                _write_parquet()
        except Exception as error:
            print("fail", name, f"{type(error).__name__}: {error}".replace("\n", " "), flush=True)  # noqa: T201


def _write_parquet() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"number": [float(n) for n in range(1000)], "text": ["a", "b"] * 500})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    if not pq.read_table(pa.BufferReader(file.getvalue())).equals(table):
        raise ValueError("what was written is not what is read back")


if __name__ == "__main__":
    main(sys.argv[1:])
