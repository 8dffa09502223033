"""Tells of every consumer group of the owned markets' streams how far it is behind, and warns of those that are dead.

Nothing is trimmed before every group has read it, so one forgotten group fills the server's memory.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import structlog
from redis.exceptions import RedisError

from daedalus_common.broker.market_log import MarketLog
from daedalus_common.broker.stream_looks import GroupLook, StreamLook
from daedalus_common.markets import Market
from daedalus_writer import metrics

log = structlog.get_logger(__name__)

DEAD_AFTER: Final = timedelta(minutes=5)
TOLD_AGAIN_AFTER: Final = timedelta(hours=1)
_OWN: Final = "writer"
"""Its own group does not move while a store is away, which readiness tells."""

_Place = tuple[Market, str, str]
"""(market, stream, group)"""


@dataclass(frozen=True, slots=True)
class _Rest:
    """Since when a group has stood at a cursor, how far it was behind then, and when that was told."""

    cursor: str
    since: float
    lag: int
    told_at: float | None = None


class GroupWatch:
    def __init__(self, market_log: MarketLog, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._log = market_log
        self._clock = clock
        self._wall_clock = wall_clock
        self._rests: dict[_Place, _Rest] = {}
        self._streams: set[tuple[Market, str]] = set()

    async def look(self, markets: Collection[Market]) -> None:
        """Tells of these markets, and no longer of others: their new owners do. Redis errors are left to the loop."""
        streams, rests = set(), {}
        for market in markets:
            try:
                looks = await self._log.look_at(market)
            except RedisError:
                streams |= {place for place in self._streams if place[0] == market}
                rests.update({place: rest for place, rest in self._rests.items() if place[0] == market})
                continue
            for look in looks:
                streams.add((market, look.stream))
                self._tell(market, look)
                for group in look.groups:
                    rests[market, look.stream, group.name] = self._rest(market, look, group)
        self._replace(streams, rests)

    def forget(self) -> None:
        """Tells nothing any more."""
        self._replace(set(), {})

    def _tell(self, market: Market, look: StreamLook) -> None:
        labels = metrics.stream_labels(market, look.stream)
        metrics.STREAM_LENGTH.labels(**labels).set(look.length)
        metrics.STREAM_BYTES.labels(**labels).set(look.memory_bytes or 0)
        for group in look.groups:
            metrics.GROUP_LAG.labels(**labels, group=group.name).set(group.lag)
            metrics.GROUP_AGE.labels(**labels, group=group.name).set(self._age(group))

    def _age(self, group: GroupLook) -> float:
        unread_ms = group.oldest_unread_ms
        return 0.0 if unread_ms is None else max(0.0, self._wall_clock() - unread_ms / 1000)

    def _rest(self, market: Market, look: StreamLook, group: GroupLook) -> _Rest:
        now = self._clock()
        rest = self._rests.get((market, look.stream, group.name))
        if rest is None or rest.cursor != group.cursor or not group.lag:
            return _Rest(group.cursor, now, group.lag)
        is_dead = now - rest.since >= DEAD_AFTER.total_seconds() and group.lag > rest.lag and group.name != _OWN
        if not is_dead or (rest.told_at is not None and now - rest.told_at < TOLD_AGAIN_AFTER.total_seconds()):
            return rest
        log.warning(
            "a consumer group does not move, and its stream grows",
            market=market.name, stream=look.stream, group=group.name, unread=group.lag,
            oldest_unread_seconds=round(self._age(group)), memory_bytes=look.memory_bytes,
            way_out="start what reads it, or remove it: "
            f"daedalus streams remove-group {market.name} {look.stream} {group.name}",
        )  # fmt: skip
        return replace(rest, told_at=now)

    def _replace(self, streams: set[tuple[Market, str]], rests: dict[_Place, _Rest]) -> None:
        for market, stream in self._streams - streams:
            for metric in (metrics.STREAM_LENGTH, metrics.STREAM_BYTES):
                metric.remove(*metrics.stream_labels(market, stream).values())
        for market, stream, group in self._rests.keys() - rests.keys():
            for metric in (metrics.GROUP_LAG, metrics.GROUP_AGE):
                metric.remove(*metrics.stream_labels(market, stream).values(), group)
        self._streams, self._rests = streams, rests
