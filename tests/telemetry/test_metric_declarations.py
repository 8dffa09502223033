"""Metrics are declared once, with names and labels that keep the conventions, and can all be listed."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from daedalus_common.telemetry import metrics
from daedalus_common.telemetry.metrics import MetricDeclaration, inventory_markdown

ROOT = Path(__file__).resolve().parents[2]
GENERATED_DOCS = ROOT / "tools" / "generated_docs.py"


def test_a_declared_metric_counts_and_is_listed() -> None:
    rows = metrics.counter("daedalus_probe_rows_total", "Rows made durable.", ("layer",))
    rows.labels(layer="bronze").inc(3)
    assert REGISTRY.get_sample_value("daedalus_probe_rows_total", {"layer": "bronze"}) == 3
    listed = {declaration.name: declaration for declaration in metrics.declared()}
    assert listed["daedalus_probe_rows_total"] == MetricDeclaration(
        "daedalus_probe_rows_total", "counter", "Rows made durable.", ("layer",)
    )


def test_gauges_and_histograms_measure_in_their_unit() -> None:
    lag = metrics.gauge("daedalus_probe_lag_seconds", "Age of the oldest entry.")
    lag.set(1.5)
    flush = metrics.histogram("daedalus_probe_flush_size_bytes", "Size of a flush.", buckets=metrics.SIZE_BUCKETS)
    flush.observe(2000)
    assert REGISTRY.get_sample_value("daedalus_probe_lag_seconds") == 1.5
    assert REGISTRY.get_sample_value("daedalus_probe_flush_size_bytes_bucket", {"le": "1024.0"}) == 0
    assert REGISTRY.get_sample_value("daedalus_probe_flush_size_bytes_bucket", {"le": "4096.0"}) == 1


@pytest.mark.parametrize(
    ("declare", "name", "reason"),
    [
        (metrics.counter, "daedalus_probe_rows", "must end in _total"),
        (metrics.gauge, "daedalus_probe_open_total", "_total belongs to counters"),
        (metrics.histogram, "daedalus_probe_flush", "must end in its unit"),
        (metrics.gauge, "probe_rows", "must read daedalus_<service>_<what>"),
        (metrics.gauge, "daedalus_rows", "must read daedalus_<service>_<what>"),
        (metrics.gauge, "daedalus_probe_Rows", "must read daedalus_<service>_<what>"),
        (metrics.gauge, "daedalus_probe_lag_ms", "use the base unit seconds instead of ms"),
        (metrics.counter, "daedalus_probe_written_mb_total", "use the base unit bytes instead of mb"),
        (metrics.gauge, "daedalus_probe_load_percent", "use the base unit ratio instead of percent"),
    ],
)
def test_a_name_that_breaks_a_convention_is_refused(declare: object, name: str, reason: str) -> None:
    assert callable(declare)
    with pytest.raises(ValueError, match=reason):
        declare(name, "Something.")
    assert name not in {declaration.name for declaration in metrics.declared()}


def test_labels_without_a_bound_and_metrics_without_a_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing bounds the values of label trade_id; allowed: backend, change, "):
        metrics.gauge("daedalus_probe_open", "Open trades.", ("exchange", "trade_id"))
    with pytest.raises(ValueError, match="say what it means"):
        metrics.gauge("daedalus_probe_open", " ")


def test_a_metric_cannot_be_declared_twice() -> None:
    metrics.gauge("daedalus_probe_twice", "Once.")
    with pytest.raises(ValueError, match="declared twice"):
        metrics.gauge("daedalus_probe_twice", "Twice.")


def test_the_inventory_groups_by_service_and_explains_the_labels() -> None:
    text = inventory_markdown(
        (
            MetricDeclaration("daedalus_ingestor_events_total", "counter", "Events\n  | taken.", ("exchange",)),
            MetricDeclaration("daedalus_writer_lag_seconds", "gauge", "Lag.", ()),
        )
    )
    assert text.index("## ingestor") < text.index("## writer") < text.index("## Labels")
    assert "| `daedalus_ingestor_events_total` | counter | `exchange` | Events \\| taken. |\n" in text
    assert "| `daedalus_writer_lag_seconds` | gauge |  | Lag. |\n" in text
    assert "| `exchange` | configured exchanges |\n" in text
    assert "`symbol`" not in text


def generated_docs(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(GENERATED_DOCS), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_generated_pages_are_written_and_noticed_when_stale(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    assert generated_docs(str(folder)).returncode == 0
    assert "`daedalus_" in (folder / "metrics.md").read_text()
    page = folder / "features.md"
    assert "`mlofi`" in page.read_text()
    assert generated_docs("--check", str(folder)).returncode == 0
    page.write_text(page.read_text() + "x")
    stale = generated_docs("--check", str(folder))
    assert stale.returncode == 1
    assert stale.stderr == f"{page} is out of date: run python tools/generated_docs.py {folder}\n"
