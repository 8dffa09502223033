"""The five properties that every feature must have."""

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daedalus_features import FeatureConfig, advance, catalogue, dump, history_limit, load
from features.reference import Event, run
from features.sequences import (
    SECOND,
    SMALL,
    after,
    at,
    book,
    columns,
    differences,
    gathered,
    in_chunks,
    joined,
    market,
    sequences,
    trade,
    unlike,
)

CALM = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(sequences(), st.data())
@CALM
def test_any_portions_give_the_same_rows(events, data):
    whole = columns(events, SMALL)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=len(whole)))
    assert differences(gathered(in_chunks(whole, cuts)), run(events, SMALL)) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_one_event_at_a_time_gives_the_rows_of_all_at_once(seed):
    events = market(seed, 400)
    whole, expected = columns(events, SMALL), run(events, SMALL)
    at_once, singly = gathered(in_chunks(whole, [])), gathered(in_chunks(whole, range(len(whole))))
    for table, rows in (("orderbook", expected.rows), ("bars", expected.bars)):
        assert sum(map(len, at_once[table])) == sum(map(len, singly[table])) == len(rows)
        assert unlike(singly[table], at_once[table], rows) == []


@given(sequences(), st.integers(0, 60))
@CALM
def test_the_rows_of_a_prefix_are_a_prefix_of_the_rows(events, end):
    whole, prefix = (gathered([advance(None, columns(part, SMALL))]) for part in (events, events[:end]))
    expected = run(events, SMALL)
    assert unlike(prefix.get("orderbook", []), whole.get("orderbook", []), expected.rows) == []
    assert unlike(prefix.get("bars", []), whole.get("bars", []), expected.bars) == []


@given(sequences(), st.integers(1, 60), st.sampled_from([0, SECOND]))
@CALM
def test_what_comes_later_changes_no_row_already_given(events, end, pause):
    seen = events[:end]
    last = max((event.ts for event in seen), default=at(0))
    crash = [book(last + pause, [(1.0, 9.0)], [(2.0, 9.0)]), trade(last + pause, 1.0, 1e9, -1), Event("gap", last)]
    before = gathered([advance(None, columns(seen, SMALL))])
    after_crash = gathered([advance(None, columns([*seen, *crash], SMALL))])
    expected = run(seen, SMALL)
    assert unlike(before.get("orderbook", []), after_crash.get("orderbook", []), expected.rows) == []
    assert unlike(before.get("bars", []), after_crash.get("bars", []), expected.bars) == []


@given(sequences())
@CALM
def test_every_value_is_finite_or_null_and_of_its_columns_type(events):
    for rows in advance(None, columns(events, SMALL)).rows:
        assert not np.isinf(rows.values).any()
        for column in rows.table.columns:
            values = rows.column(column.name)
            known = values[~np.isnan(values)]
            if column.dtype != "float64":
                assert (known == np.round(known)).all()
            if column.dtype == "category":
                assert ((known >= 0) & (known < len(column.labels))).all()
            if column.dtype == "bool":
                assert np.isin(known, (0.0, 1.0)).all()
        assert not np.signbit(rows.values[rows.values == 0]).any()


def test_extreme_but_usable_numbers_stay_finite():
    events = []
    for second in range(60):
        low, high = (1e-15, 1e15) if second % 2 else (1e14, 1e15)
        events += [
            book(at(second), [(low * (3 - i), 10.0 ** (15 - 30 * (i % 2))) for i in range(3)], [(high, 1e-15)]),
            trade(at(second), low, 1e15 if second % 3 else 1e-15, 1 if second % 2 else -1),
        ]
    (rows, *_) = advance(None, columns([*events, Event("gap", at(60))], SMALL)).rows
    assert len(rows) == 60
    assert not np.isinf(rows.values).any()
    assert np.isfinite(rows.column("kyle_lambda")[-1])


def full_books(count: int, every: float, levels: int = 50) -> list[Event]:
    """Books of so many levels and a trade beside each."""
    draw = random.Random(7)
    events = []
    for i in range(count):
        mid = 100 + draw.random()
        events += [
            book(
                at(i * every),
                [(mid - 0.01 * (1 + level), draw.random() + 0.1) for level in range(levels)],
                [(mid + 0.01 * (1 + level), draw.random() + 0.1) for level in range(levels)],
            ),
            trade(at(i * every), mid, draw.random(), draw.choice([-1, 0, 1])),
        ]
    return events


def test_the_state_does_not_grow_and_its_hot_part_fits_four_kilobytes():
    params = FeatureConfig(
        bar_durations=(60, 300, 900, 3600), rolling_windows=(5, 15, 60), kyle_window=60, regime_window=60
    )
    states = (after(columns(full_books(count, 0.5), params)) for count in (200, 400, 600))
    sizes = {(len(dump(state)), len(state.history)) for state in states}
    ((hot, rows),) = sizes
    assert hot <= 4096
    assert rows == history_limit(params) == 60


def vars_of(params: FeatureConfig) -> dict:
    return {name: getattr(params, name) for name in params.__dataclass_fields__}


def test_the_hot_part_of_the_default_parameters_fits_four_kilobytes():
    events = columns(full_books(200, 0.5), FeatureConfig())
    state = after(events)
    assert len(dump(state)) <= 4096
    assert load(dump(state), state.history).genesis_id == "first"


def scaled(events: list[Event], prices: float, sizes: float) -> list[Event]:
    def levels(side):
        return tuple((price * prices, size * sizes) for price, size in side)

    return [
        event._replace(
            bids=levels(event.bids), asks=levels(event.asks), price=event.price * prices, amount=event.amount * sizes
        )
        for event in events
    ]


@pytest.mark.parametrize(("prices", "sizes"), [(2.0**3, 1.0), (1.0, 2.0**3), (2.0**-3, 1.0), (1.0, 2.0**-3)])
@pytest.mark.parametrize("seed", [10, 12])
def test_a_change_of_units_scales_each_column_by_the_power_its_unit_says(seed, prices, sizes):
    events = market(seed, 900)
    plain = gathered([advance(None, columns(events, SMALL))])
    params = FeatureConfig(**{**vars_of(SMALL), "vpin_bucket_size": SMALL.vpin_bucket_size * sizes})
    other = gathered([advance(None, columns(scaled(events, prices, sizes), params))])
    powers = {
        (entry.table, column.name): prices**entry.unit.quote * sizes**entry.unit.base
        for entry in catalogue(SMALL)
        for column in entry.columns
    }
    for table, parts in plain.items():
        factors = np.array([powers[table, column.name] for column in parts[0].table.columns])
        stamps, values = joined(parts)
        other_stamps, other_values = joined(other[table])
        assert np.array_equal(stamps, other_stamps)
        wrong = ~np.isclose(values * factors, other_values, rtol=1e-14, atol=0.0, equal_nan=True).all(axis=0)
        assert [column.name for column, bad in zip(parts[0].table.columns, wrong, strict=True) if bad] == []
