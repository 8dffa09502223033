"""The compactor of this release says that it merges nothing yet, and does not pretend to have run."""

import subprocess
import sys


def run_compactor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daedalus_compactor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_says_that_merging_is_a_later_release() -> None:
    done = run_compactor("--help")
    assert done.returncode == 0
    assert "later release" in done.stdout


def test_a_run_says_that_it_does_nothing_and_fails() -> None:
    done = run_compactor()
    assert done.returncode == 1
    assert "changes no file" in done.stderr
    assert done.stdout == ""
