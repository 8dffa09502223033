"""What every image of deploy/Dockerfile is and tells about itself."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

from daedalus_common.config import parse_config
from support.checkout import ROOT

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
IMAGES: dict[str, str] = runpy.run_path(str(ROOT / "tools" / "service_locks.py"))["IMAGES"]
JOBS = {"provisioner", "tools"}
SIMULATOR_PORT = 8787

each_image = pytest.mark.parametrize("image", IMAGES)


def stage(name: str) -> list[str]:
    """The instructions of one stage, each in a line."""
    found = re.search(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return [" ".join(line.split()) for line in found[1].splitlines() if line and not line.startswith("#")]


def labels(name: str) -> dict[str, str]:
    """Label -> value, those of the open container initiative without their prefix."""
    text = " ".join(line for line in stage(name) if line.startswith("LABEL "))
    return dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', text))


def port_of(image: str) -> int:
    return SIMULATOR_PORT if image == "simulator" else parse_config({}).telemetry.port_of(image)


@each_image
def test_an_image_says_what_it_is_of_which_version_and_on_which_base(image: str) -> None:
    told = labels("runtime") | labels(image)
    assert told.keys() == {"vendor", "licenses", "version", "revision", "base.name", "title", "description"}
    assert (told["version"], told["revision"], told["base.name"]) == ("${VERSION}", "${REVISION}", "${BASE}")
    assert {f"ARG {name}" for name in ("VERSION", "REVISION", "BASE")} <= {
        line.split("=")[0] for line in stage("runtime")
    }
    assert told["title"] in {f"daedalus-{image}", "daedalus"}
    assert len(told["description"]) > 20


@each_image
def test_an_image_runs_as_one_process_of_an_own_user(image: str) -> None:
    """In the exec form: a shell as the first process would keep SIGTERM to itself."""
    assert [line for line in stage("runtime") if line.startswith("USER ")] == ["USER 10001:10001"]
    assert not [line for line in stage(image) if line.startswith(("USER ", "RUN ", "ADD "))]
    starts = [line for line in stage(image) if line.startswith(("ENTRYPOINT ", "CMD "))]
    assert [line for line in starts if not line.split(" ", 1)[1].startswith("[")] == []
    assert starts[0].startswith("ENTRYPOINT ")


@each_image
def test_a_service_is_asked_on_its_own_port_whether_it_is_ready(image: str) -> None:
    (check,) = (line for line in stage(image) if line.startswith("HEALTHCHECK "))
    if image in JOBS:
        assert check == "HEALTHCHECK NONE"
        return
    port = port_of(image)
    assert check.endswith(f'CMD ["python", "-IS", "/opt/healthcheck.py", "{port}"]')
    assert f"EXPOSE {port}" in stage(image)
    composed = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text(encoding="utf-8"))["services"]
    if image in composed:
        assert composed[image]["healthcheck"]["test"] == ["CMD", "python", "-IS", "/opt/healthcheck.py", str(port)]


def test_the_base_is_the_same_wherever_it_is_named() -> None:
    base = "python:3.13-slim-trixie"
    assert f"ARG BASE={base}\n" in DOCKERFILE
    assert f'variable "BASE" {{ default = "{base}" }}' in (ROOT / "docker-bake.hcl").read_text(encoding="utf-8")


def test_the_version_is_that_of_the_packages() -> None:
    (version,) = set(re.findall(r'^version = "(.+)"$', _pyprojects(), re.MULTILINE))
    assert f"ARG VERSION={version}" in stage("runtime")
    for file in ("docker-bake.hcl", "deploy/compose/compose.yaml", "deploy/compose/.env.example"):
        assert version in (ROOT / file).read_text(encoding="utf-8"), file


def _pyprojects() -> str:
    return "\n".join(Path(file).read_text(encoding="utf-8") for file in sorted(ROOT.glob("*s/*/pyproject.toml")))
