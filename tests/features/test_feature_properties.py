"""The five properties that every feature must have, over every table."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daedalus_features import FeatureConfig, Tickers, advance, catalogue, dump, history_limit, load
from features.adversarial import sequences, several_markets, with_geneses
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
    interleaved,
    joined,
    market,
    side_by_side,
    ticker,
    trade,
    unlike,
)

CALM = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(sequences(), st.data())
@CALM
def test_any_portions_give_the_same_rows(events, data):
    whole, expected = columns(events, SMALL), run(events, SMALL)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=len(whole)))
    at_once, portions = gathered(in_chunks(whole, [])), gathered(in_chunks(whole, cuts))
    assert differences(portions, expected) == []
    assert unlike(portions, at_once, expected) == unlike(at_once, portions, expected) == []


@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_one_event_at_a_time_gives_the_rows_of_all_at_once(seed, restore):
    events = market(seed, 400)
    whole, expected = columns(events, SMALL), run(events, SMALL)
    at_once, singly = gathered(in_chunks(whole, [])), gathered(in_chunks(whole, range(len(whole)), restore=restore))
    assert all(expected.tables.values())
    assert unlike(singly, at_once, expected) == unlike(at_once, singly, expected) == []
    assert differences(singly, expected) == []


@given(with_geneses(), st.data())
@CALM
def test_portions_do_not_matter_when_geneses_lie_in_the_middle(events, data):
    whole = columns(events)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=len(whole)))
    at_once, portions = gathered(in_chunks(whole, [])), gathered(in_chunks(whole, cuts))
    assert rows_of(portions) == rows_of(at_once)


def rows_of(tables: dict) -> dict:
    """What identifies rows beside their values, whose room nobody knows when the parameters change."""
    return {
        name: [(rows.table, timestamp) for rows in parts for timestamp in rows.timestamp.tolist()]
        for name, parts in tables.items()
    }


@given(several_markets(), st.data())
@CALM
def test_markets_side_by_side_give_the_rows_of_each_alone(markets, data):
    events, params = markets
    cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=len(events)))
    for name, steps in side_by_side(events, params, cuts).items():
        own = [event for market_name, event in events if market_name == name]
        assert differences(gathered(steps), run(own, params[name])) == []


def test_any_interleaving_of_generated_markets_gives_the_rows_of_each_alone():
    markets = {str(seed): market(seed, 250) for seed in (20, 21, 22, 23)}
    params = {name: replace(SMALL, depth_levels=1 + int(name) % 3) for name in markets}
    alone = {name: gathered([advance(None, columns(markets[name], params[name]))]) for name in markets}
    for seed in range(3):
        events = interleaved(markets, seed)
        cuts = random.Random(seed).sample(range(len(events)), 60)
        for name, steps in side_by_side(events, params, cuts).items():
            expected = run(markets[name], params[name])
            assert unlike(alone[name], gathered(steps), expected) == []
            assert differences(gathered(steps), expected) == []


@given(sequences(), st.integers(0, 90))
@CALM
def test_the_rows_of_a_prefix_are_a_prefix_of_the_rows(events, end):
    whole, prefix = (gathered([advance(None, columns(part, SMALL))]) for part in (events, events[:end]))
    assert unlike(prefix, whole, run(events, SMALL)) == []


@given(sequences(), st.integers(1, 90), st.sampled_from([0, SECOND]))
@CALM
def test_what_comes_later_changes_no_row_already_given(events, end, pause):
    seen = events[:end]
    last = max((event.ts for event in seen), default=at(0))
    crash = [
        book(last + pause, [(1.0, 9.0)], [(2.0, 9.0)]),
        trade(last + pause, 1.0, 1e9, -1),
        ticker(last + pause, bid=1.0, ask=2.0, last=9.0),
        Event("gap", last),
    ]
    before = gathered([advance(None, columns(seen, SMALL))])
    after_crash = gathered([advance(None, columns([*seen, *crash], SMALL))])
    assert unlike(before, after_crash, run(seen, SMALL)) == []


def check_values(tables: dict) -> None:
    """Fails unless every value is finite or null, and of its column's type."""
    for parts in tables.values():
        for rows in parts:
            assert not np.isinf(rows.values).any()
            assert rows.values.shape == (len(rows.timestamp), len(rows.table.columns))
            for column in rows.table.columns:
                values = rows.column(column.name)
                known = values[~np.isnan(values)]
                if column.dtype != "float64":
                    assert (known == np.round(known)).all()
                if column.dtype == "category":
                    assert ((known >= 0) & (known < len(column.labels))).all()
                if column.dtype == "bool":
                    assert np.isin(known, (0.0, 1.0)).all()
                if column.name not in Tickers.FIELDS:
                    assert not np.signbit(known[known == 0]).any()


@given(sequences())
@CALM
def test_every_value_is_finite_or_null_and_of_its_columns_type(events):
    check_values(gathered([advance(None, columns(events, SMALL))]))


@given(with_geneses(), st.sampled_from([(), ("orderbook",), ("trades",), ("ticker",), ("trades", "ticker")]), st.data())
@CALM
def test_nothing_whatever_raises_an_exception(events, channels, data):
    changed = [
        event._replace(params=replace(event.params, channels=channels))
        if event.params is not None and data.draw(st.booleans())
        else event
        for event in events
    ]
    whole = columns(changed)
    for cuts in ([], data.draw(st.lists(st.integers(0, len(whole)), max_size=4)), range(len(whole))):
        check_values(gathered(in_chunks(whole, cuts)))


def test_extreme_but_usable_numbers_stay_finite():
    events = []
    for second in range(60):
        low, high = (1e-15, 1e15) if second % 2 else (1e14, 1e15)
        events += [
            book(at(second), [(low * (3 - i), 10.0 ** (15 - 30 * (i % 2))) for i in range(3)], [(high, 1e-15)]),
            trade(at(second), low, 1e15 if second % 3 else 1e-15, 1 if second % 2 else -1),
            trade(at(second), high, 1e15, -1 if second % 2 else 1),
            ticker(at(second), bid=1e-15, ask=high, last=1e15 if second % 3 else 1e-15, quote_volume=1.7e308),
        ]
    params = replace(SMALL, bar_durations=(5,), volume_bar_size=1e15, dollar_bar_size=1e30)
    tables = gathered([advance(None, columns([*events, Event("gap", at(60))], params))])
    check_values(tables)
    assert {name: sum(map(len, parts)) for name, parts in tables.items() if "imbalance" not in name} == {
        "orderbook": 60, "bars": 12, "trades": 120, "trade_bars": 11, "tick_bars": 17, "volume_bars": 100,
        "dollar_bars": 60, "ticker": 60,
    }  # fmt: skip
    assert np.isfinite(tables["orderbook"][0].column("kyle_lambda")[-1])
    assert np.isfinite(tables["ticker"][0].column("last_vs_mid")).all()


def full_books(count: int, every: float, levels: int = 50) -> list[Event]:
    """Books of so many levels, and a trade and a ticker beside each."""
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
            ticker(at(i * every), bid=mid - 0.01, ask=mid + 0.01, last=mid),
        ]
    return events


def test_the_state_does_not_grow_and_its_hot_part_fits_four_kilobytes():
    params = FeatureConfig(rolling_windows=(5, 15, 60), kyle_window=60, regime_window=60, tick_bar_size=10**6)
    states = (after(columns(full_books(count, 0.5), params)) for count in (200, 400, 600))
    sizes = {(len(dump(state)), len(state.history)) for state in states}
    ((hot, rows),) = sizes
    assert hot <= 4096
    assert rows == history_limit(params) == 60


def test_the_hot_part_of_the_default_parameters_fits_four_kilobytes():
    events = columns(full_books(200, 0.5), FeatureConfig())
    state = after(events)
    assert len(dump(state)) <= 4096
    assert load(dump(state), state.history).genesis_id == "first"


def test_bars_that_never_close_do_not_grow_the_state():
    params = FeatureConfig(
        tick_bar_size=10**9,
        volume_bar_size=1e15,
        dollar_bar_size=1e30,
        imbalance_bar_ticks=10**9,
        vpin_bucket_size=1e15,
    )
    trades = [trade(at(i), 1.0, 1.0, 1) for i in range(900)]
    assert len(dump(after(columns(trades, params)))) == len(dump(after(columns(trades[:9], params))))


TICKER_POWERS = (
    (1, 0), (0, 1), (1, 0), (0, 1), (1, 0), (1, 0), (1, 0), (1, 0), (1, 0), (0, 1), (1, 1),
)  # fmt: skip
"""Of quote and base, in the order of the fields."""


def scaled(events: list[Event], prices: float, sizes: float) -> list[Event]:
    def levels(side):
        return tuple((price * prices, size * sizes) for price, size in side)

    return [
        event._replace(
            bids=levels(event.bids),
            asks=levels(event.asks),
            price=event.price * prices,
            amount=event.amount * sizes,
            ticker=tuple(
                value * prices**quote * sizes**base
                for value, (quote, base) in zip(event.ticker, TICKER_POWERS, strict=True)
            ),
        )
        for event in events
    ]


@pytest.mark.parametrize(
    ("prices", "sizes"), [(2.0**3, 1.0), (1.0, 2.0**3), (2.0**-3, 1.0), (1.0, 2.0**-3), (2.0**5, 2.0**-2)]
)
@pytest.mark.parametrize("seed", [10, 12])
def test_a_change_of_units_scales_each_column_by_the_power_its_unit_says(seed, prices, sizes):
    events = market(seed, 900)
    plain = gathered([advance(None, columns(events, SMALL))])
    params = replace(
        SMALL,
        vpin_bucket_size=SMALL.vpin_bucket_size * sizes,
        volume_bar_size=SMALL.volume_bar_size * sizes,
        dollar_bar_size=SMALL.dollar_bar_size * prices * sizes,
    )
    other = gathered([advance(None, columns(scaled(events, prices, sizes), params))])
    powers = {
        (entry.table, column.name): prices**entry.unit.quote * sizes**entry.unit.base
        for entry in catalogue(SMALL)
        for column in entry.columns
    }
    assert set(plain) == set(other) == {table for table, _ in powers}
    for table, parts in plain.items():
        factors = np.array([powers[table, column.name] for column in parts[0].table.columns])
        stamps, values = joined(parts)
        other_stamps, other_values = joined(other[table])
        assert np.array_equal(stamps, other_stamps)
        wrong = ~np.isclose(values * factors, other_values, rtol=1e-14, atol=0.0, equal_nan=True).all(axis=0)
        assert [column.name for column, bad in zip(parts[0].table.columns, wrong, strict=True) if bad] == []
