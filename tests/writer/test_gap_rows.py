"""Gaps and refused entries as rows of the quality tables: each once, whatever dies in between."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.entries import encode
from daedalus_common.events import Event, Gap, Heartbeat, Trade
from daedalus_common.gap_tracking import GapState
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import CreateResult, LocalDisk
from daedalus_writer import metrics
from support.lake import all_seqs, objects, stored
from support.writers import build_writer, publish, running, until, until_written

BTC = Market("binanceus", "BTC/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]
T0 = 1_770_127_200_000_000_000
SECOND = 1_000_000_000
DAY = "exchange=binanceus/symbol=BTC-USDT/year=2026/month=2/day=3"


def trade(second: int) -> Trade:
    return Trade(T0 + second * SECOND, None, str(second), 1.0, 1.0, "buy")


def gap(second: int, channel: str = "trades", reason: str = "reconnect", lost: int | None = None) -> Gap:
    return Gap(T0 + second * SECOND, channel, reason, None, "7", lost)


RUNS: tuple[tuple[Event, ...], ...] = (
    (gap(0, reason="start"), trade(1), gap(5), gap(6, "orderbook")),
    (Heartbeat(T0 + 7 * SECOND), trade(10), gap(11, "control", "server_lost", 4), gap(12)),
    (trade(20),),
)
ROWS = [
    # seq, phase, channel, begin and end in seconds
    (1, "open", "trades", None, None),
    (1, "closed", "trades", None, 1),
    (3, "open", "trades", 1, None),
    (4, "open", "orderbook", None, None),
    (3, "closed", "trades", 1, 10),
    (7, "open", "control", 10, None),
    (8, "open", "trades", 10, None),
    (7, "closed", "control", 10, 20),
    (8, "closed", "trades", 10, 20),
]


class Crash(Exception):
    """The process ends here."""


class DyingLog(MarketLog):
    """The real log, until the process dies around a commit."""

    def __init__(self, client: Redis, point: str) -> None:
        super().__init__(client)
        self._point = point

    async def commit_plan(self, *args: Any, **kwargs: Any) -> None:
        if self._point == "before the plan":
            raise Crash
        await super().commit_plan(*args, **kwargs)
        if self._point == "after the plan":
            raise Crash

    async def advance(self, *args: Any, **kwargs: Any) -> int:
        if self._point == "before the cursor moves":
            raise Crash
        dropped = await super().advance(*args, **kwargs)
        if self._point == "after the cursor moved":
            raise Crash
        return dropped


class DyingDisk(LocalDisk):
    """The real disk, until the process dies around one create of a quality object."""

    def __init__(self, folder: Path, *, before: bool) -> None:
        super().__init__(folder, fsync=False)
        self._before = before

    def create(self, key: str, data: bytes | memoryview, metadata: dict[str, str]) -> CreateResult:  # type: ignore[override]
        dies = key.startswith("quality/")
        if dies and self._before:
            raise Crash
        result = super().create(key, data, metadata)
        if dies:
            raise Crash
        return result


async def written(client: Redis, disk: LocalDisk, market_log: MarketLog) -> None:
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC)


async def die(client: Redis, disk: LocalDisk, market_log: MarketLog) -> None:
    async def is_done() -> bool:
        return task.done()

    with pytest.raises(Crash):
        async with running(build_writer(client, disk, [BTC], market_log=market_log)) as task:
            await until(is_done)


async def publish_runs(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, between: Callable[[int], Awaitable[None]]
) -> None:
    """Publishes the runs, a stranger's entry in each, and does `between` after each."""
    lease, first = await lease_of(Role.INGESTOR), 1
    for number, events in enumerate(RUNS):
        await publish(market_log, lease, [(event.capture_ts, encode(event)) for event in events], first)
        await client.xadd(keys.stream(BTC, keys.RAW), {"not": "ours"})
        first += len(events)
        await between(number)


def gap_rows(folder: Path) -> list[tuple[int, str, str, int | None, int | None]]:
    table = stored(folder, "quality/gaps")

    def seconds(name: str) -> list[int | None]:
        return [None if ns is None else (ns - T0) // SECOND for ns in table[name].cast(pa.int64()).to_pylist()]

    names = ("seq", "phase", "channel")
    return list(zip(*(table[name].to_pylist() for name in names), seconds("begin_ts"), seconds("end_ts"), strict=True))


def check(folder: Path) -> None:
    assert gap_rows(folder) == ROWS
    assert all_seqs(folder, "bronze") == list(range(1, 10))
    refused = stored(folder, "quality/rejected")
    assert refused["reason"].to_pylist() == ["field b'e' is missing"] * 3
    assert refused["size_bytes"].to_pylist() == [7] * 3
    assert refused["seq"].to_pylist() == [None] * 3


def anomalies() -> float:
    return sum(sample.value for metric in metrics.ANOMALIES.collect() for sample in metric.samples)


@pytest.fixture(autouse=True)
def no_anomaly() -> Iterator[None]:
    """A resumed plan finds its own objects, never others."""
    before = anomalies()
    yield
    assert anomalies() == before


POINTS = ("", "before the plan", "after the plan", "before the cursor moves", "after the cursor moved")


@pytest.mark.parametrize("point", POINTS)
async def test_rows_of_gaps_across_runs_are_there_once_whatever_commit_a_writer_dies_at(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path, point: str
) -> None:
    async def between(_: int) -> None:
        if point:
            await die(client, disk, DyingLog(client, point))
        await written(client, disk, market_log)

    await publish_runs(client, market_log, lease_of, between)
    check(folder)


@pytest.mark.parametrize("before", [True, False])
async def test_a_death_around_the_upload_of_quality_rows_is_made_good(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path, before: bool
) -> None:
    async def between(_: int) -> None:
        await die(client, DyingDisk(folder, before=before), market_log)
        await written(client, disk, market_log)

    await publish_runs(client, market_log, lease_of, between)
    check(folder)


async def test_runs_of_any_cut_give_the_same_rows(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    async def between(number: int) -> None:
        if number == len(RUNS) - 1:
            await written(client, disk, market_log)

    await publish_runs(client, market_log, lease_of, between)
    check(folder)
    assert len([key for key in objects(folder) if key.startswith("quality/")]) == 2


async def test_a_plan_of_an_older_version_is_carried_out_as_it_was(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    """It names no quality objects: its gaps stay in Bronze alone, and what follows is tracked again."""
    lease = await lease_of(Role.INGESTOR)
    await publish(market_log, lease, [(event.capture_ts, encode(event)) for event in RUNS[0]])
    await die(client, disk, DyingLog(client, "after the plan"))
    new = await market_log.pending_plan(BTC, keys.RAW)
    assert new is not None
    assert isinstance(new.gaps, GapState)
    bronze = tuple(segment for segment in new.segments if segment.table.startswith("bronze/"))
    old = msgspec.structs.replace(new, segments=bronze, gaps=msgspec.UNSET).encode()
    assert b"gaps" not in old
    await client.hset(keys.plan(BTC), keys.RAW, old)
    await written(client, disk, market_log)
    assert all_seqs(folder, "bronze") == [1, 2, 3, 4]
    assert not [key for key in objects(folder) if key.startswith("quality/")]
    await publish(market_log, lease, [(event.capture_ts, encode(event)) for event in RUNS[1]], 5)
    await written(client, disk, market_log)
    assert [row[:3] for row in gap_rows(folder)] == [(7, "open", "control"), (8, "open", "trades")]


async def test_gaps_are_counted_when_they_are_durable(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk
) -> None:
    def told(metric: Any, channel: str, reason: str) -> float:
        return float(metric.labels("binanceus", "BTC/USDT", channel, reason)._value.get())

    before = [
        told(metrics.GAPS, "trades", "reconnect"),
        told(metrics.GAP_LOST_EVENTS, "control", "server_lost"),
        told(metrics.GAP_SECONDS, "trades", "reconnect"),
    ]
    await publish_runs(client, market_log, lease_of, lambda _: written(client, disk, market_log))
    assert told(metrics.GAPS, "trades", "reconnect") == before[0] + 2
    assert told(metrics.GAP_LOST_EVENTS, "control", "server_lost") == before[1] + 4
    assert told(metrics.GAP_SECONDS, "trades", "reconnect") == before[2] + 9 + 10


def test_words_of_strangers_do_not_grow_the_metrics() -> None:
    labels = [metrics.gap_labels(BTC, f"channel {n}", f"reason {n}") for n in range(500)]
    assert {(each["channel"], each["reason"]) for each in labels} == {("other", "other")}
    many = {metrics.gap_labels(BTC, "trades", "x" * n)["reason"] for n in range(1, 33)}
    more = {metrics.gap_labels(BTC, "trades", f"{'x' * n}_{'y' * m}")["reason"] for n in range(1, 15) for m in range(9)}
    assert "other" in more
    assert len(many | more) <= 65


async def test_polars_duckdb_and_pandas_read_the_quality_tables_by_their_partitions(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    await publish_runs(client, market_log, lease_of, lambda _: written(client, disk, market_log))
    assert {key.rpartition("/")[0] for key in objects(folder) if key.startswith("quality/gaps")} == {
        f"quality/gaps/{DAY}"
    }
    glob = f"{folder}/quality/gaps/**/*.parquet"
    closed = pl.scan_parquet(glob, hive_partitioning=True).filter(pl.col("phase") == "closed", pl.col("year") == 2026)
    assert closed.select(pl.col("duration_seconds").sum()).collect().item() == 1 + 9 + 10 + 10
    query = (
        f"select symbol, reason, max(lost) from read_parquet('{glob}', hive_partitioning=true) group by all order by 2"
    )
    found: Any = duckdb.sql(query)
    assert found.fetchall() == [
        ("BTC-USDT", "reconnect", None),
        ("BTC-USDT", "server_lost", 4),
        ("BTC-USDT", "start", None),
    ]
    frame = pd.read_parquet(folder / "quality/rejected")
    assert frame["exchange"].astype(str).tolist() == ["binanceus"] * 3
