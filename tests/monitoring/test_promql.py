"""The helper that says which series an expression reads."""

import pytest

from support.promql import client_metrics, known_metrics, metric_names, our_metrics, selectors


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up", {"up"}),
        ('sum by (job) (rate(daedalus_writer_rows_total{layer="bronze"}[5m]))', {"daedalus_writer_rows_total"}),
        ("a / on (le, job) group_left (zone) b", {"a", "b"}),
        ("histogram_quantile(0.99, sum(rate(x_bucket[5m] offset 1h)) by (le)) > bool 1e3 or vector(0)", {"x_bucket"}),
        ('a{x="b{c}", y=~"by (d)"} unless absent(e) # f', {"a", "e"}),
        ("topk(3, market:events:rate5m) * -Inf", {"market:events:rate5m"}),
        ("a offset $__range unless b offset -1h", {"a", "b"}),
        ("max_over_time(a[1h:5m]) - time()", {"a"}),
    ],
)
def test_the_names_of_the_series_are_found(expression: str, names: set[str]) -> None:
    assert metric_names(expression) == names


def test_a_selector_keeps_its_labels_and_loses_its_range() -> None:
    assert selectors('rate(a{x="[5m]"}[5m]) > 2 * b') == ['a{x="[5m]"}', "b"]


def test_a_selector_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="without a metric's name"):
        metric_names('sum({job="writer"})')


def test_ours_and_the_clients_metrics_are_known_and_an_invented_one_is_not() -> None:
    assert {"daedalus_writer_rows_total", "daedalus_writer_flush_seconds_bucket"} <= our_metrics()
    assert "process_resident_memory_bytes" in client_metrics()
    assert "daedalus_writer_flush_seconds" not in known_metrics()
    assert "daedalus_compactor_backlog_bytes" not in known_metrics()
