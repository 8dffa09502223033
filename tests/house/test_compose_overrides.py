"""The files of deploy/compose as Docker Compose itself puts them together, alone and with each override."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.checkout import ROOT

FOLDER = ROOT / "deploy" / "compose"
EVERYTHING = {
    "redis", "object-store", "provision", "ingestor", "writer", "featurizer", "compactor", "simulator", "tools",
    "prometheus", "grafana",
}  # fmt: skip
WITHOUT_STORE = EVERYTHING - {"object-store", "provision"}
# What .env says -> which files there are.
CHOICES = {
    "plain": (),
    "pi4": ("pi4",),
    "s3": ("s3",),
    "local": ("local",),
    "pi4, local": ("pi4", "local"),
    "pi4, s3": ("pi4", "s3"),
}
SETTINGS = {"DATA_DIR": "/mnt/ssd/daedalus", "S3_BUCKET": "my-bucket", "S3_REGION": "eu-central-1"}

Composed = dict[str, Any]


@cache
def why_no_compose() -> str | None:
    """What keeps `docker compose config` from working here; it needs no engine."""
    if shutil.which("docker") is None:
        return "needs Docker Compose: there is no `docker` command"
    done = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True, timeout=60, check=False)
    return None if done.returncode == 0 else "needs Docker Compose: `docker compose version` fails"


@pytest.fixture
def compose(tmp_path: Path) -> Callable[..., Composed]:
    """`docker compose config` with the chosen overrides, without any .env of the user's."""
    reason = why_no_compose()
    if reason:
        pytest.skip(reason)
    (tmp_path / "none.env").write_text("")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def config(choice: str, **settings: str) -> Composed:
        files = ["compose.yaml", *(f"compose.{name}.yaml" for name in CHOICES[choice])]
        command = ["docker", "compose", "--env-file", str(tmp_path / "none.env"), "--profile", "*"]
        command += [word for file in files for word in ("-f", str(FOLDER / file))]
        done = subprocess.run(
            [*command, "config", "--format", "json"], env={**env, **SETTINGS, **settings}, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        composed: Composed = json.loads(done.stdout)
        return composed

    return config


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_to_the_services_it_needs(compose: Callable[..., Composed], choice: str) -> None:
    services = compose(choice)["services"]
    assert set(services) == (WITHOUT_STORE if {"s3", "local"} & set(CHOICES[choice]) else EVERYTHING)
    needed = {name for service in services.values() for name in service.get("depends_on", {})}
    assert needed <= set(services)
    assert needed >= {"redis", "prometheus"}


@pytest.mark.parametrize("choice", CHOICES)
def test_no_override_takes_a_bound_away(compose: Callable[..., Composed], choice: str) -> None:
    for name, service in compose(choice)["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        assert float(service["cpus"]) > 0, name
        assert service["pids_limit"] > 0, name
        assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}, name
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}, name
        assert "healthcheck" in service or service["restart"] == "no", name


@pytest.mark.parametrize("store", ["minio", "seaweedfs"])
@pytest.mark.parametrize("choice", ["plain", "pi4"])
def test_either_object_store_is_limited_and_asked_how_it_is(
    compose: Callable[..., Composed], choice: str, store: str
) -> None:
    service = compose(choice, OBJECT_STORE=store)["services"]["object-store"]
    assert store in service["image"]
    assert service["healthcheck"]["test"]
    assert service["read_only"]
    assert service["mem_limit"]


def test_a_real_bucket_is_reached_from_the_network_that_has_a_way_out(compose: Callable[..., Composed]) -> None:
    for name in ("writer", "compactor", "tools"):
        service = compose("s3")["services"][name]
        assert set(service["networks"]) == {"internal", "exchange"}
        for role in ("INGESTION_STORAGE", "ETL_STORAGE_INPUT", "ETL_STORAGE_OUTPUT"):
            place = service["environment"][f"DAEDALUS__STORAGE__{role}"]
            assert 'bucket: "my-bucket", region: "eu-central-1"' in place
            assert "endpoint_url" not in place
    for name in ("writer", "compactor"):
        assert set(compose("plain")["services"][name]["networks"]) == {"internal"}


@pytest.mark.parametrize(("name", "needed"), [("writer", ["redis_writer"]), ("compactor", [])])
def test_data_on_the_local_disk_need_no_key_of_a_store(
    compose: Callable[..., Composed], name: str, needed: list[str]
) -> None:
    for choice in ("local", "pi4, local"):
        service = compose(choice, LAKE="/mnt/ssd/lake")["services"][name]
        assert [secret["source"] for secret in service.get("secrets", [])] == needed
        assert ("/mnt/ssd/lake", "/var/lib/daedalus") in {(v["source"], v["target"]) for v in service["volumes"]}
        assert "backend: local" in service["environment"]["DAEDALUS__STORAGE__INGESTION_STORAGE"]


@pytest.mark.parametrize("choice", CHOICES)
def test_the_compactor_waits_for_its_key_and_knows_no_redis(compose: Callable[..., Composed], choice: str) -> None:
    service = compose(choice)["services"]["compactor"]
    local = "local" in CHOICES[choice]
    waits = service.get("depends_on", {})
    assert list(waits) == ([] if {"s3", "local"} & set(CHOICES[choice]) else ["provision"])
    assert all(how["condition"] == "service_completed_successfully" for how in waits.values())
    keys = {secret["target"]: secret["source"] for secret in service.get("secrets", [])}
    asked = {f"s3_{part}_key": f"s3_compactor_{part}_key" for part in ("access", "secret")}
    assert {Path(target).name: source for target, source in keys.items()} == ({} if local else asked)
    assert not [name for name in service["environment"] if "REDIS" in name]


def test_on_a_raspberry_pi_everything_that_is_written_lies_on_the_ssd(compose: Callable[..., Composed]) -> None:
    composed = compose("pi4")
    places = {name: volume["driver_opts"]["device"] for name, volume in composed["volumes"].items()}
    assert set(places) == set(compose("plain")["volumes"])
    assert all(place.startswith("/mnt/ssd/daedalus/") for place in places.values())
    prometheus = composed["services"]["prometheus"]["command"]
    assert "--config.file=/etc/prometheus/prometheus.pi4.yml" in prometheus


def test_the_head_of_the_file_for_a_raspberry_pi_makes_every_folder_for_who_writes_there(
    compose: Callable[..., Composed],
) -> None:
    composed = compose("pi4")
    head = (FOLDER / "compose.pi4.yaml").read_text(encoding="utf-8").split("\nservices:")[0]
    commands = re.findall(r"^#   sudo install -d (?:-o (\d+) -g \d+ )?(/\S+)", head, re.MULTILINE)
    owners = {folder: owner for owner, folder in commands}
    assert set(owners) == {volume["driver_opts"]["device"] for volume in composed["volumes"].values()}
    assert owners["/mnt/ssd/daedalus/redis"] == composed["services"]["redis"]["user"].split(":")[0]
    assert owners["/mnt/ssd/daedalus/ingestor"] == "10001"


def test_without_grafana_nobody_asks_for_its_image(compose: Callable[..., Composed]) -> None:
    assert compose("plain", GRAFANA="off")["services"]["grafana"]["profiles"] == ["without-grafana"]
    assert "profiles" not in compose("plain")["services"]["grafana"]
