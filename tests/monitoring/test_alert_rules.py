"""Every alert has what an operator needs, reads metrics that exist, fires in its case, and is silent in health."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from daedalus.cli.main import app
from support.checkout import ROOT
from support.promql import RULES, known_metrics, metric_names, our_metrics, rules

CASES = sorted((ROOT / "tests" / "monitoring" / "rules").glob("*.yml"))
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in rules() if "record" in rule}
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
PARTS = ("Means", "Lost", "Look", "Mend", "Over")
# `scrape_config_files` came with Prometheus 2.43.
SCRAPE_FILES_SINCE = (2, 43)


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs `promtool` (Debian's package `prometheus`; .ci/run installs it)")
    return found


def run(*command: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


# what a rule says


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_long_how_bad_what_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert re.fullmatch(r"\d+[ms]", alert["for"])
    assert alert["labels"]["severity"] in {"page", "warn"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert "$value" in alert["annotations"]["description"]
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


@pytest.mark.parametrize("name", RECORDS)
def test_a_recording_rule_is_named_by_level_metric_and_operation(name: str) -> None:
    level, metric, operation = name.split(":")
    assert metric.split("_")[:2] in [known.split("_")[:2] for known in our_metrics()]
    assert re.fullmatch(r"min|max|ratio|rate\d+[mhd]", operation)
    grouped = set(re.findall(r"\b(?:by) \(([^)]*)\)", RECORDS[name]["expr"])[0].split(", "))
    short = {"market": {"exchange", "symbol"}}
    assert grouped == set().union(*(short.get(part, {part}) for part in level.split("_")))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_reads_metrics_that_exist(rule: dict[str, Any]) -> None:
    read = metric_names(rule["expr"])
    assert read
    assert read - known_metrics() == set()


def test_an_alert_that_the_recorder_needs_is_there() -> None:
    read = {name for alert in ALERTS.values() for name in metric_names(alert["expr"])}
    assert {
        "market_channel:daedalus_ingestor_silence_seconds:min",
        "daedalus_ingestor_gaps_total",
        "market_stream_group:daedalus_stream_group_oldest_unread_seconds:max",
        "daedalus_ingestor_spool_bytes",
        "daedalus_ingestor_dropped_events_total",
        "daedalus_writer_errors_total",
        "node:daedalus_redis_memory_used:ratio",
        "job_role:daedalus_disk_free:ratio",
        "daedalus_redis_clock_offset_seconds",
        "daedalus_writer_dead_letters_total",
        "daedalus_writer_lost_tails_total",
        "daedalus_ingestor_server_lost_events_total",
        "role:daedalus_lease_unowned_markets:max",
        "process_resident_memory_bytes",
        "daedalus_compactor_backlog_oldest_seconds",
        "daedalus_compactor_last_pass_timestamp_seconds",
        "daedalus_compactor_failures_total",
    } <= read


# the runbook


def test_every_alert_has_a_section_in_the_order_of_the_rules_and_no_other_has_one() -> None:
    in_order = [
        rule["alert"]
        for file in ("services.yml", "ingest.yml", "storage.yml")
        for group in yaml.safe_load((RULES / file).read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]
    assert list(SECTIONS) == in_order
    assert sorted(in_order) == sorted(ALERTS)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means_what_is_lost_how_to_look_to_mend_and_when_it_is_over(name: str) -> None:
    section = SECTIONS[name]
    assert re.findall(r"^\*\*(\w+)\.\*\* \S", section, re.MULTILINE) == list(PARTS)
    means, look = re.search(r"\*\*Means\.\*\* (\w+): ", section), section.split("**Look.**")[1].split("**Mend.**")[0]
    assert means is not None
    assert means[1] == ALERTS[name]["labels"]["severity"]
    assert "`" in look


def test_the_runbook_names_metrics_sections_and_commands_that_exist() -> None:
    spans = re.findall(r"`([^`\n]+)`", RUNBOOK)
    named = {word for span in spans for word in re.findall(r"(?<![\w/.:])daedalus_\w+|\b\w+:daedalus_\w+:\w+", span)}
    assert len(named) > 40
    assert named - known_metrics() == set()
    anchors = set(re.findall(r"\]\(#([^)]*)\)", RUNBOOK))
    assert anchors - {name.lower() for name in SECTIONS} == set()
    files = set(re.findall(r"\]\(([^)#]+)\)", RUNBOOK))
    assert [file for file in files if not (ROOT / "docs" / file).exists()] == []
    ours = [span for span in spans if re.match(r"daedalus [a-z]", span)]
    commands = {span.split()[1] for span in ours}
    assert len(commands) > 6
    assert commands - set(get_command(app).commands) == set()  # type: ignore[attr-defined]
    options = {span: set(re.findall(r"--[a-z-]+", span)) for span in ours}
    assert any(options.values())
    assert {span: found - options_of(span) for span, found in options.items() if found - options_of(span)} == {}


def options_of(span: str) -> set[str]:
    """Of the command that it names, also where that is one of a group's."""
    command: Any = get_command(app)
    for word in span.split()[1:]:
        command = getattr(command, "commands", {}).get(word, command)
    return {name for each in command.params for name in each.opts}


def test_what_has_no_alert_is_said() -> None:
    assert not any("supervisor" in metric for metric in known_metrics()), "it has metrics now: add the alert"
    assert "`daedalus up`'s own warnings of memory" in RUNBOOK


# promtool


def test_promtool_understands_every_expression_of_the_runbook(promtool: str, tmp_path: Path) -> None:
    spans = dict.fromkeys(re.findall(r"`([^`\n]+)`", RUNBOOK))
    series = re.compile(r"(?<![a-z] )\b(up|process_\w+|daedalus_\w+)\b")
    asked = [span for span in spans if series.search(span) and not span.startswith(("daedalus ", "docker ", "deploy/"))]
    assert len(asked) > 50
    groups = [{"name": "asked", "rules": [{"record": f"asked:{n}:x", "expr": span} for n, span in enumerate(asked)]}]
    (tmp_path / "asked.yml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    done = run(promtool, "check", "rules", tmp_path / "asked.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules(promtool: str) -> None:
    done = run(promtool, "check", "rules", *sorted(RULES.glob("*.yml")))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", sorted(PROMETHEUS.glob("prometheus*.yml")), ids=lambda file: file.name)
def test_promtool_accepts_the_configuration(promtool: str, file: Path, tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    copy = tmp_path / "prometheus" / file.name
    told = run(promtool, "--version")
    version = re.search(r"version (\d+)\.(\d+)", told.stdout + told.stderr)
    assert version is not None
    if (int(version[1]), int(version[2])) < SCRAPE_FILES_SINCE:
        _write_into_one(copy)
    done = run(promtool, "check", "config", copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout + done.stderr


def _write_into_one(file: Path) -> None:
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    parts = [part for pattern in config.pop("scrape_config_files") for part in sorted(file.parent.glob(pattern))]
    jobs = [yaml.safe_load(part.read_text(encoding="utf-8"))["scrape_configs"] for part in parts]
    config["scrape_configs"] = [job for of_part in jobs for job in of_part]
    assert len(config["scrape_configs"]) >= 4
    file.write_text(yaml.safe_dump(config), encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda file: file.stem)
def test_alerts_fire_in_their_case_and_at_no_other_time(promtool: str, case: Path) -> None:
    done = run(promtool, "test", "rules", case.name, folder=case.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_cases_notice_an_alert_that_never_fires_and_one_that_fires_in_health(promtool: str, tmp_path: Path) -> None:
    for alert, changed, case in (("> 300", "> 99999", "storage.yml"), ("> 300", "> 30", "health.yml")):
        shutil.copytree(RULES, tmp_path / alert / changed, dirs_exist_ok=True)
        folder = tmp_path / alert / changed
        storage = (folder / "storage.yml").read_text(encoding="utf-8")
        assert alert in storage
        (folder / "storage.yml").write_text(storage.replace(alert, changed), encoding="utf-8")
        text = (ROOT / "tests" / "monitoring" / "rules" / case).read_text(encoding="utf-8")
        (folder / "case").write_text(text.replace("../../../deploy/prometheus/rules/", ""), encoding="utf-8")
        done = run(promtool, "test", "rules", "case", folder=folder)
        assert done.returncode != 0
        assert "WriterBehind" in done.stdout + done.stderr


def test_every_alert_fires_in_some_case() -> None:
    fired = set()
    for case in CASES:
        for test in yaml.safe_load(case.read_text(encoding="utf-8"))["tests"]:
            fired |= {expected["alertname"] for expected in test.get("alert_rule_test", []) if "exp_alerts" in expected}
            samples = [sample for each in test["promql_expr_test"] for sample in each.get("exp_samples", [])]
            fired |= {name for sample in samples for name in re.findall(r'alertname="(\w+)"', sample["labels"])}
    assert fired == ALERTS.keys()


# In a counter that stands still there is nothing that could fire; these begin with their first event.
ABSENT_IN_HEALTH = {
    "daedalus_writer_anomalies_total",
    "daedalus_writer_dead_letters_total",
    "daedalus_writer_dead_letters_dropped_total",
    "daedalus_writer_lost_tails_total",
}


def test_health_has_every_series_that_an_alert_reads() -> None:
    (test,) = yaml.safe_load((CASES[0].parent / "health.yml").read_text(encoding="utf-8"))["tests"]
    given = {series["series"].partition("{")[0] for series in test["input_series"]}
    read = {name for rule in rules() for name in metric_names(rule["expr"])} - RECORDS.keys()
    assert read - given == ABSENT_IN_HEALTH
