"""Every column agrees with the slow second implementation on adversarial sequences."""

import random

import pytest
from hypothesis import HealthCheck, given, settings

from daedalus_features import FeatureConfig, advance
from features.reference import run
from features.sequences import SMALL, columns, differences, gathered, in_chunks, market, sequences

DEEP = FeatureConfig(
    emit_interval_ns=500_000_000,
    book_levels=16,
    depth_levels=3,
    rolling_windows=(2, 7),
    bar_durations=(2,),
    ofi_decay_alpha=0.0,
    smart_depth_decay=2.5,
    kyle_window=8,
    regime_window=20,
    vpin_bucket_size=1 / 3,
    vpin_buckets=7,
)


@pytest.mark.parametrize("params", [SMALL, DEEP, FeatureConfig()], ids=["small", "deep", "default"])
@pytest.mark.parametrize("seed", range(4))
def test_rows_and_bars_agree_on_a_generated_market(seed, params):
    events = market(seed, 800)
    expected = run(events, params)
    step = advance(None, columns(events, params))
    assert len(expected.rows) > 100
    assert step.invalid == expected.invalid
    assert differences(gathered([step]), expected) == []


@pytest.mark.parametrize("seed", range(100, 104))
def test_they_agree_in_random_portions_with_the_state_restored_from_bytes(seed):
    events = market(seed, 700, gap_rate=0.05)
    whole = columns(events, SMALL)
    cuts = random.Random(seed).sample(range(len(whole)), 150)
    assert differences(gathered(in_chunks(whole, cuts)), run(events, SMALL)) == []


def test_they_agree_without_gaps_or_bad_books_where_all_shortcuts_apply():
    params = FeatureConfig(book_levels=1, depth_levels=1, rolling_windows=(30, 5), kyle_window=30, regime_window=40)
    events = market(42, 1200, gap_rate=0.0, bad_rate=0.0, quiet_rate=0.0)
    assert differences(gathered([advance(None, columns(events, params))]), run(events, params)) == []


@given(sequences())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_they_agree_on_any_sequence(events):
    step = advance(None, columns(events, SMALL))
    expected = run(events, SMALL)
    assert step.invalid == expected.invalid
    assert differences(gathered([step]), expected) == []
