"""The stream `late` in Bronze: beside the market's sequence, by the hour of capture, with the same promises."""

from datetime import timedelta
from pathlib import Path

from prometheus_client import REGISTRY
from redis.asyncio import Redis

from daedalus.etl.bronze_catalog import BronzeCatalog
from daedalus_common.broker import keys
from daedalus_common.broker.market_log import LateEvent, MarketLog
from daedalus_common.entries import encode
from daedalus_common.events import Book, Event, Gap, Heartbeat, Ticker, Trade
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_common.plans import HOUR_NS
from daedalus_common.stores import LocalDisk
from daedalus_common.tables import LATE
from support.lake import all_seqs, metadata, objects, stored
from support.market_events import market_events, payloads
from support.writers import build_writer, running, until_written

BTC = Market("binanceus", "BTC/USDT")
FEB_3_14H = 1_770_127_200_000_000_000
HOUR = "exchange=binanceus/symbol=BTC-USDT/year=2026/month=2/day=3/hour={}/segment_20260203T{}_{:05d}.parquet"


def trades(count: int, at_ns: int = FEB_3_14H, first: int = 1, epoch: int = 4) -> list[LateEvent]:
    return [
        LateEvent(n, epoch, n, at_ns + n, encode(Trade(at_ns + n, None, str(n), 100.0 + n, 1.0, "buy")))
        for n in range(first, first + count)
    ]


def anomalies() -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        if metric.name == "daedalus_writer_anomalies"
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


async def test_late_events_become_rows_of_their_own_tables(client, market_log, disk, folder):
    ts = FEB_3_14H
    events: list[Event] = [
        Book(ts, None, 7, ((1.0, 2.0),), ((3.0, 4.0),)),
        Trade(ts + 1, 5, "t1", 1.5, 2.5, "sell"),
        Ticker(ts + 2, None, *(None,) * 11),
        Gap(ts + 3, "trades", "overflow", lost=3),
        Heartbeat(ts + 4),
    ]
    late = [LateEvent(i, 6, 11 + i, event.capture_ts, encode(event)) for i, event in enumerate(events)]
    await market_log.publish_late(BTC, "folder", late)
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC, (keys.LATE,))
    tables = ("control", "orderbook", "ticker", "trades")
    assert objects(folder) == [f"bronze/ccxt/late/{name}/{HOUR.format(14, 14, 1)}" for name in tables]
    for name in tables:
        rows = stored(folder, f"bronze/ccxt/late/{name}")
        assert rows.column_names == [column.name for column in LATE[name].columns]
        assert set(rows["epoch"].to_pylist()) == {6}
    assert stored(folder, "bronze/ccxt/late/control")["number"].to_pylist() == [14, 15]
    assert stored(folder, "bronze/ccxt/late/control")["kind"].to_pylist() == ["gap", "heartbeat"]
    [trade] = stored(folder, "bronze/ccxt/late/trades").to_pylist()
    assert (trade["number"], trade["id"], trade["price"], trade["side"]) == (12, "t1", 1.5, "sell")
    assert metadata(folder / objects(folder)[0])["stream"] == "late"


async def test_older_hours_after_newer_ones_take_the_next_name_without_an_anomaly(
    client, market_log: MarketLog, disk, folder
):
    before = anomalies()
    async with running(build_writer(client, disk, [BTC])) as task:
        for number, hours in enumerate((2, 0, 2, 0)):
            await market_log.publish_late(BTC, f"folder-{number}", trades(10, FEB_3_14H + hours * HOUR_NS))
            await until_written(task, market_log, BTC, (keys.LATE,))
    assert objects(folder) == [
        f"bronze/ccxt/late/trades/{HOUR.format(hour, hour, counter)}"
        for hour, counter in ((14, 2), (14, 4), (16, 1), (16, 3))
    ]
    assert anomalies() == before
    assert stored(folder, "bronze/ccxt/late/trades").num_rows == 40


async def test_one_run_of_many_hours_is_one_object_an_hour(client, market_log, disk, folder):
    late = [event for hour in (5, 3, 4) for event in trades(10, FEB_3_14H + hour * HOUR_NS, first=hour * 100)]
    late = [event._replace(position=i) for i, event in enumerate(late)]
    await market_log.publish_late(BTC, "folder", late)
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC, (keys.LATE,))
    assert len(objects(folder)) == 3
    assert sorted(stored(folder, "bronze/ccxt/late/trades")["number"].to_pylist()) == sorted(e.number for e in late)


async def test_a_writer_that_dies_with_a_plan_is_followed_by_one_that_doubles_nothing(
    client, market_log, disk: LocalDisk, folder: Path, monkeypatch
):
    await market_log.publish_late(BTC, "folder", trades(500))

    async def dies(*_: object, **__: object) -> int:
        raise RuntimeError("killed before the cursor moves")

    with monkeypatch.context() as patch:
        patch.setattr(MarketLog, "advance", dies)
        try:
            async with running(build_writer(client, disk, [BTC], name="one", ttl=timedelta(seconds=1))) as task:
                await task
        except RuntimeError:
            pass
    assert len(objects(folder)) == 1
    async with running(build_writer(client, disk, [BTC], name="one")) as task:
        await until_written(task, market_log, BTC, (keys.LATE,))
    assert len(objects(folder)) == 1
    assert stored(folder, "bronze/ccxt/late/trades")["number"].to_pylist() == list(range(1, 501))


async def test_readers_of_the_sequence_do_not_see_them(client: Redis, market_log, lease_of, disk, folder):
    await market_log.publish(await lease_of(Role.INGESTOR), 1, payloads(market_events(1, 200)))
    await market_log.publish_late(BTC, "folder", trades(50))
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC, (keys.RAW, keys.LATE))
    catalog = BronzeCatalog(disk)
    assert catalog.markets() == [BTC]
    seen = [key for hour in catalog.hours(BTC) for of_table in hour.keys().values() for key in of_table]
    assert seen
    assert not [key for key in seen if "/late/" in key]
    late = [key for key in objects(folder) if "/late/" in key]
    assert len(late) == 1
    (folder / late[0]).unlink()
    assert all_seqs(folder, "bronze") == list(range(1, 201))


async def test_entries_that_are_not_ours_become_dead_letters(client, market_log, disk, folder):
    await market_log.publish_late(BTC, "folder", trades(3))
    await client.xadd(keys.stream(BTC, keys.LATE), {"x": "y"})
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC, (keys.LATE,))
    [(_, letter)] = await client.xrange(keys.dead_letters(BTC))
    assert letter[b"stream"] == b"late"
    assert stored(folder, "bronze/ccxt/late/trades").num_rows == 3
