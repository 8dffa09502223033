"""What a container may do, and that no secret shows where many can look."""

import json
from urllib.request import urlopen

import pytest

from support.compose_stack import OURS, SERVICES, ComposeStack

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.timeout(900)]


def secrets_of(stack: ComposeStack) -> dict[str, str]:
    """File -> content, of everything that is to be kept secret; the names of users are not."""
    files = [path for path in stack.secrets.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(stack.secrets)): path.read_text().strip()
        for path in files
        if path.suffix == "" and not path.name.endswith(("_access_key", "_root_user"))
        and path.read_text().strip() != stack.secret("s3_root_user")
    }  # fmt: skip


def leaks(stack: ComposeStack, text: str) -> list[str]:
    """The names of the secrets that the text holds."""
    return [name for name, secret in secrets_of(stack).items() if secret in text]


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_capability_and_writes_only_to_its_volumes(stack: ComposeStack, service: str) -> None:
    for container in stack.inspect(service):
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert not host["Privileged"]
        assert host["Memory"] > 0
        assert host["NanoCpus"] > 0
        assert host["PidsLimit"] > 0
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
        published = [where["HostIp"] for ports in (host["PortBindings"] or {}).values() for where in ports]
        assert set(published) <= {"127.0.0.1"}


@pytest.mark.parametrize("service", OURS)
def test_our_processes_are_not_root_and_have_no_way_to_become_it(stack: ComposeStack, service: str) -> None:
    look = (
        "import json, os, shutil; status = dict(line.split(':', 1) for line in open('/proc/1/status'));"
        "print(json.dumps({'uid': status['Uid'].split(), 'caps': [status[k].strip() for k in status if k[:3] == 'Cap'],"
        "'no_new_privs': status['NoNewPrivs'].strip(), 'compiler': shutil.which('cc') or shutil.which('gcc'),"
        "'set_uid': [p for d in ('/bin', '/sbin', '/usr/bin', '/usr/sbin', '/usr/lib') for r, _, f in os.walk(d)"
        " for n in f if os.path.isfile(p := os.path.join(r, n)) and os.stat(p).st_mode & 0o6000]}))"
    )
    found = json.loads(stack.compose("exec", "-T", service, "python", "-c", look))
    assert found["uid"] == ["10001"] * 4
    assert {int(mask, 16) for mask in found["caps"]} == {0}
    assert found["no_new_privs"] == "1"
    assert found["compiler"] is None
    assert found["set_uid"] == []


@pytest.mark.parametrize(
    ("service", "absent"),
    [
        ("writer", "ccxt"),
        ("writer", "polars"),
        ("ingestor", "pyarrow"),
        ("ingestor", "boto3"),
        ("featurizer", "pyarrow"),
        ("featurizer", "ccxt"),
        ("compactor", "ccxt"),
        ("compactor", "polars"),
        ("simulator", "ccxt"),
        ("writer", "pip"),
    ],
)
def test_an_image_holds_only_what_its_service_needs(stack: ComposeStack, service: str, absent: str) -> None:
    look = f"import importlib.util; print(importlib.util.find_spec({absent!r}))"
    assert stack.compose("exec", "-T", service, "python", "-c", look).strip() == "None"
    assert stack.compose("exec", "-T", service, "python", "-c", look.replace(absent, f"daedalus_{service}")) != "None\n"


@pytest.mark.parametrize("service", OURS)
def test_the_root_file_system_cannot_be_written(stack: ComposeStack, service: str) -> None:
    with pytest.raises(AssertionError, match="Read-only file system"):
        stack.compose("exec", "-T", service, "touch", "/opt/daedalus/changed")


def test_the_compactor_knows_the_store_and_no_password_of_redis(stack: ComposeStack) -> None:
    (compactor,) = stack.inspect("compactor")
    mounted = {mount["Destination"] for mount in compactor["Mounts"]}
    assert {path for path in mounted if path.startswith("/run/secrets/")} == {
        "/run/secrets/s3_access_key", "/run/secrets/s3_secret_key",
    }  # fmt: skip
    assert not [variable for variable in compactor["Config"]["Env"] if "REDIS" in variable]
    assert [name.removeprefix(f"{stack.project}_") for name in compactor["NetworkSettings"]["Networks"]] == ["internal"]


def test_no_secret_is_in_docker_inspect_or_the_composed_configuration(stack: ComposeStack) -> None:
    inspected = json.dumps(stack.inspect())
    assert stack.secret("s3_root_user") not in inspected
    assert "/run/secrets/redis_password" in inspected, "their paths are"
    assert leaks(stack, inspected) == []
    assert leaks(stack, stack.compose("config")) == []
    assert leaks(stack, f"a leak: {stack.secret('redis_writer')}") == ["redis_writer"]


def test_no_secret_is_in_a_log(stack: ComposeStack) -> None:
    logs = stack.compose("logs")
    assert "lease taken" in logs
    assert leaks(stack, logs) == []


def test_no_secret_is_among_the_metrics(stack: ComposeStack) -> None:
    for service, port in (("ingestor", 9101), ("writer", 9102), ("featurizer", 9103), ("compactor", 9104)):
        fetch = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
        metrics = stack.compose("exec", "-T", service, "python", "-c", fetch)
        assert "process_resident_memory_bytes" in metrics
        assert leaks(stack, metrics) == []
    with urlopen(f"http://127.0.0.1:{stack.prometheus_port}/api/v1/status/config", timeout=10) as answer:
        assert leaks(stack, answer.read().decode()) == []
