"""A market's streams: publishing, reading after a cursor, and the fenced commits of each role.

ingestor    publish(events)                        -> raw
featurizer  read(raw) ... commit_step(rows, state) -> silver, gold
writer      read(any) ... commit_plan, advance     -> cursor, trimmed stream
"""

from collections.abc import Iterable, Sequence
from typing import cast

import msgspec
from redis.asyncio import Redis

from daedalus_common.batches import RawEntry
from daedalus_common.broker import keys
from daedalus_common.broker.dead_letters import DeadLetter
from daedalus_common.broker.scripts import Argument, Scripts
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.plans import Plan, counters_after
from daedalus_common.rows import RowSchema

BEGINNING = "0-0"
MAX_DEAD_LETTERS = 10_000
"""Of a market, about: what is older makes room."""

_RUN_REPLY = 1000


class Published(msgspec.Struct, frozen=True):
    """What became of a batch: `lost` counts events whose seq the server no longer has, `clamped` clocks ahead."""

    added: int
    skipped: int
    lost: int
    clamped: int
    seq: int


class Cursor(msgspec.Struct, frozen=True):
    """A group's committed place in a stream; `lag` is None where the server cannot tell."""

    id: str
    lag: int | None


class Place(msgspec.Struct, frozen=True):
    """Where to read on: up to `count` entries after the id `after`."""

    market: Market
    stream: str
    after: str
    count: int


class StoredState(msgspec.Struct, frozen=True):
    """The featurizer's state as committed; `hot` is None before the first step."""

    genesis: str | None
    hot: bytes | None
    history: tuple[bytes, ...]


class Row(msgspec.Struct, frozen=True):
    """A Silver or Gold row to add to its stream."""

    layer: str
    table: str
    payload: bytes


class Step(msgspec.Struct, frozen=True):
    """The featurizer's atomic step: entries up to `to_id` became `rows` and the new state."""

    from_id: str
    to_id: str
    entries: int
    hot: bytes
    history: Sequence[bytes]
    """Rows to add to the ring."""
    keep_history: int
    """Length of the ring after the step."""
    rows: Sequence[Row]


class MarketLog:
    """All commands on markets. Every method touches the keys of one market only, so Cluster can run it."""

    def __init__(self, client: Redis, groups: keys.Groups | None = None) -> None:
        """`groups` are created with a market's streams; None = those of every consumer."""
        self._groups = keys.groups(features=True) if groups is None else groups
        self._client = client
        self._scripts = Scripts(client)

    async def open_market(self, market: Market) -> None:
        """Creates the streams with the groups of the enabled consumers; harmless when they exist."""
        await self._scripts.call(
            "open_market",
            [keys.stream(market, name) for name in keys.STREAMS],
            [",".join(self._groups.get(name, ())) for name in keys.STREAMS],
        )

    async def publish(self, lease: Lease, first: int, events: Iterable[tuple[int, bytes]]) -> Published:
        """Adds (capture_ts, payload) events; `first` is the number of the first one in this epoch, from 1.

        Safe to repeat after any error: events already applied are skipped. Raises Fenced.
        """
        market = lease.market
        arguments: list[Argument] = [lease.epoch, lease.token, first]
        for capture_ts, payload in events:
            arguments += (f"{capture_ts:019d}", payload)
        reply = await self._scripts.call(
            "publish",
            [keys.stream(market, keys.RAW), keys.sequence(market), keys.lease(market, Role.INGESTOR)],
            arguments,
        )
        return Published(*(int(value) for value in reply))

    async def read(self, market: Market, stream: str, after: str, count: int) -> list[RawEntry]:
        """Up to `count` entries after the id `after`; changes nothing on the server."""
        return await self._range(market, stream, f"({after}", "+", count)

    async def read_many(self, places: Sequence[Place]) -> list[list[RawEntry]]:
        """`read` of many streams in one round trip; the replies are in the order of `places`."""
        async with self._client.pipeline(transaction=False) as pipe:
            for place in places:
                stream = keys.stream(place.market, place.stream)
                pipe.xrange(stream, f"({place.after}", "+", place.count)  # type: ignore[unused-awaitable]
            return cast(list[list[RawEntry]], await pipe.execute())

    async def read_run(self, market: Market, stream: str, first: str, last: str) -> list[RawEntry]:
        """All entries from `first` to `last`, both included; in pieces, so that no reply blocks the server."""
        entries = reply = await self._range(market, stream, first, last, _RUN_REPLY)
        while len(reply) == _RUN_REPLY:
            reply = await self._range(market, stream, f"({reply[-1][0].decode()}", last, _RUN_REPLY)
            entries = entries + reply
        return entries

    async def _range(self, market: Market, stream: str, first: str, last: str, count: int) -> list[RawEntry]:
        return cast(list[RawEntry], await self._client.xrange(keys.stream(market, stream), first, last, count))

    async def cursor(self, market: Market, stream: str, group: str) -> Cursor:
        """The group's committed cursor; raises LookupError where the group does not exist."""
        for info in await self._client.xinfo_groups(keys.stream(market, stream)):
            if info["name"] == group.encode():
                return Cursor(info["last-delivered-id"].decode(), info.get("lag"))
        raise LookupError(f"{market.name}: stream {stream} has no consumer group {group}")

    async def sequence(self, market: Market) -> tuple[int, int]:
        """(seq, ts in ns) of the market's newest event; (0, 0) before the first."""
        seq, ts = await self._client.hmget(keys.sequence(market), ["seq", "ts"])
        return int(seq or 0), int(ts or 0)

    async def stored_state(self, market: Market) -> StoredState:
        """Read in one transaction, so that state and history are of the same step."""
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hmget(keys.state(market), ["genesis", "hot"])  # type: ignore[unused-awaitable]
            pipe.lrange(keys.history(market), 0, -1)  # type: ignore[unused-awaitable]
            (genesis, hot), history = await pipe.execute()
        return StoredState(genesis.decode() if genesis else None, hot, tuple(history))

    async def add_genesis(
        self, lease: Lease, genesis_id: str, capture_ts: int, payload: bytes, schemas: Iterable[RowSchema]
    ) -> None:
        """Writes the genesis event into the market's sequence, once per id, and declares its row schemas."""
        market = lease.market
        declared = [item for s in schemas for item in (s.id.hex(), msgspec.json.encode(s))]
        await self._scripts.call(
            "genesis",
            [
                keys.stream(market, keys.RAW),
                keys.sequence(market),
                keys.lease(market, Role.FEATURIZER),
                keys.state(market),
                keys.schemas(market),
            ],
            [lease.epoch, lease.token, genesis_id, f"{capture_ts:019d}", payload, *declared],
        )

    async def _hash(self, key: str) -> dict[str, bytes]:
        stored = cast(dict[bytes, bytes], await self._client.hgetall(key))
        return {field.decode(): value for field, value in stored.items()}

    async def schemas(self, market: Market) -> dict[bytes, RowSchema]:
        """Schema id -> schema of every row this market's silver and gold streams may hold."""
        stored = await self._hash(keys.schemas(market))
        return {bytes.fromhex(id_): msgspec.json.decode(text, type=RowSchema) for id_, text in stored.items()}

    async def commit_step(self, lease: Lease, step: Step) -> None:
        """Rows, state and cursor, all or nothing; safe to repeat. Raises Fenced or Conflict."""
        market = lease.market
        arguments: list[Argument] = [
            lease.epoch, lease.token, step.from_id, step.to_id, step.entries, step.hot, step.keep_history,
            len(step.history), *step.history,
        ]  # fmt: skip
        for row in step.rows:
            arguments += (5 if row.layer == keys.SILVER else 6, row.table, row.payload)
        await self._scripts.call(
            "step",
            [
                keys.stream(market, keys.RAW),
                keys.lease(market, Role.FEATURIZER),
                keys.state(market),
                keys.history(market),
                keys.stream(market, keys.SILVER),
                keys.stream(market, keys.GOLD),
            ],
            arguments,
        )

    async def pending_plan(self, market: Market, stream: str) -> Plan | None:
        """The plan a writer committed and did not finish."""
        data = (await self._hash(keys.plan(market))).get(stream)
        return None if data is None else Plan.decode(data)

    async def counters(self, market: Market) -> dict[str, str]:
        """What `plans.make_plan` needs to name the next objects."""
        return {field: value.decode() for field, value in (await self._hash(keys.counters(market))).items()}

    async def commit_plan(self, lease: Lease, plan: Plan) -> None:
        """Fixes names and rows before the first upload; safe to repeat. Raises Fenced or Conflict."""
        market = lease.market
        await self._scripts.call(
            "plan",
            [keys.stream(market, plan.stream), keys.lease(market, Role.WRITER), keys.plan(market)],
            [lease.epoch, lease.token, plan.stream, plan.cursor, plan.encode()],
        )

    async def advance(
        self,
        lease: Lease,
        plan: Plan,
        done: Plan,
        dead: Iterable[DeadLetter] = (),
        keep_ms: int = 0,
        max_dead: int = MAX_DEAD_LETTERS,
    ) -> int:
        """Every object is durable: moves the cursor past the plan, keeps dead letters, trims what all have read.

        `done` is the plan with the counters that were really used. Returns how many old dead letters made room for
        new ones, to keep about `max_dead`. Safe to repeat. Raises Fenced or Conflict.
        """
        market = lease.market
        counters = counters_after(done.segments)
        arguments: list[Argument] = [
            lease.epoch, lease.token, plan.stream, plan.encode(), plan.last_id, plan.entries, keep_ms,
            max_dead, len(counters), *(item for pair in counters.items() for item in pair),
        ]  # fmt: skip
        for letter in dead:
            arguments += (letter.id, letter.reason, msgspec.json.encode(letter.fields))
        dropped = await self._scripts.call(
            "advance",
            [
                keys.stream(market, plan.stream),
                keys.lease(market, Role.WRITER),
                keys.plan(market),
                keys.counters(market),
                keys.dead_letters(market),
            ],
            arguments,
        )
        return int(dropped)
