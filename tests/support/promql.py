"""Which series a PromQL expression reads, and which series there are.

metric_names('sum by (job) (rate(daedalus_writer_rows_total{layer="bronze"}[5m]))') == {"daedalus_writer_rows_total"}
"""

import json
import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from daedalus_common.telemetry.metrics import declared
from support.checkout import ROOT

RULES = ROOT / "deploy" / "prometheus" / "rules"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
PACKAGES = ("common", "ingestor", "writer", "featurizer", "compactor", "simulator")

# What Prometheus itself writes beside the series of each target, and what it serves of itself and we read.
OF_PROMETHEUS = {
    *("up", "scrape_duration_seconds", "ALERTS"),
    *("prometheus_tsdb_head_series", "prometheus_rule_evaluation_failures_total"),
}

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'|`[^`]*`")
_NOTHING = re.compile(
    r"#[^\n]*|\[[^\[\]]*\]|\boffset\s+-?[\w$]+|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)",
    re.IGNORECASE,
)
_SELECTOR = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()(?:\s*\{[^{}]*\})?")
_WORDS = {
    *("and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "atan2"),
    *("sum", "min", "max", "avg", "group", "stddev", "stdvar", "count", "count_values", "bottomk", "topk", "quantile"),
    *("limitk", "limit_ratio", "inf", "nan", "start", "end"),
}


def selectors(expression: str) -> list[str]:
    """Every `name{labels}` in it, without ranges and offsets. Raises ValueError for one without a name."""
    masked = _STRING.sub(lambda found: '"' + "x" * (len(found[0]) - 2) + '"', expression)
    masked = _NOTHING.sub(lambda found: " " * len(found[0]), masked)
    spans = [found.span() for found in _SELECTOR.finditer(masked) if found[0].lower() not in _WORDS]
    named = "".join(masked[end:begin] for (_, end), (begin, _) in pairwise([(0, 0), *spans, (len(masked), 0)]))
    if "{" in named:
        raise ValueError(f"a selector without a metric's name: {expression}")
    return [expression[begin:end] for begin, end in spans]


def metric_names(expression: str) -> set[str]:
    """The names of all series that it selects. Raises ValueError for a selector without a name."""
    return {re.split(r"[\s{]", selector, maxsplit=1)[0] for selector in selectors(expression)}


@cache
def our_metrics() -> set[str]:
    """The names of all series that our services serve: of a histogram its buckets, its sum and its count."""
    for package in PACKAGES:
        module = f"daedalus_{package}.metrics"
        if find_spec(module) is not None:
            import_module(module)
    names = set()
    for metric in declared():
        if metric.kind == "histogram":
            names |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(metric.name)
    return names


@cache
def client_metrics() -> set[str]:
    """The series that prometheus_client adds to every process."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return {sample.name for family in registry.collect() for sample in family.samples}


@cache
def known_metrics() -> set[str]:
    """All that a panel or a rule may read: ours, prometheus_client's, Prometheus' and what the rules record."""
    return our_metrics() | client_metrics() | OF_PROMETHEUS | {rule["record"] for rule in rules() if "record" in rule}


def rules() -> list[dict[str, Any]]:
    """Every recording (`record`) and alert (`alert`) rule of deploy/prometheus/rules, in the order of the files."""
    documents = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(RULES.glob("*.yml"))]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


def panel_queries(folder: Path = DASHBOARDS) -> list[tuple[str, str]]:
    """(dashboard / panel, expression) of every query of every dashboard, variables not replaced."""
    boards = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    return [
        (f"{board['title']} / {panel['title']}", target["expr"])
        for board in boards
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]


@cache
def variables() -> dict[str, str]:
    """name -> query of every variable of the dashboards, which are the same on all of them."""
    boards = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(DASHBOARDS.glob("*.json"))]
    found = [board.get("templating", {}).get("list", []) for board in boards]
    return {variable["name"]: variable["query"]["query"] for some in found for variable in some}
