"""The whole stack in containers: it comes up, records, scales, survives kills and cut networks, and adds up."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config

from support.checkout import ROOT
from support.compose_stack import GRAFANA, OURS, SERVICES, ComposeStack, has_image, wait_until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The first test waits for the stack, and on a new machine for its images to be built.
pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.timeout(900)]

MARKETS = {"BTC-USDT", "ETH-USDT", "SOL-USDT"}


def store(stack: ComposeStack) -> "S3Client":
    """As a user reaches it from the host."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{stack.s3_port}",
        region_name="us-east-1",
        aws_access_key_id=stack.secret("s3_root_user"),
        aws_secret_access_key=stack.secret("s3_root_password"),
        config=Config(s3={"addressing_style": "path"}),
    )


def object_keys(stack: ComposeStack) -> list[str]:
    pages = store(stack).get_paginator("list_objects_v2").paginate(Bucket="daedalus")
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def scraped(stack: ComposeStack, query: str) -> list[dict[str, object]]:
    """The answer of Prometheus."""
    url = f"http://127.0.0.1:{stack.prometheus_port}/api/v1/query?query={quote(query)}"
    with urlopen(url, timeout=10) as answer:
        found: list[dict[str, object]] = json.load(answer)["data"]["result"]
    return found


def test_everything_comes_up_healthy_and_the_store_is_prepared(stack: ComposeStack) -> None:
    assert {service: stack.is_healthy(service) for service in SERVICES} == dict.fromkeys(SERVICES, True)
    told = stack.compose("logs", "--no-log-prefix", "provision")
    assert "bucket daedalus: made" in told
    assert "prepared" in told


@pytest.mark.parametrize("layer", ["bronze", "silver", "gold"])
def test_what_the_simulator_sends_becomes_parquet_in_the_object_store(stack: ComposeStack, layer: str) -> None:
    def stored() -> set[str]:
        keys = [key for key in object_keys(stack) if key.startswith(f"{layer}/") and key.endswith(".parquet")]
        return {market for market in MARKETS for key in keys if f"symbol={market}/" in key}

    wait_until(lambda: stored() == MARKETS, f"{layer} of all markets")


def test_prometheus_scrapes_every_service(stack: ComposeStack) -> None:
    def up() -> set[object]:
        return {entry["metric"]["job"] for entry in scraped(stack, "up == 1")}  # type: ignore[index]

    every = {"ingestor", "writer", "featurizer", "compactor", "prometheus"}
    wait_until(lambda: every <= up(), "a scrape of every service")


def test_the_compactor_looks_at_the_store_with_its_own_key_and_nothing_fails(stack: ComposeStack) -> None:
    wait_until(lambda: bool(scraped(stack, "daedalus_compactor_passes_total > 0")), "a pass of the compactor")
    assert scraped(stack, "daedalus_compactor_failures_total > 0") == []
    mounted = stack.compose("exec", "-T", "compactor", "cat", "/run/secrets/s3_access_key").strip()
    # On a stand-in for MinIO no user can be made, and all have the administrator's key.
    folder = "shared" if stack.env["OBJECT_STORE_KEYS"] == "shared" else "per-service"
    assert mounted == stack.secret(f"{folder}/compactor_access_key")


def test_grafana_has_every_dashboard_and_its_data_source(stack: ComposeStack) -> None:
    if not has_image(GRAFANA):
        pytest.skip(
            f"needs the image {GRAFANA}, which cannot be pulled here: the stack runs without Grafana, and its "
            "provisioning is checked as far as that goes by tests/monitoring/test_dashboards.py"
        )

    def asked(path: str) -> Any:
        login = base64.b64encode(f"admin:{stack.secret('grafana_admin_password')}".encode()).decode()
        url = f"http://127.0.0.1:{stack.grafana_port}{path}"
        with urlopen(Request(url, headers={"Authorization": f"Basic {login}"}), timeout=10) as answer:
            return json.load(answer)

    assert stack.is_healthy("grafana")
    ours = {json.loads(file.read_text())["uid"] for file in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
    wait_until(lambda: {each["uid"] for each in asked("/api/search?type=dash-db")} == ours, "every dashboard")
    assert asked("/api/datasources/uid/prometheus/health")["status"] == "OK"


def test_the_featurizer_scales_to_three_replicas_and_back(stack: ComposeStack) -> None:
    stack.up("--no-recreate", "--scale", "featurizer=3")
    wait_until(lambda: len(stack.owners("featurizer") - {""}) == 3, "each replica has a market")
    wait_until(lambda: len(scraped(stack, 'up{job="featurizer"} == 1')) == 3, "Prometheus sees three")
    stack.up("--no-recreate", "--scale", "featurizer=1")
    wait_until(
        lambda: len(owners := stack.owners("featurizer")) == 1 and "" not in owners, "one replica has every market"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_dies_is_started_again_and_becomes_healthy(stack: ComposeStack, service: str) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux, to kill a container's process from outside as a crash would")
    before = stack.inspect(service)[0]
    os.kill(before["State"]["Pid"], signal.SIGKILL)
    wait_until(
        lambda: stack.is_healthy(service) and stack.inspect(service)[0]["RestartCount"] > before["RestartCount"],
        f"{service} healthy again",
    )


def test_what_docker_kill_ended_comes_back_with_up(stack: ComposeStack) -> None:
    killed = [container for service in (*OURS, "redis") for container in stack.containers(service)]
    stack.run(["docker", "kill", *killed])
    stack.up("--no-recreate")
    assert {service: stack.is_healthy(service) for service in SERVICES} == dict.fromkeys(SERVICES, True)


def test_what_scripts_wrote_is_in_redis_after_its_restart(stack: ComposeStack) -> None:
    def redis(*words: str) -> list[str]:
        password = f"REDISCLI_AUTH={stack.secret('redis_operator')}"
        command = ["exec", "-T", "-e", password, "redis", "redis-cli", "--user", "operator", *words]
        return stack.compose(*command).split()

    two = ("{restart-test}:one", "{restart-test}:two")
    script = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('SET', KEYS[2], ARGV[1])"
    assert redis("EVAL", script, "2", *two, "kept") == ["OK"]
    stack.compose("restart", "redis")
    wait_until(lambda: stack.is_healthy("redis"), "redis healthy again")
    assert redis("MGET", *two) == ["kept", "kept"]
    redis("DEL", *two)
    wait_until(lambda: all(stack.is_healthy(each) for each in SERVICES), "everything healthy again")


@pytest.mark.parametrize("service", ["redis", "object-store"])
def test_the_services_wait_while_a_server_is_cut_off_and_go_on_after(stack: ComposeStack, service: str) -> None:
    network, container = f"{stack.project}_internal", stack.containers(service)[0]
    stack.run(["docker", "network", "disconnect", network, container])
    try:
        wait_until(lambda: not stack.is_healthy("writer"), f"the writer says that {service} is away")
    finally:
        stack.run(["docker", "network", "connect", "--alias", service, network, container])
    wait_until(lambda: all(stack.is_healthy(each) for each in SERVICES), "everything healthy again")


def test_after_all_that_every_event_is_stored_once_or_in_a_declared_gap(stack: ComposeStack) -> None:
    report = json.loads(stack.tools("audit", "--json"))
    assert report["reconciled"]
    assert report["place"].startswith("s3://daedalus/")
    assert {market["market"] for market in report["markets"]} == {f"binanceus:{market}" for market in MARKETS}
    for market in report["markets"]:
        assert market["stored"] > 500
        assert market["features"]["rows"] > 100
        assert (market["unexplained"], market["double"], market["features"]["double"]) == (0, 0, 0)


def test_a_run_of_etl_goes_on_in_another_container(stack: ComposeStack) -> None:
    for _ in range(2):  # without what the first one left, the second would find the rows of somebody else
        places = ("--config", "/etc/daedalus/daedalus.yaml", "--output", "s3://daedalus/again")
        stack.tools("etl", "run", "trades", *places, key="writer")
    assert [key for key in object_keys(stack) if key.startswith("again/silver/trades/")]


def test_an_object_that_somebody_deleted_is_missed(stack: ComposeStack) -> None:
    segments = sorted(key for key in object_keys(stack) if key.startswith("bronze/") and "/orderbook/" in key)
    # Neither the first of a market nor the last: something is before it and after it.
    store(stack).delete_object(Bucket="daedalus", Key=segments[3])
    with pytest.raises(AssertionError, match="audit"):
        stack.tools("audit", "--market", "binanceus:BTC-USDT")


def silent_store(url: str) -> list[str]:
    """Options by which `tools` asks another store than ours."""
    keys = "access_key_file: /run/secrets/s3_access_key, secret_key_file: /run/secrets/s3_secret_key"
    store = f"{{backend: s3, s3: {{bucket: daedalus, endpoint_url: '{url}', path_style: true, {keys}}}}}"
    roles = ("INGESTION_STORAGE", "ETL_STORAGE_INPUT", "ETL_STORAGE_OUTPUT")
    return [f"--env=DAEDALUS__STORAGE__{role}={store}" for role in roles]


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (7777, ["provision", "--endpoint=http://writer:7777", "--bucket=daedalus", "--secrets=/run/secrets"]),
        (7778, [*silent_store("http://writer:7778"), "tools", "gaps"]),
    ],
    ids=["provision", "tools"],
)
def test_what_is_no_service_ends_at_once_when_it_is_stopped(stack: ComposeStack, port: int, words: list[str]) -> None:
    # A server that takes a connection and says nothing.
    listen = (
        "import pathlib, socket, time; kept = socket.create_server(('0.0.0.0', PORT)).accept();"
        "pathlib.Path('/tmp/asked-PORT').touch(); time.sleep(60)"
    ).replace("PORT", str(port))
    stack.compose("exec", "--detach", "writer", "python", "-c", listen)
    look = f"import os; print(os.path.exists('/tmp/asked-{port}'))"
    container = f"{stack.project}-stopped-{port}"
    stack.compose("run", "--detach", "--no-deps", "--name", container, *words)
    try:
        wait_until(lambda: "True" in stack.compose("exec", "-T", "writer", "python", "-c", look), "it waits")
        started = time.monotonic()
        stack.run(["docker", "stop", container])
        assert time.monotonic() - started < 6, "Docker kills after 10 s"
        (ended,) = json.loads(stack.run(["docker", "inspect", container]))
        assert ended["State"]["ExitCode"] == 128 + signal.SIGTERM
    finally:
        stack.run(["docker", "rm", "--force", container])


def test_a_clean_stop_takes_seconds_and_ends_with_zero(stack: ComposeStack) -> None:
    ours = ["simulator", "ingestor", "featurizer", "writer", "compactor"]
    stack.compose("stop", *ours, seconds=60)
    try:
        listed = subprocess.run(
            ["docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={stack.project}"],
            capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        ended = json.loads(stack.run(["docker", "inspect", *listed]))
        codes = {
            each["Config"]["Labels"]["com.docker.compose.service"]: each["State"]["ExitCode"]
            for each in ended
            if not each["State"]["Running"]
        }
        assert {service: codes[service] for service in ours} == dict.fromkeys(ours, 0)
    finally:
        stack.up("--no-recreate")
