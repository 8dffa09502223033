"""The command line of `daedalus`: what it says and how it ends when it cannot even begin."""

import json
import os
import socket
import subprocess
import sys

import pytest
import redis
from typer.testing import CliRunner, Result

from daedalus.cli.main import app
from daedalus.embedded.layout import DataDir


def daedalus(*arguments: object) -> Result:
    """In this process, which saves the second that Python and the libraries take to load."""
    unset = {name: None for name in os.environ if name.startswith("DAEDALUS__")}
    return CliRunner().invoke(app, list(map(str, arguments)), env=unset, catch_exceptions=False)


def test_the_command_is_also_a_module():
    done = subprocess.run([sys.executable, "-m", "daedalus", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "daedalus 0.1.0\n")


def test_help_shows_examples_of_every_command():
    assert "Examples: daedalus up --demo" in daedalus("--help").stdout
    text = daedalus("up", "--help").stdout
    for word in ("--demo", "--duration", "--data-dir", "--config", "--redis", "--json", "--no-display", "--seed"):
        assert word in text
    assert "daedalus up --demo --duration 10s --json" in " ".join(text.split())
    assert "Exit codes:" in text


def test_nothing_to_record_is_an_error_of_usage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = daedalus("up")
    assert done.exit_code == 2
    assert "--demo" in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_wrong_duration_is_an_error_of_usage():
    done = daedalus("up", "--demo", "--duration", "5x")
    assert done.exit_code == 2
    assert "'5x' is not a duration" in done.stderr


def test_configuration_problems_are_listed_as_text_or_json(tmp_path):
    file = tmp_path / "daedalus.yaml"
    file.write_text("ccxt: {exchanges: {krakenn: {channels: {watchTrades: []}}}}\nlog_levl: INFO\n")
    text = daedalus("up", "--config", file)
    assert text.exit_code == 2
    assert "krakenn" in text.stderr
    assert "log_levl" in text.stderr
    assert text.stdout == ""
    found = daedalus("up", "--config", file, "--json")
    assert found.exit_code == 2
    assert {problem["path"] for problem in json.loads(found.stdout)["problems"]} >= {"log_levl"}


def test_a_missing_configuration_file_is_named(tmp_path):
    done = daedalus("up", "--config", tmp_path / "none.yaml")
    assert done.exit_code == 2
    assert "none.yaml" in done.stderr


def test_an_unwritable_data_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    done = daedalus("up", "--demo", "--data-dir", tmp_path / "file")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"daedalus up: cannot write to the data directory {tmp_path / 'file'}")
    assert "Traceback" not in done.stderr


def test_a_data_directory_in_use_is_refused(tmp_path):
    with DataDir(tmp_path):
        done = daedalus("up", "--demo", "--data-dir", tmp_path)
    assert done.exit_code == 1
    assert f"in use by another `daedalus up` (pid {os.getpid()})" in done.stderr


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, not listening: refused
        port = holder.getsockname()[1]
        done = daedalus(
            "up", "--demo", "--data-dir", tmp_path, "--redis", f"redis://:secret@127.0.0.1:{port}/0", "--no-display"
        )
    assert done.exit_code == 1
    assert f"no Redis answers at redis://:***@127.0.0.1:{port}/0" in done.stderr
    assert "embedded server" in done.stderr
    assert "secret" not in done.stderr


def test_a_server_that_asks_for_a_password_is_named(tmp_path, redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("requirepass", "other")
        try:
            done = daedalus("up", "--demo", "--data-dir", tmp_path, "--redis", redis_url, "--no-display")
        finally:
            client.config_set("requirepass", "")
    assert done.exit_code == 1
    assert "does not let us in" in done.stderr
    assert "redis.password" in done.stderr


@pytest.mark.parametrize("address", ["localhost:6379", "http://127.0.0.1"])
def test_a_wrong_redis_url_is_an_error_of_configuration(tmp_path, address):
    done = daedalus("up", "--demo", "--data-dir", tmp_path, "--redis", address)
    assert done.exit_code == 2
    assert "redis.url" in done.stderr
