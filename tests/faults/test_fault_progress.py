"""What the harness reads from Redis: who has caught up, and whether the server lost anything."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from daedalus_common.broker import keys
from faults.progress import Progress
from faults.redis_faults import oldest_lost_ns
from support.etl_runs import BTC
from support.valkey import ValkeyServer

GOLD = keys.stream(BTC, keys.GOLD)


@pytest.fixture
def client(tmp_path: Path) -> Iterator["redis.Redis"]:
    with ValkeyServer(tmp_path / "valkey") as server, redis.Redis.from_url(server.url) as client:
        client.xgroup_create(GOLD, "writer", mkstream=True)
        yield client


def test_a_group_with_an_unread_entry_is_behind(client: "redis.Redis") -> None:
    progress = Progress(client, [BTC])
    client.xadd(GOLD, {"r": "1"}, "5-0")
    assert list(progress.lags()) == [f"{GOLD} writer"]
    client.xreadgroup("writer", "one", {GOLD: ">"})
    assert progress.lags() == {}


def test_a_group_behind_which_only_ids_were_raised_has_passed_everything(client: "redis.Redis") -> None:
    """As after a lost tail, where the stream goes on behind what is durable."""
    client.xadd(GOLD, {"r": "1"}, "5-0")
    client.xreadgroup("writer", "one", {GOLD: ">"})
    client.execute_command("XSETID", GOLD, "9-0")
    assert Progress(client, [BTC]).lags() == {}
    client.xadd(GOLD, {"r": "2"}, "10-0")
    assert list(Progress(client, [BTC]).lags()) == [f"{GOLD} writer"]


def test_a_stream_that_goes_less_far_than_before_has_lost_what_came_behind(client: "redis.Redis") -> None:
    progress = Progress(client, [BTC])
    client.xadd(GOLD, {"r": "1"}, "5-0")
    earlier = progress.ends().ids
    client.xadd(GOLD, {"r": "2"}, "7-0")
    later = progress.ends().ids
    assert oldest_lost_ns(later, earlier) == 5_000_000
    assert oldest_lost_ns(later, later) is None
    assert oldest_lost_ns(earlier, later) is None
