"""A dashboard: its panels in their places, its variables, its links, and its JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard
from tools.dashboards.panels import SOURCE, Panel
from tools.dashboards.promql import OURS

COLUMNS = 24
TAG = "daedalus"
RUNBOOK = "daedalus-runbook"
VARIABLES = (
    ("exchange", "Exchange", "label_values(daedalus_ingestor_events_total, exchange)"),
    ("symbol", "Symbol", 'label_values(daedalus_ingestor_events_total{exchange=~"$exchange"}, symbol)'),
    ("instance", "Replica", f"label_values(up{{{OURS}}}, instance)"),
)


@dataclass(frozen=True, slots=True)
class Board:
    """`panels` fill the lines from left to right; `title` also says the name of its file."""

    title: str
    answers: str
    panels: tuple[Panel, ...]
    has_variables: bool = True
    refresh: str = "10s"
    since: str = "now-1h"

    @property
    def uid(self) -> str:
        return f"{TAG}-{self.name}"

    @property
    def name(self) -> str:
        return self.title.lower().replace(" ", "-")

    def json(self, sections: Mapping[str, int]) -> str:
        """Its file. `sections` are the headings of the runbook and the panels that hold them; KeyError for another."""
        built = (
            dashboards.Dashboard(self.title)
            .uid(self.uid)
            .description(self.answers)
            .tags([TAG])
            .timezone("utc")
            .time(self.since, "now")
            .refresh(self.refresh)
            .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
            .link(
                dashboards.DashboardLink("Daedalus")
                .type(dashboard.DashboardLinkType.DASHBOARDS)
                .tags([TAG])
                .as_dropdown(True)
                .placement("")  # in sight, not in the menu of controls, which is the SDK's default
                .include_vars(True)
                .keep_time(True)
            )
        )
        if self.has_variables:
            built = built.variables([_variable(*words) for words in VARIABLES])
        for number, (panel, place) in enumerate(zip(self.panels, _places(self.panels), strict=True), start=1):
            built = built.with_panel(panel.built(number, place, _links(panel, sections)))
        return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(built.build()) + "\n"


def _links(panel: Panel, sections: Mapping[str, int]) -> list[tuple[str, str]]:
    if not panel.runbook:
        return []
    url = f"/d/{RUNBOOK}/runbook?viewPanel=panel-{sections[panel.runbook]}"
    return [(f"Runbook: {panel.runbook}", url)]


def _places(panels: tuple[Panel, ...]) -> list[dashboard.GridPos]:
    """From left to right; a line is as high as its highest panel."""
    places, x, y, height = [], 0, 0, 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, height = 0, y + height, 0
        places.append(dashboard.GridPos(h=panel.height, w=panel.width, x=x, y=y))
        x, height = x + panel.width, max(height, panel.height)
    return places


def _variable(name: str, label: str, query: str) -> dashboards.QueryVariable:
    return (
        dashboards.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
        .definition(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
