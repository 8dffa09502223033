"""A market's streams: publishing, reading after a cursor, and the fenced commits of each role.

ingestor    publish(events)                        -> raw
featurizer  read(raw) ... commit_step(rows, state) -> silver, gold
writer      read(any) ... commit_plan, advance     -> cursor, trimmed stream
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, cast

import msgspec
import structlog
from redis.exceptions import RedisError, ResponseError

from daedalus_common.batches import RawEntry
from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.broker.dead_letters import DeadLetter
from daedalus_common.broker.errors import Conflict
from daedalus_common.broker.scripts import Argument, Scripts
from daedalus_common.broker.settlements import Settlement
from daedalus_common.broker.steps import Step, StoredState
from daedalus_common.broker.stream_looks import StreamLook, look_at
from daedalus_common.broker.stream_reads import Read, Reply, read_streams
from daedalus_common.gap_tracking import GapState
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.plans import Plan, counters_after
from daedalus_common.rows import RowSchema

log = structlog.get_logger(__name__)

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


class LateEvent(NamedTuple):
    """One event that comes too late for its sequence; `position` orders those of one folder of an ingestor."""

    position: int
    epoch: int
    number: int
    """It was to be published as this one of `epoch`."""
    capture_ts: int
    payload: bytes


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


class MarketLog:
    """All commands on markets. Every method touches the keys of one market only, so Cluster can run it."""

    def __init__(self, client: Client, groups: keys.Groups | None = None) -> None:
        """`groups` are created with a market's streams; None = those of every consumer."""
        self._groups = keys.groups(features=True) if groups is None else groups
        self._client = client
        self._scripts = Scripts(client)
        self.unanswered: Mapping[Market, str] = {}
        """The markets that the last `read_many` had no answer for, and why: their node of the cluster is away."""

    async def open_market(self, market: Market) -> str:
        """Creates the streams with the groups of the enabled consumers; harmless when they exist.

        Returns the id of the server process, "" where the server does not tell: what is read after this is what that
        process has, and commits say so.
        """
        server: bytes = await self._scripts.call(
            "open_market",
            [keys.stream(market, name) for name in keys.STREAMS],
            [",".join(self._groups.get(name, ())) for name in keys.STREAMS],
        )
        return server.decode()

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

    async def publish_late(self, market: Market, folder: str, events: Iterable[LateEvent]) -> int:
        """Adds events of one late folder to the market's stream `late`; returns how long that is now.

        Safe to repeat after any error: positions already applied are skipped. Refused at maxmemory.
        """
        arguments: list[Argument] = [folder]
        for event in events:
            arguments += (event.position, event.epoch, event.number, f"{event.capture_ts:019d}", event.payload)
        target = [keys.stream(market, keys.LATE), keys.late_places(market)]
        _, length = await self._scripts.call("publish_late", target, arguments)
        return int(length)

    async def forget_late(self, market: Market, folder: str) -> None:
        """The folder is gone for good."""
        await self._client.hdel(keys.late_places(market), folder)

    async def log_id(self, market: Market) -> str | None:
        """The name of the market's sequence in this server; None before an ingestor with a spool has opened it."""
        name = cast(bytes | None, await self._client.hget(keys.sequence(market), "log"))
        return name.decode() if name else None

    async def read(self, market: Market, stream: str, after: str, count: int) -> list[RawEntry]:
        """Up to `count` entries after the id `after`; changes nothing on the server."""
        return await self._range(market, stream, f"({after}", "+", count)

    async def read_many(self, places: Sequence[Place]) -> list[list[RawEntry]]:
        """`read` of many streams in one round trip a node; the replies are in the order of `places`.

        Where a cluster's node is away its markets have nothing new, and `unanswered` says why; raises where nobody
        answers.
        """
        replies = await self._replies(places)
        self._note_unanswered(
            {
                place.market: str(reply) or type(reply).__name__
                for place, reply in zip(places, replies, strict=True)
                if isinstance(reply, RedisError)
            }
        )
        return [[] if isinstance(reply, RedisError) else reply for reply in replies]

    async def read_ahead(self, places: Sequence[Place]) -> list[list[RawEntry]]:
        """`read_many` that leaves it to the next one to say what is wrong: until then there is nothing new."""
        try:
            replies = await self._replies(places)
        except (RedisError, OSError):
            return [[] for _ in places]
        return [[] if isinstance(reply, RedisError) else reply for reply in replies]

    async def _replies(self, places: Sequence[Place]) -> list[Reply]:
        reads = [Read(keys.stream(place.market, place.stream), place.after, place.count) for place in places]
        return await read_streams(self._client, reads)

    def _note_unanswered(self, markets: Mapping[Market, str]) -> None:
        if markets and markets.keys() != self.unanswered.keys():
            names = sorted(market.name for market in markets)
            log.warning("a node does not answer, its markets wait", markets=names, reason=next(iter(markets.values())))
        elif self.unanswered and not markets:
            log.info("every node answers again")
        self.unanswered = markets

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
        """The group's committed cursor; raises Conflict where the group does not exist: open the market again."""
        try:
            infos = await self._client.xinfo_groups(keys.stream(market, stream))
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            infos = []
        for info in infos:
            if info["name"] == group.encode():
                return Cursor(info["last-delivered-id"].decode(), info.get("lag"))
        raise Conflict(f"{market.name}: stream {stream} has no consumer group {group}")

    async def look_at(self, market: Market) -> list[StreamLook]:
        """Length, memory and consumer groups of each of the market's streams."""
        return [await look_at(self._client, name, keys.stream(market, name)) for name in keys.STREAMS]

    async def sequence(self, market: Market) -> tuple[int, int]:
        """(seq, ts in ns) of the market's newest event; (0, 0) before the first."""
        seq, ts = await self._client.hmget(keys.sequence(market), ["seq", "ts"])
        return int(seq or 0), int(ts or 0)

    async def stored_state(self, market: Market) -> StoredState:
        """State and history of the same step."""
        genesis, hot, history = await self._scripts.call("see_state", [keys.state(market), keys.history(market)], [])
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
            lease.epoch, lease.token, step.server, step.genesis, step.from_id, step.to_id, step.entries, step.hot,
            step.keep_history, len(step.history), *step.history,
        ]  # fmt: skip
        for (layer, table), run in groupby(step.rows, lambda row: (row.layer, row.table)):
            payloads = [row.payload for row in run]
            arguments += (5 if layer == keys.SILVER else 6, table, len(payloads), *payloads)
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

    async def gap_state(self, market: Market) -> GapState:
        """What is known of the market's gaps at the writer's cursor in raw."""
        data = cast(bytes | None, await self._client.hget(keys.quality(market), "gaps"))
        return GapState() if data is None else GapState.decode(data)

    async def commit_plan(self, lease: Lease, plan: Plan, server: str = "", muted: str = "") -> None:
        """Fixes names and rows before the first upload; safe to repeat. Raises Fenced or Conflict.

        `server` is the process that the entries were read from ("" = whichever it is), `muted` what `durable` says.
        """
        market = lease.market
        await self._scripts.call(
            "plan",
            [
                keys.stream(market, plan.stream),
                keys.lease(market, Role.WRITER),
                keys.plan(market),
                keys.durable(market),
            ],
            [lease.epoch, lease.token, plan.stream, plan.cursor, plan.encode(), server, muted],
        )

    async def durable(self, market: Market, stream: str) -> tuple[bytes | None, str]:
        """What `settle` kept of a stream, and its muted rows, "from to"."""
        reply = await self._client.hmget(keys.durable(market), [stream, f"muted {stream}"])
        durable, muted = cast(list[bytes | None], reply)
        return durable, muted.decode() if muted else ""

    async def has_entry(self, market: Market, stream: str, id_: str, seq: int) -> bool:
        """Whether the entry is still there."""
        return any(fields.get(b"s") == b"%d" % seq for _, fields in await self._range(market, stream, id_, id_, 1))

    async def settle(self, lease: Lease, found: Settlement) -> bool:
        """Keeps what was found; True if the market was raised beyond it. Safe to repeat. Raises Fenced or Conflict."""
        market = lease.market
        arguments: list[Argument] = [
            lease.epoch, lease.token, found.server, found.stream, found.durable, int(found.lost), *found.last_ids,
            found.generation, found.seqs[0], f"{found.ts:019d}" if found.ts else "", *found.seqs[1:],
            *(item for pair in found.counters.items() for item in pair),
        ]  # fmt: skip
        raised = await self._scripts.call(
            "settle",
            [
                *(keys.stream(market, name) for name in (keys.RAW, keys.SILVER, keys.GOLD)),
                keys.lease(market, Role.WRITER),
                keys.durable(market),
                keys.counters(market),
                keys.sequence(market),
                keys.state(market),
            ],
            arguments,
        )
        return bool(raised)

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

        `done` is the plan with the counters that were really used, and the gaps known behind it. Returns how many old
        dead letters made room for new ones, to keep about `max_dead`. Safe to repeat. Raises Fenced or Conflict.
        """
        market = lease.market
        counters = counters_after(done.segments)
        gaps = done.gaps.encode() if isinstance(done.gaps, GapState) else b""
        arguments: list[Argument] = [
            lease.epoch, lease.token, plan.stream, plan.encode(), plan.last_id, plan.entries, keep_ms,
            max_dead, gaps, len(counters), *(item for pair in counters.items() for item in pair),
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
                keys.quality(market),
            ],
            arguments,
        )
        return int(dropped)
