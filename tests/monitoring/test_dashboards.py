"""The dashboards are made from their code, ask for series that exist, explain themselves and fit their provisioning."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from support.checkout import ROOT
from support.promql import DASHBOARDS, known_metrics, metric_names, our_metrics, panel_queries, rules, variables

GRAFANA = ROOT / "deploy" / "grafana"
COMPOSE = ROOT / "deploy" / "compose"
BOARDS: dict[str, Any] = {
    file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(DASHBOARDS.glob("*.json"))
}
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['title']}") for name, board in BOARDS.items() for panel in board["panels"]
]
# What a panel of 1080 pixels' height shows without scrolling: a row of the grid has 38, the head takes 110.
ONE_SCREEN_ROWS = 27


def dashboards(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.dashboards", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def test_there_is_a_dashboard_for_each_part_of_the_recorder() -> None:
    parts = {"overview", "ingest", "streams-and-leases", "writer-and-store", "featurizer", "compaction", "host"}
    assert set(BOARDS) == {*parts, "runbook"}


def test_the_dashboards_are_those_that_the_code_makes() -> None:
    done = dashboards("--check", str(DASHBOARDS))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_changed_a_missing_and_a_foreign_dashboard_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "dashboards"
    shutil.copytree(DASHBOARDS, folder)
    changed, missing, foreign = folder / "host.json", folder / "ingest.json", folder / "mine.json"
    changed.write_text(changed.read_text().replace("Processor", "Brain"))
    missing.unlink()
    foreign.write_text("{}")
    done = dashboards("--check", str(folder))
    assert done.returncode == 1
    assert {line.split(" ")[0] for line in done.stderr.splitlines()} == {str(changed), str(missing), str(foreign)}
    assert dashboards(str(folder)).returncode == 0
    assert dashboards("--check", str(folder)).returncode == 0


def test_a_panel_that_links_to_no_section_of_the_runbook_is_refused(tmp_path: Path) -> None:
    runbook = tmp_path / "runbook.md"
    assert dashboards("--runbook", str(runbook), str(tmp_path)).returncode == 2
    runbook.write_text((ROOT / "docs" / "runbook.md").read_text().replace("# ClockSkew", "# Clocks"))
    done = dashboards("--runbook", str(runbook), str(tmp_path / "out"))
    assert done.returncode == 2
    assert "ClockSkew (Streams and leases / Clock against Redis)" in done.stderr
    assert not (tmp_path / "out").exists()


def test_every_metric_that_a_panel_names_exists() -> None:
    unknown = {f"{panel}: {name}" for panel, query in panel_queries() for name in metric_names(query) - known_metrics()}
    assert unknown == set()


def test_every_metric_of_ours_is_in_a_panel() -> None:
    shown = set().union(*(metric_names(query) for _, query in panel_queries()))
    # What a rule makes of it is shown in its place.
    recorded = {name for rule in rules() if rule.get("record") in shown for name in metric_names(rule["expr"])}
    histograms = {name.removesuffix("_bucket") for name in shown if name.endswith("_bucket")}
    missing = our_metrics() - shown - recorded
    assert {name for name in missing if name.rpartition("_")[0] not in histograms} == set()


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_what_is_bad_and_where_help_is(panel: dict[str, Any]) -> None:
    if panel["type"] == "text":
        assert panel["options"]["content"].strip()
        return
    says, bad = panel["description"].split("\n\n**Bad:** ")
    assert says.endswith(".")
    assert bad.endswith(".")
    (link,) = panel["links"]
    number = int(link["url"].removeprefix("/d/daedalus-runbook/runbook?viewPanel=panel-"))
    (section,) = [panel for panel in BOARDS["runbook"]["panels"] if panel["id"] == number]
    assert link["title"] == f"Runbook: {section['title']}"
    assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_what_grafana_can_read(name: str) -> None:
    board = BOARDS[name]
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    # The SDK reads every link as one in the menu of controls; ours is beside it.
    again["links"] = [{**link, "placement": ""} for link in again["links"]]
    assert again == board
    assert board["uid"] == f"daedalus-{name}"
    numbers = [panel["id"] for panel in board["panels"]]
    assert numbers == sorted(set(numbers))
    cells = [cell for panel in board["panels"] for cell in cells_of(panel["gridPos"])]
    assert len(cells) == len(set(cells))
    assert {cell[0] for cell in cells} <= set(range(24))


def cells_of(place: dict[str, int]) -> list[tuple[int, int]]:
    return [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_in_a_query_is_one_of_the_dashboard(name: str) -> None:
    offered = {variable["name"] for variable in BOARDS[name].get("templating", {}).get("list", [])}
    queries = [target["expr"] for panel in BOARDS[name]["panels"] for target in panel.get("targets", [])]
    used = {found for query in queries for found in re.findall(r"\$(\w+)", query)}
    assert used - {"__range", "__rate_interval"} <= offered
    assert offered in (set(variables()), set())


def test_the_overview_fits_one_screen() -> None:
    places = [panel["gridPos"] for panel in BOARDS["overview"]["panels"]]
    assert max(place["y"] + place["h"] for place in places) <= ONE_SCREEN_ROWS


def test_what_the_panels_ask_is_the_provisioned_source() -> None:
    (source,) = loaded(GRAFANA / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    asked = {
        (each["datasource"]["type"], each["datasource"]["uid"])
        for board in BOARDS.values()
        for each in [
            *(panel for panel in board["panels"] if panel["type"] != "text"),
            *(target for panel in board["panels"] for target in panel.get("targets", [])),
            *board.get("templating", {}).get("list", []),
        ]
    }
    assert asked == {(source["type"], source["uid"])}
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in loaded(COMPOSE / "compose.yaml")["services"]


def test_grafana_finds_the_dashboards_where_compose_mounts_them() -> None:
    (provider,) = loaded(GRAFANA / "provisioning" / "dashboards" / "daedalus.yaml")["providers"]
    grafana = loaded(COMPOSE / "compose.yaml")["services"]["grafana"]
    mounts = dict(reversed(volume.removesuffix(":ro").split(":")) for volume in grafana["volumes"])
    assert (COMPOSE / mounts[provider["options"]["path"]]).resolve() == DASHBOARDS
    assert (COMPOSE / mounts["/etc/grafana/provisioning"]).resolve() == GRAFANA / "provisioning"
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert home.stem in BOARDS


@pytest.mark.parametrize(
    ("compose", "prometheus"), [("compose.yaml", "prometheus.yml"), ("compose.pi4.yaml", "prometheus.pi4.yml")]
)
def test_grafana_knows_how_often_prometheus_scrapes(compose: str, prometheus: str) -> None:
    (source,) = loaded(GRAFANA / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    assert source["jsonData"]["timeInterval"] == "$SCRAPE_INTERVAL"
    told = loaded(COMPOSE / compose)["services"]["grafana"]["environment"]["SCRAPE_INTERVAL"]
    assert told == loaded(ROOT / "deploy" / "prometheus" / prometheus)["global"]["scrape_interval"]


def loaded(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))
