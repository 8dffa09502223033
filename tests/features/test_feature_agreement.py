"""Every column of every table agrees with the slow second implementation on adversarial sequences."""

import random
from dataclasses import replace
from itertools import chain, combinations

import pytest
from hypothesis import HealthCheck, assume, given, settings

from daedalus_features import FeatureConfig, advance
from features.adversarial import sequences, with_geneses
from features.reference import Output, run, runs
from features.reference_numbers import Row
from features.sequences import (
    SMALL,
    at,
    columns,
    differences,
    disagreements,
    gathered,
    in_chunks,
    market,
    quote,
    trade,
)

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
    tick_bar_size=1,
    volume_bar_size=1 / 3,
    dollar_bar_size=1e-3,
    imbalance_bar_ticks=1,
    imbalance_bar_span=1,
    imbalance_bar_min_ticks=1,
    imbalance_bar_max_ticks=3,
)
"""Hardly any depth, and bars of a trade or two."""

LONG = FeatureConfig(
    bar_durations=(60, 300, 900, 3600),
    tick_bar_size=30,
    volume_bar_size=25.0,
    dollar_bar_size=3e3,
    imbalance_bar_ticks=20,
    imbalance_bar_span=50,
    imbalance_bar_min_ticks=2,
    imbalance_bar_max_ticks=200,
)
"""The default windows, and bars of many trades."""

CHANNELS = ("orderbook", "trades", "ticker")


@pytest.mark.parametrize("params", [SMALL, DEEP, LONG], ids=["small", "deep", "long"])
@pytest.mark.parametrize("seed", range(4))
def test_all_rows_agree_on_a_generated_market(seed, params):
    events = market(seed, 800)
    expected = run(events, params)
    step = advance(None, columns(events, params))
    assert len(expected.rows) > 100
    assert all(expected.tables.values())
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


@pytest.mark.parametrize("seed", range(3))
def test_they_agree_where_decimal_sums_fill_bars_and_buckets_to_the_brim(seed):
    draw = random.Random(seed)
    sides = [1, -1, 1, -1, *draw.choices([1, -1], k=500)]
    events = [quote(at(0), 99.0, 101.0)]
    events += [trade(at(0.1 * i), 10.0, draw.choice([0.1, 0.2, 0.3]), side) for i, side in enumerate(sides)]
    events += [quote(at(5 * i + 3), 99.0, 101.0) for i in range(11)]
    events.sort(key=lambda event: event.ts)
    params = replace(
        SMALL,
        vpin_bucket_size=1.0,
        volume_bar_size=1.0,
        dollar_bar_size=10.0,
        imbalance_bar_ticks=2,
        imbalance_bar_min_ticks=2,
    )
    expected = run(events, params)
    assert len(expected.tables["volume_bars"]) > 50
    assert differences(gathered([advance(None, columns(events, params))]), expected) == []


@given(sequences())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_they_agree_on_any_sequence(events):
    step = advance(None, columns(events, SMALL))
    expected = run(events, SMALL)
    assert step.invalid == expected.invalid
    assert differences(gathered([step]), expected) == []


def one_after_the_other(outputs: list[Output]) -> Output:
    """The rows of all geneses, none of which is in doubt."""
    names = {name for output in outputs for name in output.tables}
    tables = {name: [row for output in outputs for row in output.tables.get(name, [])] for name in names}
    return Output(tables, {}, {})


@given(with_geneses())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_they_agree_when_geneses_change_the_parameters_in_the_middle(events):
    outputs = runs(events)
    assume(not any(output.certain for output in outputs))
    found = gathered([advance(None, columns(events))])
    assert differences(found, one_after_the_other(outputs)) == []


@pytest.mark.parametrize("channels", [*chain.from_iterable(combinations(CHANNELS, count) for count in range(4))])
def test_a_configuration_of_fewer_channels_gives_their_tables_and_no_others(channels):
    params = replace(SMALL, channels=channels)
    events = market(5, 300, gap_rate=0.03)
    found = gathered(in_chunks(columns(events, params), range(40, 300, 40)))
    expected = run(events, params)
    assert set(found) == set(expected.tables)
    assert differences(found, expected) == []


@pytest.mark.parametrize("categories", [("structural",), ("dynamic",), ("rolling",), ("dynamic", "rolling"), ()])
def test_fewer_categories_take_columns_away_and_change_no_other(categories):
    params = replace(SMALL, categories=categories)
    events = market(6, 400, gap_rate=0.03)
    expected = run(events, params)
    found = gathered(in_chunks(columns(events, params), range(50, 400, 50)))
    assert set(found) == set(expected.tables)
    for name, rows in expected.tables.items():
        kept = found[name][0].table.index
        assert (set(kept) == set(rows[0].cells)) == (name not in ("orderbook", "bars"))
        fewer = [Row(row.timestamp, {column: row.cells[column] for column in kept}) for row in rows]
        assert disagreements(found[name], fewer, expected.certain.get(name)) == []


def test_the_generated_markets_leave_hardly_a_closing_in_doubt():
    outputs = [run(market(seed, 800), params) for seed in range(4) for params in (SMALL, LONG)]
    assert sum(bool(output.certain) for output in outputs) <= 1
