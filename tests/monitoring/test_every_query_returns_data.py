"""A real Prometheus scrapes a real pipeline: every query of every panel, every rule and every variable has data.

Grafana itself is not run: its image is not to be had everywhere. Its queries are asked of Prometheus as it would.
"""

import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.bronze import BronzeBuilder
from support.market_events import START, market_events
from support.prometheus_server import PrometheusServer, QueryError, binary
from support.promql import metric_names, panel_queries, rules, selectors, variables
from support.stack import Stack
from support.valkey import ValkeyServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SERVICES = ("compactor", "writer", "featurizer", "ingestor")
SYMBOLS = ["BTC/USDT", "ETH/USDT"]
CONFIG: dict[str, Any] = {
    "ccxt": {
        "exchanges": {
            "binanceus": {"channels": {"watchOrderBook": SYMBOLS, "watchTrades": SYMBOLS, "watchTicker": SYMBOLS}}
        }
    },
    "ingestion": {"flush_interval_seconds": 1.0},
    "features": {"bar_durations": [5], "emit_interval": 0.5},
    "compactor": {"every_seconds": 1.0, "grace_seconds": 0.0},
}
DATA_SECONDS = 45.0
CALM_SECONDS = 15.0

# What has no series while all is well, and why. Everything else must have some.
_LABELLED = "a counter with labels: no series before the first"
EMPTY_IN_HEALTH = {
    "ALERTS": "no alert fires",
    "daedalus_featurizer_events_before_genesis_total": f"{_LABELLED} event older than its market's first genesis",
    "daedalus_featurizer_foreign_entries_total": f"{_LABELLED} entry of a stranger",
    "daedalus_featurizer_invalid_events_total": f"{_LABELLED} invalid book or trade",
    "daedalus_ingestor_abandoned_events_total": f"{_LABELLED} event that is never published",
    "daedalus_ingestor_bad_frames_total": f"{_LABELLED} frame that ends in an error",
    "daedalus_ingestor_failures_total": f"{_LABELLED} failed attempt",
    "daedalus_ingestor_late_events_total": f"{_LABELLED} late event",
    "daedalus_ingestor_rebuilds_total": f"{_LABELLED} client that stood still",
    "daedalus_ingestor_rejected_events_total": f"{_LABELLED} update that is not of numbers",
    "daedalus_ingestor_repeated_trades_total": f"{_LABELLED} trade that comes again",
    "daedalus_writer_anomalies_total": f"{_LABELLED} anomaly",
    "daedalus_writer_conflicts_total": f"{_LABELLED} conflict",
    "daedalus_writer_dead_letters_dropped_total": f"{_LABELLED} dropped dead letter",
    "daedalus_writer_dead_letters_total": f"{_LABELLED} dead letter",
    "daedalus_writer_errors_total": f"{_LABELLED} failed call",
    "daedalus_writer_known_rows_total": f"{_LABELLED} lost tail",
    "daedalus_writer_lost_tails_total": f"{_LABELLED} lost tail",
    "daedalus_writer_plans_resumed_total": f"{_LABELLED} plan of a crashed writer",
}
# Of series that there are, the kinds that an alert waits for.
UNSEEN_IN_HEALTH = {
    'daedalus_ingestor_gaps_total{reason!="start"}': "the only gaps are those with which everything begins",
    'daedalus_writer_gap_seconds_total{reason!="start"}': "the same",
    'daedalus_lease_changes_total{change="lost"}': "no lease is lost",
    'market_stream_group:daedalus_stream_group_oldest_unread_seconds:max{group!~"writer|featurizer"}': (
        "nobody else has a consumer group"
    ),
}


@dataclass
class Monitored:
    """A Prometheus over a pipeline, and what stands for each variable."""

    prometheus: PrometheusServer
    stack: Stack

    def in_place(self, expression: str) -> str:
        """The expression as Grafana sends it, with every value of each variable chosen."""
        for name in variables():
            expression = expression.replace(f"${name}", "|".join(map(_escaped, self.values(name))))
        return expression.replace("$__rate_interval", "10s").replace("$__range", "1m")

    def values(self, name: str) -> list[str]:
        """What the user may choose for a variable."""
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variables()[name])
        assert found, variables()[name]
        return self.prometheus.label_values(found[2], found[1].replace("$exchange", ".*"))

    def has_data(self, expression: str) -> bool:
        """There are series, and not all of them are what a division of nothing by nothing gives."""
        values = [float(series["value"][1]) for series in self.prometheus.ask(expression)]
        return any(not math.isnan(value) for value in values)

    def without_data(self, asked: dict[str, str]) -> dict[str, str]:
        """Those of the expressions, by their names, that have none however long one waits."""
        deadline = time.monotonic() + DATA_SECONDS
        while True:
            asked = {name: expression for name, expression in asked.items() if not self.has_data(expression)}
            if not any(must_have_data(expression) for expression in asked.values()):
                return {}
            if time.monotonic() > deadline:
                return {name: expression for name, expression in asked.items() if must_have_data(expression)}
            time.sleep(1.0)

    def with_series(self, asked: dict[str, str]) -> dict[str, str]:
        """Those of the expressions, by their names, that have series however long one waits: a scrape may fail once."""
        deadline = time.monotonic() + CALM_SECONDS
        while True:
            asked = {name: expression for name, expression in asked.items() if self.prometheus.ask(expression)}
            if not asked or time.monotonic() > deadline:
                return asked
            time.sleep(1.0)


def leave_to_merge(folder: Path) -> None:
    """The small objects of a market and an hour that were recorded long ago."""
    recorded = BronzeBuilder(LocalDisk(folder, fsync=False), Market("kraken", "ADA/USDT"), timedelta(seconds=2))
    for key in recorded.write(market_events(1, 400)):
        os.utime(folder / key, times=(START / 1e9 + 7200,) * 2)


def must_have_data(expression: str) -> bool:
    return metric_names(expression).isdisjoint(EMPTY_IN_HEALTH)


def _escaped(value: str) -> str:
    """As Grafana writes a value into a regular expression."""
    return re.sub(r"[.*+?^${}()|\[\]\\/]", r"\\\\\g<0>", value)


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    binary()
    folder = tmp_path_factory.mktemp("monitored")
    stack = Stack(folder / "stack", CONFIG)
    stack.valkey = ValkeyServer(folder / "valkey", ("--maxmemory", "512mb", "--maxmemory-policy", "noeviction"))
    with stack:
        leave_to_merge(stack.data)
        stack.simulate("--seed", "11")
        services = [stack.start(name) for name in SERVICES]
        stack.wait_until(lambda: all(address(service.log) for service in services), "every service serves /metrics")
        targets = {service.name: [str(address(service.log))] for service in services}
        with PrometheusServer(folder / "prometheus", targets) as prometheus:
            stack.wait_until(
                lambda: {job for job, health in prometheus.targets().items() if health == {"up"}} > set(SERVICES),
                "every target is up",
            )
            stack.wait_until(
                lambda: len(prometheus.ask("rate(daedalus_writer_rows_total[10s]) > 0")) > 1, "rows are durable"
            )
            stack.wait_until(
                lambda: len(prometheus.ask("sum(daedalus_compactor_deleted_objects_total) > 1")) == 1,
                "old objects are merged and deleted",
            )
            yield Monitored(prometheus, stack)


def address(log: Path) -> str | None:
    """Where a service serves /metrics, as its log says."""
    found = re.search(r"telemetry=http://(\S+:\d+)", log.read_text(errors="replace"))
    return found[1] if found else None


def test_every_query_of_every_panel_returns_data(monitored: Monitored) -> None:
    # A panel shows 0 where a counter has no series yet: what is asked here is the series.
    asked = {
        f"{panel}: {expression}": monitored.in_place(expression).removesuffix(" or vector(0)")
        for panel, expression in panel_queries()
    }
    assert len(asked) > 100
    assert monitored.without_data(asked) == {}


def test_every_variable_offers_what_there_is(monitored: Monitored) -> None:
    assert {name: monitored.values(name) for name in ("exchange", "symbol")} == {
        "exchange": ["binanceus"],
        "symbol": SYMBOLS,
    }
    assert len(monitored.values("instance")) == len(SERVICES)
    assert set(variables()) == {"exchange", "symbol", "instance"}


def test_every_recording_rule_returns_data(monitored: Monitored) -> None:
    asked = {rule["record"]: rule["record"] for rule in rules() if "record" in rule}
    assert asked
    assert monitored.without_data(asked) == {}
    ailing = [rule["name"] for rule in monitored.prometheus.rules() if rule["health"] != "ok"]
    assert ailing == []


def test_every_series_that_an_alert_reads_is_there(monitored: Monitored) -> None:
    asked = {
        f"{rule['alert']}: {selector}": selector
        for rule in rules()
        if "alert" in rule
        for selector in selectors(rule["expr"])
        if selector not in UNSEEN_IN_HEALTH
    }
    assert len(asked) > 30
    assert monitored.without_data(asked) == {}


def test_no_alert_has_a_reason_to_fire_while_all_is_well(monitored: Monitored) -> None:
    alerts = {rule["alert"]: rule["expr"] for rule in rules() if "alert" in rule}
    assert alerts
    assert monitored.with_series(alerts) == {}


def test_what_is_said_to_be_empty_is_asked_for_and_empty(monitored: Monitored) -> None:
    expressions = [*(expression for _, expression in panel_queries()), *(rule["expr"] for rule in rules())]
    asked = set().union(*map(metric_names, expressions))
    assert EMPTY_IN_HEALTH.keys() - asked == set()
    assert UNSEEN_IN_HEALTH.keys() - {selector for rule in rules() for selector in selectors(rule["expr"])} == set()
    assert monitored.with_series({name: name for name in (*EMPTY_IN_HEALTH, *UNSEEN_IN_HEALTH)}) == {}


def test_a_query_that_is_wrong_is_found(monitored: Monitored) -> None:
    assert not monitored.has_data('daedalus_writer_rows_total{layer="brass"}')
    assert not monitored.has_data("sum(daedalus_writer_markets) * 0 / 0")
    with pytest.raises(QueryError, match="parse error"):
        monitored.has_data("sum(daedalus_writer_markets")
