"""Measures this checkout: `python -m benchmarks --help`."""

import argparse
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # its support package starts the processes

from rich.console import Console

from benchmarks.catalogue import CATALOGUE, Benchmark
from benchmarks.report import as_json, print_table
from benchmarks.results import Outcome, Report, Skipped
from benchmarks.workbench import Workbench
from daedalus_common.telemetry.logs import configure_logging

WIDTH = 140
"""Of the table where nobody tells how wide the paper is."""

EXAMPLES = """
examples:
  python -m benchmarks                            everything, in about ten minutes
  python -m benchmarks --size short               everything with less data, in about three minutes
  python -m benchmarks --only writer featurizer   two of them
  python -m benchmarks --json > report.json       progress goes to stderr, the report to stdout

An aim that is missed is shown; the exit code is 1 only if a benchmark fails or what it measured is wrong.
"""


def main(arguments: Sequence[str]) -> int:
    """0 when every benchmark ran or was skipped, 1 when one failed, 2 for a wrong argument."""
    args = _parser().parse_args(arguments)
    chosen = [each for each in CATALOGUE if args.only is None or each.name in args.only]
    with tempfile.TemporaryDirectory(prefix="daedalus-bench-bytecode-") as folder:
        _let_bytecode_be_cached(folder)
        configure_logging("WARNING", "console", service="benchmarks")
        outcomes = tuple(_outcome(each, Workbench(each.name, args.size)) for each in chosen)
    report = Report(args.size, _machine(), outcomes)
    if args.json:
        print(as_json(report))
    else:
        print_table(report, Console(width=None if sys.stdout.isatty() else WIDTH))
    return 1 if report.failed else 0


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {each.name:<12}{each.summary}" for each in CATALOGUE)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measures the services as real processes, next to yardsticks in the same run.\n\n{listed}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [each.name for each in CATALOGUE]
    parser.add_argument("--size", choices=("short", "full"), default="full", help="how much (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="only these: " + ", ".join(names))
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    return parser


def _outcome(benchmark: Benchmark, bench: Workbench) -> Outcome:
    began = time.perf_counter()
    try:
        measurements = tuple(benchmark.measure(bench))
    except Skipped as skipped:
        bench.say(f"skipped, {skipped}")
        return Outcome(bench.name, time.perf_counter() - began, skipped=str(skipped))
    except Exception as error:  # the other benchmarks still have something to say
        traceback.print_exc()
        return Outcome(bench.name, time.perf_counter() - began, failed=f"{type(error).__name__}: {error}")
    bench.say(f"done in {time.perf_counter() - began:.0f} s")
    return Outcome(bench.name, time.perf_counter() - began, measurements)


def _let_bytecode_be_cached(folder: str) -> None:
    """Where Python is told to write none, each start of the ingestor compiles ccxt anew, for 6 s of CPU."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = folder


def _machine() -> dict[str, str]:
    return {"CPUs": str(os.cpu_count()), "on": platform.machine(), "Python": platform.python_version()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
