"""How far the pipeline has come, read from Redis itself (past the proxy): what moved, and has everybody caught up."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from daedalus_common.broker import keys
from daedalus_common.leases import Role
from daedalus_common.markets import Market

FRESH_SECONDS = 2.5
"""With a heartbeat a second and flushes every 0.5 s nothing that is healthy is older."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Events so far, over all markets."""

    published: int = 0
    written: int = 0
    featurized: int = 0
    rows: int = 0

    def of(self, what: str) -> int:
        return int(getattr(self, what))


@dataclass(frozen=True, slots=True)
class Ends:
    """The newest id of each stream, by its key, and the newest time of each market's sequence in ns."""

    ids: Mapping[str, str]
    newest: Mapping[Market, int]


class Progress:
    """Reads with a client of its own; every method raises redis errors while the server is away."""

    def __init__(self, client: "redis.Redis", markets: Sequence[Market]) -> None:
        self._client = client
        self._markets = tuple(markets)

    def moved(self) -> Moved:
        """Raises redis errors."""
        published = written = featurized = rows = 0
        for market in self._markets:
            published += int(self._client.hget(keys.sequence(market), "seq") or 0)
            for stream in keys.STREAMS:
                for group in self._groups(market, stream):
                    passed = int(group["entries-read"] or 0)
                    if group["name"] == b"writer":
                        written += passed
                        rows += passed if stream != keys.RAW else 0
                    elif group["name"] == b"featurizer":
                        featurized += passed
        return Moved(published, written, featurized, rows)

    def moved_patiently(self, seconds: float = 20.0) -> Moved:
        """As soon as the server answers; nothing moved where it does not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                return self.moved()
            except redis.RedisError:
                time.sleep(0.1)
        return Moved()

    def ends(self) -> Ends:
        """Raises redis errors."""
        ids = {}
        for market in self._markets:
            for stream in keys.STREAMS:
                key = keys.stream(market, stream)
                ids[key] = _text(self._info(key).get("last-generated-id", b"0-0"))
        newest = {m: int(self._client.hget(keys.sequence(m), "ts") or 0) for m in self._markets}
        return Ends(ids, newest)

    def behind(self, ends: Ends, now_ns: int) -> str | None:
        """What has not come as far as `ends` said, or stands still; None: everybody has caught up.

        Raises redis errors.
        """
        for market in self._markets:
            newest = int(self._client.hget(keys.sequence(market), "ts") or 0)
            age = (now_ns - newest) / 1e9
            if age > FRESH_SECONDS:
                return f"{market.name}: the newest event is {age:.1f} s old"
            for stream in keys.STREAMS:
                key = keys.stream(market, stream)
                for group in self._groups(market, stream):
                    if self._waits(key, group, ends.ids.get(key, "0-0")):
                        return f"{key}: {group['name'].decode()} has not passed {ends.ids[key]}"
        return None

    def lags(self) -> dict[str, int]:
        """`stream group` -> entries not passed, of those that have any. Raises redis errors."""
        found = {}
        for market in self._markets:
            for stream in keys.STREAMS:
                key = keys.stream(market, stream)
                last = _text(self._info(key).get("last-generated-id", b"0-0"))
                for group in self._groups(market, stream):
                    if self._waits(key, group, last):
                        found[f"{key} {group['name'].decode()}"] = int(group["lag"] or -1)
        return found

    def owners(self, role: Role) -> dict[Market, str]:
        """Who holds each market's lease, '' where nobody does. Raises redis errors."""
        return {market: _text(self._client.hget(keys.lease(market, role), "owner") or b"") for market in self._markets}

    def epochs(self, role: Role) -> dict[Market, int]:
        """Raises redis errors."""
        return {m: int(self._client.hget(keys.lease(m, role), "epoch") or 0) for m in self._markets}

    def sequences(self) -> dict[Market, int]:
        """The number of each market's newest event. Raises redis errors."""
        return {m: int(self._client.hget(keys.sequence(m), "seq") or 0) for m in self._markets}

    def footprint(self, role: Role) -> dict[str, Any]:
        """All that owners of this role may change, of every market. Raises redis errors."""
        found: dict[str, Any] = {}
        for market in self._markets:
            raw = keys.stream(market, keys.RAW)
            if role is Role.INGESTOR:
                found[f"{market.name} published"] = self._client.hmget(keys.sequence(market), "epoch", "applied")
            elif role is Role.FEATURIZER:
                found[f"{market.name} state"] = self._client.hgetall(keys.state(market))
                found[f"{market.name} cursor"] = self._cursor(market, keys.RAW, b"featurizer")
                for stream in (keys.SILVER, keys.GOLD):
                    key = keys.stream(market, stream)
                    found[f"{market.name} {stream}"] = self._info(key).get("last-generated-id")
            else:
                found[f"{market.name} plans"] = self._client.hgetall(keys.plan(market))
                found[f"{market.name} counters"] = self._client.hgetall(keys.counters(market))
                for stream in keys.STREAMS:
                    found[f"{market.name} {stream} cursor"] = self._cursor(market, stream, b"writer")
                found[f"{market.name} oldest"] = self._info(raw).get("first-entry")
        return found

    def _cursor(self, market: Market, stream: str, group: bytes) -> str | None:
        return next(
            (_text(g["last-delivered-id"]) for g in self._groups(market, stream) if g["name"] == group),
            None,
        )

    def _waits(self, key: str, group: Mapping[str, Any], last: str) -> bool:
        """Is there an entry up to this id that the group has not passed? Behind a lost tail ids go on without one."""
        passed = _text(group["last-delivered-id"])
        return id_of(passed) < id_of(last) and bool(self._client.xrange(key, f"({passed}", last, count=1))

    def _info(self, key: str) -> Any:
        try:
            return self._client.xinfo_stream(key)
        except redis.ResponseError:
            return {}  # no such stream yet

    def _groups(self, market: Market, stream: str) -> Any:
        try:
            return self._client.xinfo_groups(keys.stream(market, stream))
        except redis.ResponseError:
            return []


def id_of(text: str | bytes) -> tuple[int, int]:
    """`1700000000000-3` as numbers that compare."""
    ms, _, number = _text(text).partition("-")
    return int(ms), int(number or 0)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
