"""The files of the containers say what they must, and agree with each other and with the documentation."""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from daedalus_common.config import parse_config
from support.checkout import ROOT

FOLDER = ROOT / "deploy" / "compose"
FILES = sorted([*FOLDER.glob("compose*.yaml"), *FOLDER.glob("object-store/*.yaml"), *FOLDER.glob("grafana/*.yaml")])
JOBS = {"provision", "tools"}
SCALED = {"ingestor", "writer", "featurizer"}


class ComposeLoader(yaml.SafeLoader):
    """YAML with the tags by which an override takes something away."""


ComposeLoader.add_constructor("!reset", lambda loader, node: None)
ComposeLoader.add_constructor("!override", lambda loader, node: load_node(loader, node))


def load_node(loader: Any, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else None


def loaded(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), ComposeLoader)
    return document


STACK = loaded(FOLDER / "compose.yaml")
SERVICES: dict[str, Any] = STACK["services"]
STORES = {file.stem: loaded(file)["services"]["object-store"] for file in FOLDER.glob("object-store/*.yaml")}


def everywhere() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in FILES:
        for name, service in loaded(file)["services"].items():
            if service:
                yield f"{file.name}:{name}", service


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined_limited_and_bounds_its_logs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert service["logging"]["options"]["max-size"]
    assert service["restart"] == ("no" if name in JOBS else "unless-stopped")
    assert name in JOBS or name == "object-store" or "healthcheck" in service


@pytest.mark.parametrize("name", STORES)
def test_an_object_store_is_pinned_and_tells_its_health(name: str) -> None:
    store = STORES[name]
    assert re.search(r":(RELEASE\.)?\d[^:]*}$", store["image"]), store["image"]
    assert store["healthcheck"]["test"]


def test_ports_are_published_on_this_machine_only() -> None:
    published = {(name, port) for name, service in everywhere() for port in service.get("ports", [])}
    assert [entry for entry in published if not entry[1].startswith("127.0.0.1:")] == []
    assert len(published) >= 4


def test_prometheus_finds_every_service_of_ours_on_its_own_port() -> None:
    jobs = loaded(ROOT / "deploy" / "prometheus" / "scrape" / "services.yml")["scrape_configs"]
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in jobs if "dns_sd_configs" in job}
    assert found.keys() == SCALED | {"compactor"}
    for name, where in found.items():
        assert where["names"] == [name]
        assert where["port"] == parse_config({}).telemetry.port_of(name)


@pytest.mark.parametrize("name", sorted(SCALED))
def test_a_service_that_is_scaled_has_no_name_and_no_port_of_its_own(name: str) -> None:
    assert SERVICES[name].keys().isdisjoint({"container_name", "hostname", "ports"})


def test_redis_and_the_services_behind_it_have_no_way_out() -> None:
    assert STACK["networks"]["internal"]["internal"] is True
    assert {name for name, service in SERVICES.items() if "exchange" in service["networks"]} == {
        "ingestor",
        "simulator",
    }
    assert SERVICES["redis"]["networks"] == ["internal"]


def test_no_variable_holds_a_secret() -> None:
    variables = [(name, key) for name, service in everywhere() for key in service.get("environment", {})]
    secret = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|ROOT_USER")
    assert [entry for entry in variables if secret.search(entry[1]) and not entry[1].endswith("_FILE")] == []
    assert ("minio.yaml:object-store", "MINIO_ROOT_PASSWORD_FILE") in variables


def test_every_variable_of_the_files_is_in_the_example_with_its_default() -> None:
    example = (FOLDER / ".env.example").read_text(encoding="utf-8")
    used = {match for file in FILES for match in re.findall(r"\$\{(\w+)[:}]", file.read_text(encoding="utf-8"))}
    told = set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))
    # A placeholder; the folder that tests choose; and processors, which the example tells in one sentence.
    assert {name for name in used - told - {"NAME"} if not name.endswith("_CPUS")} == set()
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    defaults = dict(re.findall(r"^#(\w+)=(.+)$", example, re.MULTILINE))
    assert {name for name in used & defaults.keys() if f"${{{name}:-{defaults[name]}}}" not in text} <= {
        "COMPOSE_FILE",
        "DATA_DIR",
        "LAKE",
    }


def test_the_example_names_the_images_of_others_by_the_digest_of_the_same_tag() -> None:
    example = (FOLDER / ".env.example").read_text(encoding="utf-8")
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    tags = dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)}", text))
    digests = dict(re.findall(r"^(\w+_IMAGE)=(\S+)@sha256:[0-9a-f]{64}$", example, re.MULTILINE))
    assert digests == {name: tag for name, tag in tags.items() if name != "REDIS_IMAGE"}
    assert len(digests) == 4
    (adr,) = (ROOT / "docs" / "adr").glob("0020-*.md")
    (minio,) = re.findall(r"^MINIO_IMAGE=\S+@(\S+)$", example, re.MULTILINE)
    assert minio in adr.read_text(encoding="utf-8")


def test_the_users_of_redis_have_the_documented_rules() -> None:
    documented = re.findall(r"^ACL SETUSER (\w+) on >\S+ (.*)$", (ROOT / "docs/redis.md").read_text(), re.MULTILINE)
    rules = re.findall(r"^user (\w+) on #\S+ (.*)$", (FOLDER / "redis/users.acl").read_text(), re.MULTILINE)
    services = {name: set(rule.split()) for name, rule in documented if name in SCALED}
    assert services == {name: set(rule.split()) for name, rule in rules if name in SCALED}
    assert services.keys() == SCALED


def test_the_memory_of_a_raspberry_pi_is_not_given_away_twice() -> None:
    limits = {
        name: re.search(r"(\d+)m\b", service["mem_limit"])
        for name, service in loaded(FOLDER / "compose.pi4.yaml")["services"].items()
        if name != "simulator"
    }
    sizes = [int(found[1]) for found in limits.values() if found]
    assert len(sizes) == len(limits) == 8
    # Of 4,096 MB the kernel, the page cache and the container engine need the rest.
    assert sum(sizes) <= 3136


def make_secrets(folder: Path) -> None:
    subprocess.run([str(FOLDER / "secrets.sh"), str(folder)], check=True, capture_output=True)


def test_secrets_are_made_once_in_a_folder_that_others_cannot_enter(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_secrets(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in before), "the users of the containers read them"
    make_secrets(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    named = re.findall(r'file: "\$\{SECRETS:-\./secrets}/(\S+?)"', (FOLDER / "compose.yaml").read_text())
    per_service = [name.replace("${OBJECT_STORE_KEYS:-per-service}", "per-service") for name in named]
    missing = [name for name in per_service if not (folder / name.replace("${TOOLS_KEY:-reader}", "reader")).is_file()]
    assert missing == []
    assert len(named) > 10


def test_a_password_of_redis_is_that_of_its_file(tmp_path: Path) -> None:
    make_secrets(tmp_path / "secrets")
    users = (tmp_path / "secrets" / "redis_users.acl").read_text()
    for user in (*SCALED, "operator"):
        password = (tmp_path / "secrets" / f"redis_{user}").read_bytes()
        assert len(password) == 40
        assert f"user {user} on #{hashlib.sha256(password).hexdigest()} " in users
        assert password.decode() not in users
    assert "@redis_" not in users


def test_who_replaces_a_secret_is_told_that_what_runs_has_the_one_before(tmp_path: Path) -> None:
    folder, hint = tmp_path / "secrets", "make down, then make up"
    command = [str(FOLDER / "secrets.sh"), str(folder)]
    assert hint not in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (folder / "redis_users.acl").unlink()
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split(" (")[0] for line in told] == [f"made {folder}/redis_users.acl"]
    assert hint in told[0]


def test_the_rights_at_seaweedfs_follow_the_bucket_of_the_environment_file(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "compose", ignore=shutil.ignore_patterns("secrets", ".env"))
    command = [str(tmp_path / "compose/secrets.sh")]
    environment = {name: value for name, value in os.environ.items() if name not in ("SECRETS", "S3_BUCKET")}
    (tmp_path / "compose/.env").write_text("SECRETS=elsewhere\n")
    subprocess.run(command, check=True, capture_output=True, env=environment)
    identities = tmp_path / "compose/elsewhere/s3_identities.json"
    assert '"Read:daedalus"' in identities.read_text()
    (tmp_path / "compose/.env").write_text("SECRETS='./elsewhere'\nS3_BUCKET=\"mine\"\n")
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert '"Read:mine"' in identities.read_text()
    assert '"Read:daedalus"' not in identities.read_text()


@pytest.mark.parametrize("target", ["up", "down", "logs"])
def test_the_demo_is_a_stack_of_its_own(tmp_path: Path, target: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for demo in ([], ["DEMO=1"]):
        command = ["make", "--dry-run", target, *demo]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert ("COMPOSE_PROJECT_NAME=daedalus-demo COMPOSE_FILE=compose.yaml" in said) is bool(demo)


def test_make_up_asks_what_to_record(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = subprocess.run(["make", "up"], cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 2
    assert ".env.example" in done.stderr
    assert "DEMO=1" in done.stderr


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    beside = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if beside is None:
        pytest.skip("needs hadolint, which is packaged for Linux x86_64 only")
    done = subprocess.run([beside, str(ROOT / "deploy/Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    found = subprocess.run([beside, "-"], input="FROM debian\nRUN cd /x\n", capture_output=True, text=True, check=False)
    assert found.returncode == 1
