"""`daedalus gaps`: from quality/gaps as the writer makes it, and from Bronze where that is older."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import Result

from daedalus_common.broker.market_log import MarketLog
from daedalus_common.entries import encode
from daedalus_common.events import Event, Gap, Trade
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.writers import build_writer, publish, running, until_written

BTC = Market("binanceus", "BTC/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]
T0 = 1_770_127_200_000_000_000  # 2026-02-03T14:00
SECOND = 1_000_000_000


class Asker:
    """The part of the command that these tests use."""

    __call__: Callable[..., Result]
    json: Callable[..., Any]


def trade(second: int) -> Trade:
    return Trade(T0 + second * SECOND, None, str(second), 1.0, 1.0, "buy")


def gap(second: int, channel: str = "trades", reason: str = "reconnect", lost: int | None = None) -> Gap:
    return Gap(T0 + second * SECOND, channel, reason, None, "7", lost)


EVENTS: tuple[Event, ...] = (
    gap(0, reason="start"),
    trade(1),
    gap(5),
    trade(10),
    gap(3600, reason="overflow", lost=3),
    gap(3601, reason="overflow", lost=4),
    trade(3610),
    gap(7200),
    gap(7201, "control", "server_lost", 2),
)
SHOWN = [
    # reason, begin, end, seconds, lost
    ("start", "14:00:00", "14:00:01", 1.0, None),
    ("reconnect", "14:00:01", "14:00:10", 9.0, None),
    ("overflow", "14:00:10", "15:00:10", 3600.0, 3),
    ("overflow", "14:00:10", "15:00:10", 3600.0, 4),
    ("reconnect", "15:00:10", None, None, None),
    ("server_lost", "15:00:10", None, None, 2),
]


@pytest.fixture
async def recorded(client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk) -> None:
    lease = await lease_of(Role.INGESTOR)
    for number, event in enumerate(EVENTS, start=1):
        await publish(market_log, lease, [(event.capture_ts, encode(event))], number)
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC)


def shown(found: Any) -> list[tuple[Any, ...]]:
    return [
        (
            each["reason"],
            each["begin"][11:19],
            each["end"] and each["end"][11:19],
            each["duration_seconds"],
            each["lost"],
        )
        for each in found["gaps"]
    ]


@pytest.mark.usefixtures("recorded")
def test_every_gap_is_shown_with_begin_end_duration_reason_and_loss(daedalus: Asker) -> None:
    found = daedalus.json("gaps")
    assert shown(found) == SHOWN
    assert found["notes"] == []
    sums = {(each["channel"], each["reason"]): each for each in found["sums"]}
    overflow = sums["trades", "overflow"]
    assert (overflow["gaps"], overflow["open"], overflow["lost"], overflow["seconds"]) == (2, 0, 7, 3600.0)
    assert sums["trades", "reconnect"]["open"] == 1
    text = daedalus("gaps").stdout
    assert "server_lost" in text
    assert "2026-02-03T14:00:10" in text


@pytest.mark.usefixtures("recorded")
def test_a_recording_of_before_the_table_gives_the_same_from_its_events(daedalus: Asker, folder: Path) -> None:
    shutil.rmtree(folder / "quality")
    found = daedalus.json("gaps")
    assert shown(found) == SHOWN
    assert found["notes"] == [
        "binanceus:BTC-USDT has nothing in quality/gaps: these are worked out from Bronze's events"
    ]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (("--open",), [4, 5]),
        (("--reason", "overflow"), [2, 3]),
        (("--since", "2026-02-03T14:30"), [2, 3, 4, 5]),
        (("--until", "2026-02-03T14:00:05"), [0, 1]),
        (("--since", "2026-02-03T14:00:05", "--until", "2026-02-03T14:00:09"), [1]),
        (("--since", "2026-02-04"), [4, 5]),
        (("--until", "2026-02-02"), []),
        (("--market", "binanceus:BTC/USDT", "--open", "--reason", "reconnect"), [4]),
    ],
)
def test_gaps_are_chosen_by_time_reason_and_whether_they_are_open(
    daedalus: Asker, arguments: tuple[str, ...], chosen: list[int]
) -> None:
    assert shown(daedalus.json("gaps", *arguments)) == [SHOWN[number] for number in chosen]


@pytest.mark.usefixtures("recorded")
def test_wrong_usage_is_told(daedalus: Asker) -> None:
    assert "did you mean binanceus:BTC-USDT" in daedalus("gaps", "--market", "binanceus:BTC-USD", code=2).stderr
    assert "expected a day" in daedalus("gaps", "--since", "soon", code=2).stderr


@pytest.mark.usefixtures("recorded")
def test_a_damaged_object_is_told_and_the_rest_is_shown(daedalus: Asker, folder: Path) -> None:
    objects = sorted((folder / "quality" / "gaps").rglob("*.parquet"))
    assert objects
    objects[0].write_bytes(b"PAR1 and no more")
    found = daedalus.json("gaps")
    assert any(objects[0].name in note for note in found["notes"])
    assert len(found["gaps"]) < len(SHOWN)
