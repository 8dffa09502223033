"""Writes deploy/requirements/*.lock, what each image installs: the part of requirements.lock that its package needs.

    python tools/service_locks.py

`make lock` runs it. Exit codes: 0 written, 1 uv could not resolve (its reason is shown).
"""

import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy" / "requirements"

# Image -> the package that it runs.
IMAGES = {
    "compactor": "daedalus-compactor",
    "featurizer": "daedalus-featurizer",
    "ingestor": "daedalus-ingestor",
    "provisioner": "daedalus-provisioner",
    "simulator": "daedalus-simulator",
    "tools": "daedalus",
    "writer": "daedalus-writer",
}
# What the stage needs that installs all this.
BUILD = ("hatchling", "uv")


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    folders = own_folders()
    inputs = {image: own_requirements(package, folders) for image, package in IMAGES.items()}
    inputs["build"] = list(BUILD)
    return max(write_lock(name, lines, folders) for name, lines in inputs.items())


def own_folders() -> dict[str, Path]:
    """Our packages' names and folders."""
    projects = sorted([*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")])
    return {tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"]: file.parent for file in projects}


def own_requirements(package: str, folders: dict[str, Path]) -> list[str]:
    """The lines that name the package and those of ours that it needs, directly or not."""
    names = [package]
    for name in names:
        project = tomllib.loads((folders[name] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        needed = [re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0] for line in project.get("dependencies", [])]
        names += [need for need in needed if need in folders and need not in names]
    return [f"-e ./{folders[name].relative_to(ROOT)}" for name in names]


def write_lock(name: str, lines: list[str], folders: dict[str, Path]) -> int:
    """0, or uv's own exit code."""
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    command = [
        str(uv), "pip", "compile", "-", "--output-file", str(FOLDER / f"{name}.lock"), "--quiet",
        "--constraint", "requirements.lock", "--universal", "--python-version", "3.13", "--generate-hashes",
        "--no-emit-index-url", "--no-header", "--no-annotate", "--upgrade",
        *(word for own in folders for word in ("--no-emit-package", own)),
    ]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, input="\n".join(lines), text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
