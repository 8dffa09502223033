"""What the checkout declares: its packages, their requirements, its lock."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Package:
    """One package of this repository, as its pyproject.toml declares it."""

    folder: Path
    module: str
    project: dict[str, object]
    build_requires: tuple[Requirement, ...]
    dependencies: tuple[Requirement, ...]
    extras: dict[str, tuple[Requirement, ...]]

    @property
    def name(self) -> NormalizedName:
        """The distribution's name, normalized."""
        return canonicalize_name(str(self.project["name"]))

    @property
    def every_requirement(self) -> tuple[Requirement, ...]:
        """Needed to build or to run, extras included."""
        return (*self.build_requires, *self.dependencies, *sum(self.extras.values(), ()))


def packages() -> list[Package]:
    """Every package of this repository, in the order of its path."""
    projects = [*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")]
    return [_parse(path) for path in sorted(projects)]


def locked_versions() -> dict[NormalizedName, Version]:
    """name -> version of every line `name==version` in requirements.lock."""
    pins = [line.split(" ", 1)[0] for line in lock_text().splitlines() if "==" in line and line[0].isalnum()]
    pairs = (pin.split("==") for pin in pins)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def lock_text() -> str:
    """requirements.lock as it is."""
    return (ROOT / "requirements.lock").read_text(encoding="utf-8")


def _parse(path: Path) -> Package:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    project = document["project"]
    extras = project.get("optional-dependencies", {})
    return Package(
        folder=path.parent,
        module=project["name"].replace("-", "_"),
        project=project,
        build_requires=_requirements(document["build-system"]["requires"]),
        dependencies=_requirements(project.get("dependencies", [])),
        extras={name: _requirements(lines) for name, lines in extras.items()},
    )


def _requirements(lines: list[str]) -> tuple[Requirement, ...]:
    return tuple(Requirement(line) for line in lines)
