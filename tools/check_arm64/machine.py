"""The emulated machine: a Python of the images' version for aarch64, out of Debian's packages, under qemu-aarch64.

Only unpacked, never installed: neither root nor a container nor the kernel's binfmt is needed.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Cortex-A72, the Pi 4's: ARMv8.0 without the atomic instructions of 8.1 (LSE).
CPU = "cortex-a72"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# The images' base has libstdc++6 too: apt needs it there.
PACKAGES = ("libstdc++6",)
DONE = ".complete"


class CannotRun(Exception):
    """Something that the check needs is not here; the text says what to do."""


@dataclass(frozen=True)
class Base:
    """The Python of the images' base, `3.13`, and the Debian it stands on, `trixie`."""

    python: str
    suite: str

    @classmethod
    def of(cls, dockerfile: Path) -> "Base":
        text = dockerfile.read_text(encoding="utf-8")
        found = re.search(r"^ARG BASE=python:(\d+\.\d+)-slim-(\w+)$", text, re.MULTILINE)
        if found is None:
            raise CannotRun(f"{dockerfile}: there is no line ARG BASE=python:VERSION-slim-SUITE")
        return cls(found[1], found[2])


@dataclass(frozen=True)
class Ended:
    """How a program ended; `why` is empty where it ended well."""

    why: str
    seconds: float
    output: str
    errors: str

    @property
    def last_line(self) -> str:
        lines = self.output.strip().splitlines()
        return lines[-1] if lines else ""


@dataclass(frozen=True)
class Machine:
    """What runs programs for aarch64 here. `bytecode` keeps what Python compiles: its files are not written beside."""

    qemu: str
    root: Path
    python: str
    bytecode: Path

    def command(self, page: int, program: Path, arguments: Sequence[str]) -> list[str]:
        """The command line that runs a program of aarch64 on pages of this many bytes."""
        return [self.qemu, "-L", str(self.root), "-cpu", CPU, "-p", str(page), str(program), *arguments]

    def run(
        self, page: int, arguments: Sequence[str], path: Sequence[Path], env: Mapping[str, str], limit: float
    ) -> Ended:
        """Python with these arguments and folders to import from, for at most `limit` seconds."""
        command = self.command(page, self.root / "usr" / "bin" / f"python{self.python}", ["-P", *arguments])
        clean = {
            "HOME": str(self.root), "PATH": os.defpath, "LC_ALL": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONPYCACHEPREFIX": str(self.bytecode), **env,
        }  # fmt: skip
        begin = time.monotonic()
        try:
            done = subprocess.run(
                command, env=clean, capture_output=True, text=True, errors="replace", timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return Ended(f"did not end within {limit:g} s", time.monotonic() - begin, "", "")
        return Ended(why(done.returncode), time.monotonic() - begin, done.stdout, done.stderr)

    def confirm(self, page: int) -> None:
        """Raises CannotRun unless a program sees an aarch64 with this page size: a qemu may not know the option."""
        question = "import mmap, platform; print(platform.machine(), mmap.PAGESIZE)"
        ended = self.run(page, ["-c", question], (), {}, 60.0)
        if ended.why or ended.last_line != f"aarch64 {page}":
            raise CannotRun(f"{self.qemu} -p {page}: Python sees `{ended.last_line}` {ended.why} {ended.errors[-200:]}")


def why(code: int) -> str:
    """An exit code in words; empty for 0."""
    if code == 0:
        return ""
    # qemu dies of the guest's signal; where it cannot, it ends with 128 and the number, as a shell.
    number = -code if code < 0 else code - 128
    if number == signal.SIGILL:
        return "SIGILL: an instruction that a Cortex-A72 does not have"
    if number == signal.SIGABRT:
        return "SIGABRT: it gave up, often an allocator that cannot use this page size"
    if number in set(signal.Signals):
        return f"{signal.Signals(number).name}"
    return f"exit code {code}"


def prepared(folder: Path, base: Base, mirror: str | None) -> Machine:
    """The machine with its files in `folder`, where they are kept for the next time. Raises CannotRun."""
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if qemu is None:
        raise CannotRun("qemu-aarch64 is not installed; on Debian: apt-get install qemu-user")
    root = folder / f"{base.suite}-python{base.python}"
    if not (root / DONE).exists():
        shutil.rmtree(root, ignore_errors=True)
        for place in ("lib", "bin"):
            (root / "usr" / place).mkdir(parents=True)
            (root / place).symlink_to(f"usr/{place}")
        for file in downloaded(folder / "debian", base, mirror):
            _done(["dpkg-deb", "--extract", str(file), str(root)])
        (root / DONE).touch()
    return Machine(qemu, root, base.python, folder.resolve() / "bytecode")


def downloaded(folder: Path, base: Base, mirror: str | None) -> list[Path]:
    """The packages of Python for arm64, signatures checked by apt with lists of its own in `folder`."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise CannotRun(f"{program} is not here; the check needs Debian, or a system that has its tools")
    if not KEYRING.exists():
        raise CannotRun(f"{KEYRING} is not here: apt-get install debian-archive-keyring")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    source = f"deb [arch=arm64 signed-by={KEYRING}] {mirror or own_mirror()} {base.suite} main\n"
    (folder / "sources.list").write_text(source, encoding="utf-8")
    apt = ["apt-get", "-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures::=arm64"]
    for key, value in {
        "Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "-", "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-", "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status", "Dir::Cache": folder, "Dir::Cache::archives": folder / "archives",
        "Acquire::Languages": "none", "APT::Sandbox::User": "root", "Debug::NoLocking": "1",
    }.items():  # fmt: skip
        apt += ["-o", f"{key}={value}"]
    _done([*apt, "update"])
    install = ["install", "--yes", "--no-install-recommends", "--download-only"]
    _done([*apt, *install, f"python{base.python}", *PACKAGES])
    return sorted((folder / "archives").glob("*.deb"))


def own_mirror() -> str:
    """Where this machine's apt has its packages from."""
    listed = _done(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"])
    mirrors = [line for line in listed.split() if "security" not in line]
    if not mirrors:
        raise CannotRun("apt has no source of packages; name a Debian mirror: --mirror URL")
    return mirrors[0]


def _done(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"{' '.join(command[:1] + command[-2:])} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
