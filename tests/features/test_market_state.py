"""Geneses, and the state as bytes."""

import numpy as np
import pytest

from daedalus_features import (
    HISTORY_COLUMNS,
    Events,
    FeatureConfig,
    Genesis,
    SchemaError,
    advance,
    dump,
    history_limit,
    load,
    schema_id,
)
from features.reference import Event, run
from features.sequences import (
    SMALL,
    after,
    as_dicts,
    at,
    columns,
    disagreements,
    gathered,
    in_chunks,
    market,
    quote,
    trade,
)

OTHER = FeatureConfig(depth_levels=3, book_levels=9, rolling_windows=(4,), bar_durations=(2,), kyle_window=7)


def with_geneses(events: list[Event], *geneses: tuple[int, FeatureConfig]) -> Events:
    """The events as columns, with geneses put in at these places."""
    listed = list(events)
    starts = []
    for shift, (place, params) in enumerate(geneses):
        ts = listed[min(place + shift, len(listed) - 1)].ts
        listed.insert(place + shift, Event("genesis", ts))
        starts.append(Genesis(place + shift, f"genesis-{shift}", params.to_json()))
    plain = columns(listed)
    return Events(plain.ts, plain.kind, plain.books, plain.trades, geneses=tuple(starts))


def test_events_before_the_first_genesis_are_ignored_and_counted():
    events = market(2, 300)
    step = advance(None, with_geneses(events, (120, SMALL)))
    assert step.before_genesis == 120
    assert as_dicts(gathered([step])["orderbook"]) == as_dicts(
        gathered([advance(None, columns(events[120:], SMALL))])["orderbook"]
    )
    nothing = advance(None, columns(events))
    assert (nothing.rows, nothing.state, nothing.before_genesis, nothing.invalid) == ((), None, 300, {})
    assert nothing.history.shape == (0, len(HISTORY_COLUMNS))


@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_genesis_starts_from_nothing_with_its_own_parameters(size, restore):
    events = market(4, 400)
    both = with_geneses(events, (0, SMALL), (200, OTHER))
    found = gathered(in_chunks(both, range(size, len(both), size), restore=restore))
    first = run([*events[:200], Event("genesis", events[200].ts)], SMALL)
    second = run(events[200:], OTHER)
    assert len(second.rows) > 20
    for table, earlier, later in (("orderbook", first.rows, second.rows), ("bars", first.bars, second.bars)):
        parts = found[table]
        turn = len(earlier)
        held = [len(part) for part in parts]
        split = next(i for i in range(len(parts)) if sum(held[:i]) == turn)
        assert disagreements(parts[:split], earlier) == []
        assert disagreements(parts[split:], later) == []


def test_a_genesis_gives_the_row_that_its_time_completes_and_drops_the_open_one():
    early = with_geneses([quote(at(0), 1, 2), quote(at(0.5), 3, 4), Event("heartbeat", at(5))], (0, SMALL), (1, SMALL))
    (row,) = as_dicts(gathered([advance(None, early)])["orderbook"])
    assert (row["mid_price"], row["snapshot_count"], row["ofi"]) == (3.5, 1, 0)
    late = with_geneses([quote(at(0), 1, 2), Event("heartbeat", at(5))], (0, SMALL), (1, SMALL))
    (row,) = as_dicts(gathered([advance(None, late)])["orderbook"])
    assert (row["timestamp"], row["mid_price"]) == (at(1), 1.5)


def test_a_genesis_forgets_trades_gaps_and_the_row_before():
    before = [quote(at(0), 1, 2), Event("heartbeat", at(1)), trade(at(1), 5, 1, 1), Event("gap", at(1))]
    after = [trade(at(1), 6, 1), quote(at(1), 2, 3), Event("heartbeat", at(2))]
    _, row = as_dicts(gathered([advance(None, with_geneses([*before, *after], (0, SMALL), (4, SMALL)))])["orderbook"])
    assert (row["gap"], row["trade_count"], row["buy_volume"], row["mid_velocity"]) == (0, 1, 0, None)


@pytest.mark.parametrize("earlier", [(), ((0, SMALL),)])
def test_time_does_not_run_backward_over_a_genesis(earlier):
    events = [quote(at(5), 1, 2), quote(at(3), 3, 4), Event("heartbeat", at(4)), Event("heartbeat", at(6))]
    (row,) = as_dicts(gathered([advance(None, with_geneses(events, *earlier, (1, SMALL)))])["orderbook"])
    assert (row["timestamp"], row["mid_price"]) == (at(6), 3.5)


def test_the_rows_to_append_to_the_ring_are_those_since_the_last_genesis():
    events = [quote(at(i), 1 + i, 2 + i) for i in range(9)]
    step = advance(None, with_geneses(events, (0, SMALL), (5, SMALL)))
    assert sum(len(rows) for rows in step.rows if rows.table.name == "orderbook") == 8
    assert step.history.shape == (3, len(HISTORY_COLUMNS))
    stale = np.full((5, len(HISTORY_COLUMNS)), 1.0)
    state = after(with_geneses(events, (0, SMALL), (5, SMALL)))
    restored = load(dump(state), np.concatenate((stale, step.history)))
    assert np.array_equal(restored.history, state.history, equal_nan=True)


def test_the_ring_is_cut_to_what_windows_can_reach():
    params = FeatureConfig(rolling_windows=(3,), kyle_window=4, regime_window=6)
    events = columns([quote(at(i), 1, 2) for i in range(30)], params)
    step = advance(None, events)
    assert history_limit(params) == 6
    assert after(events).history.shape == step.history.shape == (6, len(HISTORY_COLUMNS))
    half = FeatureConfig(emit_interval_ns=400_000_000, rolling_windows=(3,), kyle_window=4, regime_window=6)
    assert history_limit(half) == 15


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (b"{", "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "emit_interval_ns: missing"),
        (
            SMALL.to_json().replace(b"vpin_buckets", b"vpin_bucket"),
            "vpin_bucket: unknown parameter .nearest: vpin_bucket",
        ),
        (SMALL.to_json().replace(b'"depth_levels":12', b'"depth_levels":99'), "depth_levels: 99"),
    ],
)
def test_a_genesis_with_parameters_this_version_does_not_know_is_refused(document, complaint):
    events = columns([quote(at(0), 1, 2)], SMALL)
    broken = Events(events.ts, events.kind, events.books, events.trades, geneses=(Genesis(0, "g-7", document),))
    with pytest.raises(SchemaError, match=f"genesis g-7: .*{complaint}"):
        advance(None, broken)


@pytest.fixture
def kept():
    state = after(columns(market(6, 300), SMALL))
    return dump(state), state.history


def test_a_state_comes_back_from_its_bytes_and_the_ring(kept):
    hot, ring = kept
    state = load(hot, ring)
    assert dump(state) == hot
    assert np.array_equal(state.history, ring, equal_nan=True)
    assert (state.params, state.genesis_id) == (SMALL, "first")


def test_a_state_of_another_schema_is_refused(kept):
    hot, ring = kept
    with pytest.raises(SchemaError, match=f"this version has {schema_id()}"):
        load(b"12345678" + hot[8:], ring)


@pytest.mark.parametrize("cut", [0, 5, 21, 100, -1])
def test_a_truncated_state_is_refused(kept, cut):
    hot, ring = kept
    with pytest.raises(SchemaError):
        load(hot[:cut], ring)


def test_a_state_with_bytes_left_over_is_refused(kept):
    hot, ring = kept
    with pytest.raises(SchemaError, match="1 bytes more"):
        load(hot + b"x", ring)


def test_a_ring_that_lacks_rows_or_columns_is_refused(kept):
    hot, ring = kept
    with pytest.raises(SchemaError, match=f"needs the last {len(ring)}"):
        load(hot, ring[1:])
    with pytest.raises(SchemaError, match="a record has 9 numbers"):
        load(hot, ring[:, 1:])


def test_the_ring_keeps_timestamps_to_the_nanosecond():
    params = FeatureConfig(emit_interval_ns=333_333_333, bar_durations=(), rolling_windows=(5,))
    step = advance(None, columns([quote(at(i), 1, 2) for i in range(9)], params))
    (rows,) = step.rows
    stamps = step.history[:, 0].astype(np.int64) * 10**9 + step.history[:, 1].astype(np.int64)
    assert stamps.tolist() == rows.timestamp.tolist()


def test_a_state_of_fewer_channels_comes_back_too():
    for channel in ("orderbook", "trades", "ticker"):
        state = after(columns(market(6, 300), SMALL.restricted([channel])))
        restored = load(dump(state), state.history)
        assert restored.params.channels == (channel,)
        assert dump(restored) == dump(state)
        assert len(state.history) == 0 or channel == "orderbook"


def test_parameters_that_this_version_does_not_allow_are_refused_in_a_state_too(kept):
    hot, ring = kept
    with pytest.raises(SchemaError, match="state of genesis first: depth_levels: 99"):
        load(hot.replace(b",14,12,", b",14,99,"), ring)


def test_no_events_change_nothing():
    state = after(columns(market(6, 50), SMALL))
    step = advance(state, columns([]))
    assert step.rows == ()
    assert step.state == state
