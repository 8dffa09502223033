"""The kinds of panel that the dashboards are made of, each with what a bad value means and where the runbook helps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import common as look
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

SOURCE = common.DataSourceRef(type_val="prometheus", uid="prometheus")
"""The data source of deploy/grafana/provisioning/datasources."""

Kind = Literal["stat", "graph", "table", "text"]
Unit = Literal["short", "none", "s", "bytes", "Bps", "cps", "percentunit"]
"""Grafana's names; `cps` is a count per second."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression, and what its series are called."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True, slots=True)
class Limits:
    """From which value on a panel is orange and red; below, if `falling`."""

    warning: float
    critical: float
    falling: bool = False

    def steps(self) -> list[dashboard.Threshold]:
        colors = ("red", "orange", "green") if self.falling else ("green", "orange", "red")
        bounds = (None, *sorted((self.warning, self.critical)))
        return [dashboard.Threshold(value, color) for value, color in zip(bounds, colors, strict=True)]


@dataclass(frozen=True, slots=True)
class Panel:
    """`says` is what it shows, `bad` what a bad value means; `runbook` is a heading of docs/runbook.md."""

    kind: Kind
    title: str
    says: str
    bad: str = ""
    runbook: str = ""
    queries: tuple[Query, ...] = ()
    unit: Unit = "short"
    limits: Limits | None = None
    width: int = 8
    height: int = 7
    columns: tuple[str, ...] = ()
    units: tuple[tuple[str, Unit, Limits | None], ...] = ()
    words: tuple[tuple[str, str, str], ...] = ()
    largest: float | None = None
    stacked: bool = False

    @property
    def description(self) -> str:
        return f"{self.says}\n\n**Bad:** {self.bad}" if self.bad else self.says

    def built(
        self, number: int, place: dashboard.GridPos, links: Sequence[tuple[str, str]]
    ) -> Builder[dashboard.Panel]:
        """As Grafana's panel `number`."""
        make = {"stat": _stat, "graph": _graph, "table": _table, "text": _text}[self.kind]
        panel = make(self).id(number).title(self.title).grid_pos(place)
        if self.kind != "text":
            panel = panel.datasource(SOURCE).description(self.description)
        return panel.links([dashboards.DashboardLink(title).url(url).target_blank(True) for title, url in links])


_AnyPanel = stat.Panel | timeseries.Panel | table.Panel | text.Panel


def _stat(panel: Panel) -> _AnyPanel:
    built = (
        stat.Panel()
        .targets([_target(query, index).instant() for index, query in enumerate(panel.queries)])
        .unit(panel.unit)
        .decimals(1 if panel.unit == "s" else 0)
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(look.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(panel.limits))
        .no_value("none")
    )
    if panel.words:
        results = {value: dashboard.ValueMappingResult(text=word, color=color) for value, word, color in panel.words}
        built = built.mappings([dashboard.ValueMap(results)])
    return built


def _graph(panel: Panel) -> _AnyPanel:
    built = (
        timeseries.Panel()
        .targets([_target(query, index).range() for index, query in enumerate(panel.queries)])
        .unit(panel.unit)
        .min(0)
        .line_width(1)
        .fill_opacity(20 if panel.stacked else 5)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            look.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(look.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .thresholds(_thresholds(panel.limits))
    )
    if panel.limits:
        dashed = look.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        built = built.thresholds_style(dashed)
    if panel.stacked:
        built = built.stacking(look.StackingConfig().mode(common.StackingMode.NORMAL))
    return built if panel.largest is None else built.max(panel.largest)


def _table(panel: Panel) -> _AnyPanel:
    """One row for each set of labels; `columns` are the queries' names, in their order."""
    names = {f"Value #{_ref(index)}": name for index, name in enumerate(panel.columns)}
    hidden = dict.fromkeys(("Time", "__name__", "alertstate", "Value"), True)
    built = (
        table.Panel()
        .targets(
            [_target(query, index).instant().format(PromQueryFormat.TABLE) for index, query in enumerate(panel.queries)]
        )
        .with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            dashboard.DataTransformerConfig(
                id_val="organize", options={"excludeByName": hidden, "renameByName": names, "indexByName": {}}
            )
        )
    )
    for name, unit, limits in panel.units:
        properties = [dashboard.DynamicConfigValue("unit", unit)]
        if limits:
            properties += [
                dashboard.DynamicConfigValue("thresholds", _thresholds(limits).build()),
                dashboard.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ]
        built = built.override_by_name(name, properties)
    return built


def _text(panel: Panel) -> _AnyPanel:
    return text.Panel().mode(TextMode.MARKDOWN).content(panel.says)


def _target(query: Query, index: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(SOURCE).ref_id(_ref(index)).expr(query.expr).legend_format(query.legend)


def _ref(index: int) -> str:
    return chr(ord("A") + index)


def _thresholds(limits: Limits | None) -> dashboards.ThresholdsConfig:
    steps = limits.steps() if limits else [dashboard.Threshold(None, "green")]
    return dashboards.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
