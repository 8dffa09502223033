"""The parameters: what is refused, and their canonical form."""

import json
from typing import Any

import pytest

from daedalus_features import CHANNELS, FeatureConfig, history_limit


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("emit_interval_ns", 0),
        ("emit_interval_ns", 1.0),
        ("emit_interval_ns", True),
        ("emit_interval_ns", 1_000),  # a window of 900 s would hold 9e8 rows
        ("book_levels", 0),
        ("depth_levels", 51),
        ("depth_levels", "20"),
        ("rolling_windows", (5, 0)),
        ("rolling_windows", (5, 5)),
        ("rolling_windows", 5),
        ("rolling_windows", "5"),
        ("bar_durations", (60.0,)),
        ("bar_durations", (-60,)),
        ("ofi_decay_alpha", -0.1),
        ("ofi_decay_alpha", float("nan")),
        ("smart_depth_decay", float("inf")),
        ("smart_depth_decay", None),
        ("kyle_window", 0),
        ("regime_window", 10**10),
        ("vpin_bucket_size", 0.0),
        ("vpin_bucket_size", 1e16),
        ("vpin_buckets", 0),
        ("tick_bar_size", 0),
        ("tick_bar_size", 100.0),
        ("volume_bar_size", 0.0),
        ("volume_bar_size", 1e16),
        ("dollar_bar_size", -1.0),
        ("dollar_bar_size", float("inf")),
        ("imbalance_bar_ticks", 0),
        ("imbalance_bar_span", 0),
        ("imbalance_bar_min_ticks", 0),
        ("imbalance_bar_min_ticks", 1001),  # more than the most
        ("imbalance_bar_max_ticks", 10**10),
        ("channels", ("orderbook", "trade")),
        ("channels", ("trades", "trades")),
        ("channels", "trades"),
        ("categories", ("structural", "dynamics")),
        ("categories", ("rolling", "rolling")),
        ("categories", "rolling"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name}: "):
        FeatureConfig(**{name: value})


def test_an_unknown_category_is_refused_with_the_nearest():
    wrong: Any = ("dynamics",)
    with pytest.raises(ValueError, match=r"'dynamics' is none of .*\(nearest: dynamic\)"):
        FeatureConfig(categories=wrong)


def test_an_unknown_channel_is_refused_with_the_nearest():
    wrong: Any = ("trade",)
    with pytest.raises(ValueError, match=r"'trade' is none of orderbook, trades, ticker \(nearest: trades\)"):
        FeatureConfig(channels=wrong)
    with pytest.raises(ValueError, match=r"'tickers' is none of .* \(nearest: ticker\)"):
        FeatureConfig().restricted(["tickers"])  # type: ignore[list-item]


def test_a_configuration_is_restricted_to_channels_that_it_has():
    params = FeatureConfig(depth_levels=7, channels=("ticker", "trades"))
    assert params.channels == ("trades", "ticker")
    assert params.restricted(["ticker", "orderbook"]) == FeatureConfig(depth_levels=7, channels=("ticker",))
    assert params.restricted(CHANNELS) == params


def test_an_imbalance_bar_may_have_exactly_one_length():
    params = FeatureConfig(imbalance_bar_min_ticks=7, imbalance_bar_max_ticks=7)
    assert params.imbalance_bar_min_ticks == params.imbalance_bar_max_ticks


def test_parameters_come_back_from_their_compact_form_and_from_no_other():
    params = FeatureConfig(depth_levels=7, channels=("ticker",), bar_durations=(60,))
    assert FeatureConfig.from_compact(params.to_compact()) == params
    assert len(params.to_compact()) < len(params.to_json()) / 2
    for other in (params.to_json(), b"[]", b"[1", b"3"):
        with pytest.raises(ValueError, match=r"parameters of another form|Expecting|delimiter"):
            FeatureConfig.from_compact(other)


def test_a_bar_lasts_a_multiple_of_the_interval():
    with pytest.raises(ValueError, match="bar_durations: 60 s is not a multiple of emit_interval_ns = 7000000000"):
        FeatureConfig(emit_interval_ns=7_000_000_000)
    FeatureConfig(emit_interval_ns=7_000_000_000, bar_durations=(70,))


def test_equal_parameters_have_equal_bytes_and_hash_however_they_are_written():
    written: dict[str, Any] = {
        "vpin_bucket_size": 1,
        "rolling_windows": [5, 15],
        "categories": ["rolling", "structural"],
    }
    one = FeatureConfig(**written)
    other = FeatureConfig(vpin_bucket_size=1.0, rolling_windows=(5, 15), categories=("structural", "rolling"))
    assert one == other
    assert one.to_json() == other.to_json()
    assert one.hash == other.hash
    assert len(one.hash) == 16
    assert one.hash != FeatureConfig().hash


def test_parameters_come_back_from_their_json():
    params = FeatureConfig(depth_levels=7, ofi_decay_alpha=0.1, bar_durations=(60, 300))
    assert FeatureConfig.from_json(params.to_json()) == params
    assert b" " not in params.to_json()


def test_json_must_name_every_parameter_and_no_other():
    known = json.loads(FeatureConfig().to_json())
    with pytest.raises(ValueError, match=r"kyle_windows: unknown parameter \(nearest: kyle_window\)"):
        FeatureConfig.from_json(json.dumps({**known, "kyle_windows": 3}))
    known.pop("kyle_window")
    with pytest.raises(ValueError, match="kyle_window: missing"):
        FeatureConfig.from_json(json.dumps(known))


def test_the_history_holds_the_rows_of_the_longest_window():
    assert history_limit(FeatureConfig()) == 900
    assert history_limit(FeatureConfig(rolling_windows=(3600,))) == 3600
    assert history_limit(FeatureConfig(emit_interval_ns=7_000_000_000, bar_durations=())) == 129
