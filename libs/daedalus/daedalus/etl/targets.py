"""What a run is asked for, and the channels and tables that it takes."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum

from daedalus.etl.problems import UsageError
from daedalus_common.events import CONTROL, Channel
from daedalus_features import FeatureConfig, Table, transforms

ALL = "all"


class Target(StrEnum):
    """Three Silver tables by their channels, and every Gold table."""

    ORDERBOOK = "orderbook"
    TRADES = "trades"
    TICKER = "ticker"
    BARS = "bars"


_BAR_CHANNELS = (Channel.ORDERBOOK, Channel.TRADES)
_PAYLOADS = {
    # Order-book rows hold the flow of trades too.
    Channel.ORDERBOOK: (Channel.ORDERBOOK, Channel.TRADES),
    Channel.TRADES: (Channel.TRADES,),
    Channel.TICKER: (Channel.TICKER,),
}
_OWN_PACKAGE = "daedalus_features."


def parse_targets(names: Iterable[str]) -> tuple[Target, ...]:
    """The targets in their own order; `all` stands for every one. Raises UsageError naming the nearest."""
    chosen: set[Target] = set()
    known = [ALL, *Target]
    for name in names:
        if name == ALL:
            chosen.update(Target)
        elif name in list(Target):
            chosen.add(Target(name))
        else:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"unknown target {name!r}: choose from {', '.join(known)}{hint}")
    return tuple(target for target in Target if target in chosen)


def targets_of(channels: Iterable[Channel]) -> tuple[Target, ...]:
    """Every target that these channels can feed."""
    enabled = set(channels)
    found = {Target(channel.value) for channel in enabled}
    if enabled & set(_BAR_CHANNELS):
        found.add(Target.BARS)
    return tuple(target for target in Target if target in found)


def check_channels(targets: Iterable[Target], enabled: Iterable[Channel]) -> None:
    """Raises UsageError for a target whose channel the configuration switches off."""
    feedable = targets_of(enabled)
    for target in targets:
        if target not in feedable:
            channel = Channel.ORDERBOOK if target is Target.BARS else Channel(target.value)
            raise UsageError(f"{target}: etl.channels.{channel}.enabled is false in the configuration; set it to true")


def channels_of(targets: Iterable[Target], params: FeatureConfig) -> tuple[Channel, ...]:
    """The channels whose transforms give any of the targets' tables, in their own order."""
    wanted = set(targets)
    needed = {
        each.channel for each in transforms(params) if any(target_of(each.channel, t) in wanted for t in each.tables)
    }
    return tuple(channel for channel in Channel if channel.value in needed)


def tables_of(targets: Iterable[Target], params: FeatureConfig) -> frozenset[str]:
    """The names of the targets' tables, those of users' own transforms included."""
    wanted = set(targets)
    return frozenset(
        table.name for each in transforms(params) for table in each.tables if target_of(each.channel, table) in wanted
    )


def payloads_of(channels: Iterable[Channel], params: FeatureConfig) -> frozenset[str]:
    """The Bronze tables whose payload these channels' transforms read."""
    needed = {CONTROL, *(payload.value for channel in channels for payload in _PAYLOADS[channel])}
    if any(not type(each).__module__.startswith(_OWN_PACKAGE) for each in transforms(params)):
        # Nobody knows what a user's transform looks at.
        needed.update(channel.value for channel in Channel)
    return frozenset(needed)


def target_of(channel: str, table: Table) -> Target:
    """Which target a table is written with."""
    return Target.BARS if table.layer == "gold" else Target(channel)
