"""requirements.lock holds everything that the packages declare, and nothing but names, versions and hashes."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from support.checkout import ROOT, Package, lock_text, locked_versions, packages

OURS = {package.name for package in packages()}


def unmet(requirements: tuple[Requirement, ...]) -> list[str]:
    """The requirements that no locked version satisfies, our own packages left out."""
    locked = locked_versions()
    return [
        f"{requirement} (locked: {locked.get(canonicalize_name(requirement.name))})"
        for requirement in requirements
        if canonicalize_name(requirement.name) not in OURS
        and not requirement.specifier.contains(locked.get(canonicalize_name(requirement.name), Version("0")))
    ]


@pytest.mark.parametrize("package", packages(), ids=lambda package: package.name)
def test_the_lock_satisfies_every_declared_requirement(package: Package) -> None:
    assert unmet(package.every_requirement) == []


def test_a_requirement_that_the_lock_does_not_satisfy_is_found() -> None:
    wanted = ("msgspec>=0", "msgspec>=999", "not-in-the-lock>=1", "daedalus-common")
    found = unmet(tuple(Requirement(line) for line in wanted))
    assert [entry.split(" ")[0] for entry in found] == ["msgspec>=999", "not-in-the-lock>=1"]


def test_the_lock_satisfies_every_tool_that_requirements_in_names() -> None:
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    stated = [line.split("#")[0].strip() for line in lines if not line.startswith(("#", "-e"))]
    assert unmet(tuple(Requirement(line) for line in stated if line)) == []


def test_requirements_in_names_every_package_of_this_repository() -> None:
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    named = {line.removeprefix("-e ./").split("[")[0] for line in lines if line.startswith("-e")}
    assert named == {str(package.folder.relative_to(ROOT)) for package in packages()}


def test_every_line_of_the_lock_is_a_pin_a_marker_or_a_hash() -> None:
    pin = re.compile(r"[a-z0-9-]+==[0-9a-z.]+( ; [^;]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    strange = [line for line in lock_text().splitlines() if not pin.fullmatch(line) and not digest.fullmatch(line)]
    assert strange == []
    assert "://" not in lock_text()


def test_the_arrow_build_that_dies_on_a_raspberry_pi_4_is_not_locked() -> None:
    assert locked_versions()[canonicalize_name("pyarrow")] > Version("21.0.0")
