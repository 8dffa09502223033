"""`daedalus config check` and `daedalus config show`, as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from daedalus_common.config import Config, load_config

RUN = "import sys; from daedalus.cli.config import app; app(prog_name='daedalus config')"


def daedalus_config(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.upper().startswith("DAEDALUS__")}
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=clean | env, timeout=60, check=False)


def written(folder: Path, text: str) -> str:
    file = folder / "config.yaml"
    file.write_text(text)
    return str(file)


def test_a_usable_file_is_ok(tmp_path: Path) -> None:
    file = written(tmp_path, "ccxt: {exchanges: {kraken: {channels: {watchTrades: [BTC/USD]}}}}")
    done = daedalus_config("check", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: ok, 1 markets on 1 exchanges\n", "")
    done = daedalus_config("check", file, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"ok": True, "problems": [], "file": file, "markets": 1}


def test_a_wrong_file_ends_with_2_and_all_its_problems_on_stderr(tmp_path: Path) -> None:
    done = daedalus_config("check", written(tmp_path, "log_level: loud\nredis: 3\n"))
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "2 problems in the configuration:"
    assert [line.split(": ")[1] for line in lines[1:]] == ["log_level", "redis"]


def test_a_wrong_file_as_json_ends_with_2_and_json_on_stdout(tmp_path: Path) -> None:
    done = daedalus_config("check", written(tmp_path, "log_level: loud"), "--json")
    assert done.returncode == 2
    assert done.stderr == ""
    assert json.loads(done.stdout)["problems"][0]["path"] == "log_level"


def test_the_environment_is_checked_too(tmp_path: Path) -> None:
    done = daedalus_config("check", written(tmp_path, "log_level: INFO"), DAEDALUS__LOG_LEVL="x")
    assert done.returncode == 2
    assert "environment variable DAEDALUS__LOG_LEVL: log_levl: unknown key" in done.stderr


def test_show_without_a_file_shows_the_defaults() -> None:
    done = daedalus_config("show")
    assert done.returncode == 0
    assert set(yaml.safe_load(done.stdout)) == set(Config.model_fields)


def test_show_gives_what_is_in_effect_without_secrets(tmp_path: Path) -> None:
    file = written(tmp_path, "redis: {password: hunter2}\nleases: {ttl_seconds: 20}\n")
    done = daedalus_config("show", file, DAEDALUS__LEASES__RENEW_SECONDS="7")
    assert done.returncode == 0
    assert "hunter2" not in done.stdout
    shown = yaml.safe_load(done.stdout)
    assert shown["leases"] == {"ttl_seconds": 20, "renew_seconds": 7}
    assert shown["redis"]["password"] == "***"


def test_what_show_prints_without_secrets_is_a_usable_file(tmp_path: Path) -> None:
    assert load_config(Path(written(tmp_path, daedalus_config("show").stdout)), {}) == Config()


def test_show_of_a_missing_file_ends_with_2(tmp_path: Path) -> None:
    done = daedalus_config("show", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("none.yaml: no such file\n")


def test_help_shows_examples() -> None:
    for command in ("check", "show"):
        done = daedalus_config(command, "--help")
        assert done.returncode == 0
        assert f"daedalus config {command} config/daedalus.yaml" in " ".join(done.stdout.split())
