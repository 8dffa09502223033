"""What an image installs, installed for aarch64 into a folder: wheels of the lock only, each checked by its hash."""

import hashlib
import shutil
import subprocess
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

from tools.check_arm64.machine import DONE

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "deploy" / "requirements"
# As deploy/docker/install has it: the C library of the images' Debian.
PLATFORM = "aarch64-manylinux_2_40"


class NotInstallable(Exception):
    """There is no wheel for aarch64, or one with another hash."""


def installed(lock: str, folder: Path, bytecode: Path, python: str) -> Path:
    """The folder with the packages of deploy/requirements/LOCK.lock, made anew where the lock has changed.

    What lies in `bytecode` of the former ones is removed: Python takes it for current by time and size alone.
    Raises NotInstallable with what uv says.
    """
    file = LOCKS / f"{lock}.lock"
    site = folder.resolve() / lock
    digest = hashlib.sha256(file.read_bytes() + f"{PLATFORM} {python}".encode()).hexdigest()
    if (site / DONE).exists() and (site / DONE).read_text() == digest:
        return site
    shutil.rmtree(site, ignore_errors=True)
    shutil.rmtree(f"{bytecode}{site}", ignore_errors=True)
    site.mkdir(parents=True)
    if file.stat().st_size:
        uv = Path(sysconfig.get_path("scripts")) / "uv"
        command = [
            str(uv), "pip", "install", "--quiet", "--target", str(site), "--python-platform", PLATFORM,
            "--python-version", python, "--only-binary", ":all:", "--no-deps", "--require-hashes",
            "--requirement", str(file),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstallable(f"{file.relative_to(ROOT)}: {done.stderr.strip()}")
    (site / DONE).write_text(digest)
    return site


def packages(site: Path) -> int:
    """How many packages lie there."""
    return sum(1 for _ in site.glob("*.dist-info"))


def described(package: str, folder: Path) -> Path:
    """A folder where Python finds what a package of ours says of itself: as installed there, of this machine's."""
    found = distribution(package)
    target = folder / f"{package.replace('-', '_')}-{found.version}.dist-info"
    target.mkdir(parents=True, exist_ok=True)
    (target / "METADATA").write_text(found.read_text("METADATA") or "", encoding="utf-8")
    return folder
