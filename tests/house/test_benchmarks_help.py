"""The benchmarks' command line; what they measure is nothing to assert."""

import subprocess
import sys

from support.checkout import ROOT


def benchmarks(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_the_benchmarks_and_gives_examples() -> None:
    answer = benchmarks("--help")
    assert answer.returncode == 0
    for word in ("ingest", "burst", "writer", "featurizer", "latency", "recording", "footprint", "examples:"):
        assert word in answer.stdout


def test_an_unknown_benchmark_is_refused_with_the_known_names() -> None:
    answer = benchmarks("--only", "writter")
    assert answer.returncode == 2
    assert "writter" in answer.stderr
    assert "'writer'" in answer.stderr
    assert answer.stdout == ""
