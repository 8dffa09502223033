"""The guide for a Raspberry Pi names commands, files, keys and figures that exist."""

import re

import pytest
import yaml
from typer.testing import CliRunner

from daedalus.cli.main import app
from daedalus.doctor.directories import BRONZE_BYTES_A_MARKET_AND_DAY
from daedalus.doctor.memory import OTHERS_BYTES
from daedalus_common.config import Config, parse_config
from support.checkout import ROOT

GUIDE = (ROOT / "docs" / "pi4.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
UNIT = (ROOT / "deploy" / "systemd" / "daedalus.service").read_text(encoding="utf-8")
PI_MEMORY_MB = 3_793


def configuration() -> Config:
    (block,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    return parse_config(yaml.safe_load(block))


def footprint(what: str) -> list[float]:
    """The figures of a line of the footprint's table: RSS and CPU of Valkey, writer, featurizer and ingestor."""
    (line,) = (line for line in BENCHMARKS.splitlines() if line.startswith(f"| {what}"))
    return [float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?= ?(?:,|%|MB|$))", line.split("|")[2])]


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"bin/daedalus ((?:config )?[a-z]+)", GUIDE + UNIT))), ids=str
)
def test_every_command_exists(command: str) -> None:
    assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0


def test_the_commands_are_found_in_the_text() -> None:
    found = set(re.findall(r"bin/daedalus ([a-z]+)", GUIDE + UNIT))
    assert found == {"config", "doctor", "leases", "streams", "up"}


def test_every_file_of_the_checkout_that_is_named_exists() -> None:
    linked = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", GUIDE)}
    installed = {ROOT / path for path in re.findall(r"/opt/daedalus/((?!\.venv)[\w./-]+)", GUIDE)}
    assert len(linked) >= 3
    assert [path for path in linked | installed if not path.exists()] == []


def test_its_configuration_is_accepted_and_leaves_room_on_4_gb() -> None:
    config = configuration()
    assert config.supervisor.memory_critical_mb * 2**20 + OTHERS_BYTES < PI_MEMORY_MB * 2**20
    assert config.supervisor.memory_warning_mb < config.supervisor.memory_critical_mb
    assert len(config.markets()) == 2


def test_the_keys_that_are_advised_are_keys() -> None:
    for section, key in re.findall(r"`(ingestion|writer|supervisor)\.(\w+)(?:: \d+)?`", GUIDE):
        assert key in type(getattr(configuration(), section)).model_fields, f"{section}.{key}"


def test_the_budget_has_the_figures_of_the_benchmarks() -> None:
    sizes, shares = footprint("**footprint**"), footprint("… CPU of the same")
    assert len(sizes) == len(shares) == 4
    for name, size, share in zip(("Valkey", "writer", "featurizer", "ingestor"), sizes, shares, strict=True):
        assert re.search(rf"^\| {name} \| {size:g} MB \| {share:g} %", GUIDE, re.MULTILINE), name
        derived = re.search(rf"^\| {name} .*\| (\d+) %(?: of a core)? \|$", GUIDE, re.MULTILINE)
        assert derived
        assert abs(int(derived[1]) - 5 * share) <= 0.51
    assert f"{sum(sizes):g} MB" in GUIDE


def test_the_disk_table_follows_from_the_benchmarks() -> None:
    rate = float(re.findall(r"([\d.]+) events/s a market", BENCHMARKS)[0])
    for bytes_an_update, said in ((219, "3.8 GB"), (140, "2.4 GB")):
        assert f"{bytes_an_update} B" in BENCHMARKS
        assert f"{10 * rate * 86_400 * bytes_an_update / 1e9:.1f} GB" == said
        assert said in GUIDE
    assert abs(rate * 86_400 * 219 - BRONZE_BYTES_A_MARKET_AND_DAY) < 1e6
    assert "23.5 GB" in BENCHMARKS
