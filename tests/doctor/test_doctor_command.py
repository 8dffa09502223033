"""`daedalus doctor` on this machine, against real servers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from typer.testing import CliRunner, Result

from daedalus.cli.main import app
from daedalus.doctor.findings import Finding, Level
from daedalus.doctor.page import summary
from daedalus.doctor.servers import examine_server, is_here, judge_difference, judge_refusal, judge_silence
from daedalus.doctor.stores import examine_stores
from daedalus_common.config import Config, parse_config
from support.ports import free_port
from support.seaweedfs import ADMIN, STRANGER, S3Keys, SeaweedServer
from support.valkey import ValkeyServer

DEFAULT_URL = "redis://127.0.0.1:6379/0"
SAFE = ("--maxmemory", "100mb", "--maxmemory-policy", "noeviction")


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`daedalus doctor` with a configuration of these sections, started in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAEDALUS__REDIS__URL", raising=False)

    def run(*options: str, **sections: Any) -> Result:
        file = tmp_path / "daedalus.yaml"
        file.write_text(yaml.safe_dump(sections))
        return CliRunner().invoke(app, ["doctor", "--config", str(file), *options])

    return run


def levels(answer: Any, subject: str) -> list[str]:
    return [each["level"] for each in answer["findings"] if each["subject"].startswith(subject)]


def test_help_gives_examples_and_exit_codes() -> None:
    text = " ".join(CliRunner().invoke(app, ["doctor", "--help"]).stdout.split())
    assert "Examples:" in text
    assert "Exit codes: 0" in text


def test_json_has_the_findings_and_what_they_rest_on(doctor: Callable[..., Result], tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "valkey", SAFE) as server:
        result = doctor("--json", redis={"url": server.url})
    answer = json.loads(result.stdout)
    assert levels(answer, "redis") == ["ok"]
    assert levels(answer, "clock against redis") == ["ok"]
    assert levels(answer, "packages") == ["ok"]
    assert result.exit_code == (1 if answer["worst"] == "error" else 0)
    assert answer["host"]["memory"]["total_bytes"] > 2**28
    assert answer["host"]["processor"]["page_size_bytes"] in (4096, 16_384)
    assert {use for each in answer["directories"] for use in each["uses"]} == {
        "storage.ingestion_storage",
        "storage.etl_storage_output",
        "storage.paths.state_dir",
        "ingestion.spool_dir",
    }
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "temp").exists()


def test_a_server_that_would_lose_data_is_an_error_with_its_fix_and_exit_code_1(
    doctor: Callable[..., Result], tmp_path: Path
) -> None:
    options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with ValkeyServer(tmp_path / "valkey", options) as server:
        result = doctor(redis={"url": server.url})
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    (line,) = (number for number, text in enumerate(lines) if "redis maxmemory-policy" in text)
    assert lines[line].startswith("error")
    assert "CONFIG SET maxmemory-policy noeviction" in lines[line + 1]
    assert "1 error" in lines[-1]


def test_a_wrong_configuration_ends_with_2_and_with_json_too(doctor: Callable[..., Result]) -> None:
    told = doctor(redis={"urls": "redis://a:1"})
    assert (told.exit_code, told.stdout) == (2, "")
    assert "redis.urls" in told.stderr
    as_json = doctor("--json", redis={"urls": "redis://a:1"})
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout)["problems"]


async def test_no_server_and_a_refusing_server_are_errors_that_name_the_keys(tmp_path: Path) -> None:
    nobody = parse_config({"redis": {"url": f"redis://127.0.0.1:{free_port()}/0"}})
    (silent,) = await examine_server(nobody)
    assert (silent.level, silent.fix) == (Level.ERROR, "start it, or set redis.url")
    with ValkeyServer(tmp_path / "valkey", SAFE) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "secret")
        (refused,) = await examine_server(parse_config({"redis": {"url": server.url, "password": "wrong-one"}}))
        found = await examine_server(parse_config({"redis": {"url": server.url, "password": "secret"}}))
    assert refused.level is Level.ERROR
    assert "redis.password" in refused.fix
    assert "wrong-one" not in refused.seen
    assert [each.level for each in found] == [Level.OK, Level.OK]


def test_at_the_default_address_a_missing_server_is_what_up_brings() -> None:
    assert judge_silence(DEFAULT_URL, "refused").level is Level.INFO
    assert judge_refusal(DEFAULT_URL, "NOAUTH").level is Level.WARNING
    assert judge_refusal("redis://cache:6379/0", "NOAUTH").level is Level.ERROR


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0.2, Level.OK), (-0.9, Level.OK), (2.0, Level.WARNING), (-40.0, Level.WARNING), (5.1, Level.ERROR)],
)
def test_a_clock_too_far_ahead_of_the_servers_is_an_error(seconds: float, level: Level) -> None:
    assert judge_difference(seconds).level is level


def test_a_server_is_here_by_its_url() -> None:
    assert all(
        is_here(url) for url in (DEFAULT_URL, "unix:///run/redis.sock", "redis://localhost:1", "redis://[::1]:1")
    )
    assert not is_here("redis://cache.example:6379/0")


def in_bucket(server: SeaweedServer, bucket: str, keys: S3Keys) -> Config:
    place = {
        "bucket": bucket,
        "endpoint_url": server.endpoint_url,
        "path_style": True,
        "access_key": keys.access_key,
        "secret_key": keys.secret_key,
    }
    store = {"backend": "s3", "s3": place}
    return parse_config({"storage": {"ingestion_storage": store, "etl_storage_output": store}})


def test_a_bucket_that_works_is_tried_once_for_both_roles_and_left_empty(seaweedfs: SeaweedServer) -> None:
    bucket = seaweedfs.create_bucket("doctor-works")
    found = examine_stores(in_bucket(seaweedfs, bucket, ADMIN))
    assert [(each.level, each.subject) for each in found] == [(Level.OK, "store storage.ingestion_storage")]
    assert "contents" not in {name.lower() for name in seaweedfs.client().list_objects_v2(Bucket=bucket)}


@pytest.mark.parametrize(("bucket", "keys"), [("doctor-absent", ADMIN), ("doctor-denied", STRANGER)])
def test_a_bucket_that_cannot_be_used_is_an_error_with_a_fix(
    seaweedfs: SeaweedServer, bucket: str, keys: S3Keys
) -> None:
    if bucket == "doctor-denied":
        seaweedfs.create_bucket(bucket)
    (found,) = examine_stores(in_bucket(seaweedfs, bucket, keys))
    assert found.level is Level.ERROR
    assert found.subject == "store storage.ingestion_storage"
    assert bucket in found.seen
    assert found.fix
    assert keys.secret_key not in f"{found.seen}{found.fix}"


def test_a_local_store_is_tried_where_it_is_there(tmp_path: Path) -> None:
    place = {
        "ingestion_storage": {"base_dir": str(tmp_path / "data")},
        "etl_storage_output": {"base_dir": str(tmp_path)},
    }
    found = examine_stores(parse_config({"storage": place}))
    assert [each.level for each in found] == [Level.INFO, Level.OK]
    assert list(tmp_path.iterdir()) == []


def test_the_last_line_counts_the_levels_worst_first() -> None:
    found = tuple(Finding(level, "a", "b") for level in (Level.OK, Level.OK, Level.WARNING, Level.WARNING, Level.ERROR))
    assert summary(found) == "1 error, 2 warnings, 2 ok"
