"""No lock holds a version that is known to crash on a Raspberry Pi."""

from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from support.checkout import ROOT

# Tried under emulation, November 2026; `python -m tools.check_arm64` is what finds such versions.
CRASHING = {
    "pyarrow": (SpecifierSet("==21.0.0"), "SIGILL on a Pi 4"),
    "deltalake": (SpecifierSet("<1.6.0"), "SIGABRT on pages of 16 KiB"),
    "burner-redis": (SpecifierSet("==0.1.7"), "crashes when it ends"),
}
LOCKS = [ROOT / "requirements.lock", *sorted((ROOT / "deploy" / "requirements").glob("*.lock"))]


def crashing(lock: str) -> list[str]:
    """The pins of a lock that crash, and how."""
    pins = [line.split(" ", 1)[0].split("==") for line in lock.splitlines() if "==" in line and line[0].isalnum()]
    return [
        f"{name} {version}: {CRASHING[name][1]}"
        for name, version in pins
        if name in CRASHING and CRASHING[name][0].contains(Version(version), prereleases=True)
    ]


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.name)
def test_no_lock_holds_a_version_that_crashes_on_a_raspberry_pi(file: Path) -> None:
    assert crashing(file.read_text(encoding="utf-8")) == []


def test_a_version_that_crashes_is_found() -> None:
    lock = "numpy==2.4.6 \\\n    --hash=sha256:00\npyarrow==21.0.0 \\\ndeltalake==1.5.9 ; os_name == 'posix' \\\n"
    assert crashing(lock) == ["pyarrow 21.0.0: SIGILL on a Pi 4", "deltalake 1.5.9: SIGABRT on pages of 16 KiB"]


def test_a_version_beside_those_that_crash_is_let_pass() -> None:
    assert crashing("pyarrow==21.0.1 \\\ndeltalake==1.6.0 \\\nburner-redis==0.1.8 \\\n") == []
