"""The benchmarks by name, in the order in which they run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import burst, etl, features, featurizer, footprint, ingest, latency, recording, scaling, writer
from benchmarks.results import Measurement
from benchmarks.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`measure` raises Skipped where it cannot run, and anything else where it or what it measures is wrong."""

    name: str
    summary: str
    measure: Callable[[Workbench], Sequence[Measurement]]


CATALOGUE = (
    Benchmark("ingest", "CPU of the ingestor per book update, against ccxt.pro alone", ingest.measure),
    Benchmark("burst", "a burst of 40,000 events: recorded, and seen by bare watch loops", burst.measure),
    Benchmark("writer", "rows a second from a full stream to Parquet, against pyarrow alone", writer.measure),
    Benchmark("featurizer", "events a second on one core, all columns", featurizer.measure),
    Benchmark("scaling", "what a second featurizer brings", scaling.measure),
    Benchmark("features", "a live step, and a market's state, without any service", features.measure),
    Benchmark("etl", "Bronze to Silver in batch: one core, two workers, memory", etl.measure),
    Benchmark("latency", "from the exchange to the stream, from the grid to Silver", latency.measure),
    Benchmark("recording", "a real recording through everything: right, and how many bytes", recording.measure),
    Benchmark("footprint", "memory, CPU and append-only file with 10 markets", footprint.measure),
)
