"""What each image installs is what its package needs, out of requirements.lock, and the Dockerfile copies that."""

import re
import runpy
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.checkout import ROOT, Package, packages

TOOL = runpy.run_path(str(ROOT / "tools" / "service_locks.py"))
BUILD: tuple[str, ...] = TOOL["BUILD"]
IMAGES: dict[str, str] = TOOL["IMAGES"]
FOLDER = ROOT / "deploy" / "requirements"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
OURS = {package.name: package for package in packages()}
# Of the images, for both processors.
ENVIRONMENTS = [
    {
        "implementation_name": "cpython", "os_name": "posix", "platform_machine": machine,
        "platform_python_implementation": "CPython", "platform_system": "Linux", "python_full_version": "3.13.5",
        "python_version": "3.13", "sys_platform": "linux",
    }
    for machine in ("x86_64", "aarch64")
]  # fmt: skip

each_image = pytest.mark.parametrize("image", IMAGES)


def pins(file: Path) -> dict[tuple[str, str], frozenset[str]]:
    """(name, version) -> hashes. An entry for several markers is one."""
    found: dict[tuple[str, str], set[str]] = {}
    key = ("", "")
    for line in file.read_text(encoding="utf-8").splitlines():
        if pin := re.match(r"([a-z0-9-]+)==([0-9a-z.]+)", line):
            key = (pin[1], pin[2])
            found.setdefault(key, set())
        else:
            found[key].add(line.strip(" \\"))
    return {each: frozenset(hashes) for each, hashes in found.items()}


def needed_by(roots: list[Requirement]) -> set[str]:
    """The distributions to install for these on either processor, ours left out, by what the installed ones declare."""
    seen: set[tuple[str, str]] = set()
    todo = [(need, extra) for need in roots for extra in ("", *need.extras)]
    while todo:
        need, extra = todo.pop()
        name = canonicalize_name(need.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for below in declared(name, extra):
            if applies(below, extra):
                todo += [(below, each) for each in ("", *below.extras)]
    return {name for name, _ in seen} - set(OURS)


def declared(name: str, extra: str) -> list[Requirement]:
    package: Package | None = OURS.get(canonicalize_name(name))
    if package is not None:
        return list(package.extras[extra] if extra else package.dependencies)
    try:
        return [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:
        # Of another system or interpreter than the tests': then it is no marker's choice for the images' either.
        return []


def applies(need: Requirement, extra: str) -> bool:
    marker = need.marker
    return marker is None or any(marker.evaluate({**env, "extra": extra}) for env in ENVIRONMENTS)


@pytest.mark.parametrize("name", [*IMAGES, "build"])
def test_an_image_installs_a_part_of_the_lock_file_by_file(name: str) -> None:
    whole = pins(ROOT / "requirements.lock")
    assert {key: hashes for key, hashes in pins(FOLDER / f"{name}.lock").items() if whole.get(key) != hashes} == {}


@each_image
def test_an_image_installs_all_that_its_package_needs_and_nothing_else(image: str) -> None:
    wanted = needed_by([Requirement(IMAGES[image])])
    locked = {
        Requirement(line.rstrip(" \\"))
        for line in (FOLDER / f"{image}.lock").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    installed = {canonicalize_name(pin.name) for pin in locked if applies(pin, "")}
    assert installed == wanted, "run `make lock`"


def test_the_build_stage_has_the_build_system_of_every_package() -> None:
    named = {canonicalize_name(name) for name, _ in pins(FOLDER / "build.lock")}
    assert {canonicalize_name(need.name) for package in OURS.values() for need in package.build_requires} <= named
    assert set(BUILD) <= named


@each_image
def test_the_dockerfile_has_a_target_that_copies_and_installs_our_packages(image: str) -> None:
    stage = re.search(rf"^FROM build AS build-{image}\n(.*?)(?=^FROM )", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert stage is not None
    assert f"install-daedalus locked {image}\n" in stage[1]
    copied = set(re.findall(r"(?:libs|services)/\w+", stage[1].split("install-daedalus ours")[1]))
    names = {IMAGES[image]}
    for _ in OURS:
        names |= {
            need.name for name in names for need in OURS[canonicalize_name(name)].dependencies if need.name in OURS
        }
    assert copied == {str(OURS[canonicalize_name(name)].folder.relative_to(ROOT)) for name in names}
    assert re.search(rf"^FROM runtime AS {image}$", DOCKERFILE, re.MULTILINE)


def test_every_image_and_no_other_is_baked() -> None:
    baked = re.search(r"service = \[(.*?)\]", (ROOT / "docker-bake.hcl").read_text(encoding="utf-8"))
    assert baked is not None
    assert set(re.findall(r'"(\w+)"', baked[1])) == set(IMAGES)


def test_a_lock_that_lacks_something_is_found() -> None:
    assert {"ccxt", "aiohttp", "redis", "pydantic"} <= needed_by([Requirement("daedalus-ingestor")])
    assert "pyarrow" in needed_by([Requirement("daedalus-writer")])
    assert "pyarrow" not in needed_by([Requirement("daedalus-featurizer")])
