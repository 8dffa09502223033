"""The unit for machines without containers: systemd accepts it, and finds little that it could do to the system."""

import shutil
import subprocess
from pathlib import Path

import pytest

from daedalus.cli.up import EXIT_CONFIGURATION
from daedalus_common.config import parse_config
from support.checkout import ROOT

FOLDER = ROOT / "deploy" / "systemd"
UNIT = FOLDER / "daedalus.service"
MOST_EXPOSURE = 20
"""Tenths of a point, of 100; systemd calls up to 2.0 "OK". A unit without any of it has 9.2."""

INSTALLED = "/opt/daedalus"


@pytest.fixture
def analyze() -> str:
    """The program, or the test is skipped."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("needs systemd-analyze (Debian: apt-get install systemd)")
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with its drop-in as on a Pi, for this checkout in place of /opt/daedalus."""
    program = tmp_path / "opt" / ".venv" / "bin" / "daedalus"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    place = tmp_path / "units" / "daedalus.service"
    drop_in = place.with_name("daedalus.service.d") / "pi4.conf"
    drop_in.parent.mkdir(parents=True)
    place.write_text(UNIT.read_text().replace(INSTALLED, str(tmp_path / "opt")))
    shutil.copy(FOLDER / "pi4.conf", drop_in)
    return place


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def settings(path: Path) -> dict[str, list[str]]:
    """Key -> its values in order, without comments."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_systemd_accepts_the_unit_and_the_drop_in_of_a_pi(analyze: str, installed: Path) -> None:
    done = run(analyze, "verify", "--man=no", "--recursive-errors=no", installed)
    assert (done.returncode, done.stderr) == (0, "")


def test_verify_would_have_told_a_wrong_key(analyze: str, installed: Path) -> None:
    installed.write_text(installed.read_text().replace("ProtectSystem=strict", "ProtectSystems=strict"))
    assert "ProtectSystems" in run(analyze, "verify", "--man=no", "--recursive-errors=no", installed).stderr


def test_what_it_could_do_to_the_system_is_little(analyze: str, installed: Path) -> None:
    measure = (analyze, "security", "--no-pager", "--offline=true", f"--threshold={MOST_EXPOSURE}")
    done = run(*measure, installed)
    assert done.returncode == 0, done.stdout
    installed.write_text(installed.read_text().replace("SystemCallFilter", "#SystemCallFilter"))
    assert run(*measure, installed).returncode != 0


def test_systemd_waits_longer_than_the_supervisor_does_for_a_service_that_hangs() -> None:
    (seconds,) = settings(UNIT)["TimeoutStopSec"]
    assert int(seconds) >= parse_config({}).supervisor.shutdown_timeout.total_seconds() + 60


def test_only_the_supervisor_is_told_to_stop_and_the_others_survive_a_killed_one() -> None:
    assert settings(UNIT)["KillMode"] == ["mixed"]
    assert settings(UNIT)["OOMPolicy"] == ["continue"]


def test_a_wrong_configuration_is_not_tried_again_and_everything_else_for_ever() -> None:
    unit = settings(UNIT)
    assert unit["RestartPreventExitStatus"] == [str(EXIT_CONFIGURATION)]
    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == (["always"], ["0"])


def test_files_that_the_units_name_are_in_the_checkout() -> None:
    for path in (UNIT, FOLDER / "pi4.conf"):
        words = path.read_text().replace("file:", "").split()
        named = [word.rstrip(".,") for word in words if word.startswith(f"{INSTALLED}/") and ".venv" not in word]
        assert [name for name in named if not (ROOT / name.removeprefix(f"{INSTALLED}/")).exists()] == []
