"""Which channels and tables a target takes."""

import pytest

from daedalus.etl.problems import UsageError
from daedalus.etl.targets import (
    Target,
    channels_of,
    check_channels,
    parse_targets,
    payloads_of,
    tables_of,
    targets_of,
)
from daedalus_common.events import Channel
from daedalus_features import FeatureConfig, tables

ALL = FeatureConfig()
ORDERBOOK, TRADES, TICKER, BARS = Target


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["all"], (ORDERBOOK, TRADES, TICKER, BARS)),
        (["bars", "trades"], (TRADES, BARS)),
        (["trades", "trades"], (TRADES,)),
        (["ticker", "all"], (ORDERBOOK, TRADES, TICKER, BARS)),
    ],
)
def test_names_become_targets_in_their_own_order(names: list[str], expected: tuple[Target, ...]) -> None:
    assert parse_targets(names) == expected


@pytest.mark.parametrize(("name", "near"), [("orderbok", "orderbook"), ("bar", "bars"), ("tickers", "ticker")])
def test_an_unknown_target_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {near}"):
        parse_targets([name])


@pytest.mark.parametrize(
    ("target", "channels", "payloads"),
    [
        (ORDERBOOK, {"orderbook"}, {"orderbook", "trades", "control"}),
        (TRADES, {"trades"}, {"trades", "control"}),
        (TICKER, {"ticker"}, {"ticker", "control"}),
        (BARS, {"orderbook", "trades"}, {"orderbook", "trades", "control"}),
    ],
)
def test_a_target_takes_the_channels_it_needs(target: Target, channels: set[str], payloads: set[str]) -> None:
    found = channels_of([target], ALL)
    assert set(found) == channels
    assert payloads_of(found, ALL) == payloads


def test_the_tables_of_all_targets_are_all_tables_once() -> None:
    by_target = [tables_of([target], ALL) for target in Target]
    assert sorted(name for names in by_target for name in names) == sorted(table.name for table in tables(ALL))
    assert tables_of([BARS], ALL) == {table.name for table in tables(ALL) if table.layer == "gold"}
    assert tables_of([TRADES], ALL) == {"trades"}


@pytest.mark.parametrize(
    ("enabled", "expected"),
    [
        ([Channel.TICKER], (TICKER,)),
        ([Channel.TRADES], (TRADES, BARS)),
        ([Channel.ORDERBOOK, Channel.TICKER], (ORDERBOOK, TICKER, BARS)),
        ([], ()),
    ],
)
def test_enabled_channels_feed_targets(enabled: list[Channel], expected: tuple[Target, ...]) -> None:
    assert targets_of(enabled) == expected
    check_channels(expected, enabled)
    for target in set(Target) - set(expected):
        with pytest.raises(UsageError, match=rf"{target}: etl.channels\.\w+\.enabled is false"):
            check_channels([target], enabled)
