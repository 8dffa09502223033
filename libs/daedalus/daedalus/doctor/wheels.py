"""Whether the installed packages run on this processor and its pages: by known facts, and by trying."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from daedalus.doctor.findings import Finding, error, info, ok, warning

_TRIAL = Path(__file__).with_name("trial.py")
_TRIAL_SECONDS = 120.0
"""A Raspberry Pi with an SD card and no bytecode yet takes half a minute."""

NATIVE: Mapping[str, str] = {
    "numpy": "numpy",
    "pyarrow.parquet": "pyarrow",
    "pydantic_core": "pydantic-core",
    "msgspec": "msgspec",
    "hiredis": "hiredis",
    "psutil": "psutil",
    "orjson": "orjson",
    "uvloop": "uvloop",
    "cryptography.hazmat.bindings._rust": "cryptography",
    "polars": "polars",
    "duckdb": "duckdb",
    "deltalake": "deltalake",
}
"""Module to load -> package, of those with machine code; what is not installed is not tried."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What the installed packages meet."""

    machine: str
    features: frozenset[str]
    page_size_bytes: int
    python_bits: int

    @property
    def lacks_atomics(self) -> bool:
        """ARMv8.0, such as the Cortex-A72 of a Raspberry Pi 4: no LSE instructions."""
        return self.machine == "aarch64" and bool(self.features) and "atomics" not in self.features


@dataclass(frozen=True, slots=True)
class _Bad:
    package: str
    versions: Callable[[tuple[int, ...]], bool]
    where: Callable[[Processor], bool]
    seen: str
    fix: str


_KNOWN_BAD = (
    _Bad(
        "pyarrow", lambda found: found == (21, 0, 0), lambda cpu: cpu.lacks_atomics,
        "dies on this processor (ARMv8.0 without LSE): illegal instruction", "pip install 'pyarrow>=22'",
    ),
    _Bad(
        "deltalake", lambda found: found < (1, 6, 0), lambda cpu: cpu.page_size_bytes > 4096,
        "aborts on pages larger than 4 KiB", "pip install 'deltalake>=1.6.0'",
    ),
)  # fmt: skip
"""Found by running them on an emulated Cortex-A72, with pages of 4 and of 16 KiB."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of loading a package: None = it runs."""

    package: str
    failure: str | None


def installed() -> dict[str, str]:
    """Package -> version, of those with machine code that are installed here."""
    found = {}
    for package in NATIVE.values():
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def try_packages(
    modules: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = _TRIAL_SECONDS,
) -> list[Trial]:
    """Loads the modules in another process; where one kills it, the next ones in a new process."""
    wanted = {name: pack for name, pack in NATIVE.items() if _is_there(name)} if modules is None else dict(modules)
    failures: dict[str, str] = {}
    left = list(wanted)
    while left:
        tried = _run(left, env, timeout_seconds, failures)
        left = left[tried:]
    return [Trial(package, failures.get(module)) for module, package in wanted.items()]


def judge_processor(cpu: Processor, model: str | None) -> Finding:
    """Whether there are packages for it at all."""
    subject = "processor"
    seen = ", ".join(filter(None, (cpu.machine, model)))
    if cpu.python_bits < 64 or cpu.machine in ("armv6l", "armv7l", "i686"):
        return error(
            subject, f"{seen}, {cpu.python_bits}-bit Python: there are no packages for 32-bit systems",
            "install a 64-bit system (Raspberry Pi OS Lite, 64-bit)",
        )  # fmt: skip
    if cpu.machine == "x86_64" and cpu.features and "sse4_2" not in cpu.features:
        return error(
            subject, f"{seen} without SSE4.2, which numpy and pyarrow need",
            "use a processor made after 2010; in a virtual machine choose the host's processor model",
        )  # fmt: skip
    if cpu.machine not in ("x86_64", "aarch64", "arm64"):
        return warning(subject, f"{seen}: not among those that are tested", "use x86_64 or aarch64")
    return ok(subject, f"{seen} (ARMv8.0, no LSE)" if cpu.lacks_atomics else seen)


def judge_versions(cpu: Processor, versions: Mapping[str, str]) -> list[Finding]:
    """The installed versions that are known not to run here."""
    return [
        error(f"package {bad.package}", f"{versions[bad.package]} {bad.seen}", bad.fix)
        for bad in _KNOWN_BAD
        if bad.package in versions and bad.where(cpu) and bad.versions(_numbers(versions[bad.package]))
    ]


def judge_trials(trials: Sequence[Trial]) -> list[Finding]:
    """What the trial showed."""
    failed = [
        error(
            f"package {trial.package}", f"does not run here: {trial.failure}",
            f"pip install --force-reinstall {trial.package}; where that does not help, another version of it",
        )
        for trial in trials
        if trial.failure is not None
    ]  # fmt: skip
    if failed or not trials:
        return failed or [info("packages", "none with machine code is installed")]
    return [ok("packages", f"all {len(trials)} with machine code run: {_listed(trial.package for trial in trials)}")]


def _run(
    modules: Sequence[str], env: Mapping[str, str] | None, timeout_seconds: float, failures: dict[str, str]
) -> int:
    """How many were tried, at least one; notes failures by module."""
    command = [sys.executable, str(_TRIAL), *modules]
    try:
        done = subprocess.run(command, env=env, capture_output=True, timeout=timeout_seconds, check=False)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output, code = late.stdout or b"", None
    lines = [line.split(" ", 2) for line in output.decode(errors="replace").splitlines()]
    tried = [line[1] for line in lines if line[0] == "try"]
    failures.update({line[1]: line[2] for line in lines if line[0] == "fail" and len(line) == 3})
    if code == 0:
        return len(modules)
    end = f"no answer within {timeout_seconds:g} s" if code is None else _end(code)
    failures[tried[-1] if tried else modules[0]] = end
    return max(1, len(tried))


def _end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    causes = {
        signal.SIGILL: " (an instruction that this processor lacks)",
        signal.SIGABRT: " (often the page size)",
    }
    return f"killed by {name}{causes.get(signal.Signals(-code), '')}"


def _is_there(module: str) -> bool:
    return find_spec(module.split(".", 1)[0]) is not None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _listed(packages: Iterable[str]) -> str:
    return ", ".join(packages)
