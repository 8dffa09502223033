"""The access rules of docs/redis.md are enough for a whole pipeline, and each service has no more than its own."""

import re
from pathlib import Path

import pytest
import redis

from support.lake import objects
from support.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "redis.md"
MARKET = "binanceus:BTC-USDT"
CONFIG = {
    "ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": ["BTC/USDT"], "watchTrades": ["BTC/USDT"]}}}},
    "ingestion": {"flush_interval_seconds": 0.5},
    "leases": {"ttl_seconds": 4.0, "renew_seconds": 0.5},
}


def documented_users() -> dict[str, list[str]]:
    """What comes after ACL SETUSER, by the user's name."""
    rules = [line.split() for line in re.findall(r"^ACL SETUSER (.*)$", DOCS.read_text(), re.MULTILINE)]
    return {name: rest for name, *rest in rules}


def set_users(client: "redis.Redis") -> None:
    for name, rules in documented_users().items():
        client.execute_command("ACL", "SETUSER", name, *rules)


def login(name: str) -> dict[str, str]:
    return {"DAEDALUS__REDIS__USERNAME": name, "DAEDALUS__REDIS__PASSWORD": f"{name}-password"}


def test_the_documented_rules_are_enough_for_every_service(tmp_path: Path) -> None:
    with Stack(tmp_path, CONFIG) as stack:
        with stack.client() as client:
            set_users(client)
            client.acl_log_reset()
        for name in ("writer", "featurizer"):
            stack.start(name, env=login(name))
        stack.simulate("--symbols", "BTC/USDT", "--depth-rate", "50", "--trade-rate", "20")
        stack.start("ingestor", env=login("ingestor"))
        layers = ("bronze", "silver")
        stack.wait_until(
            lambda: all(any((stack.data / layer).rglob("*.parquet")) for layer in layers), "Parquet of every layer", 60
        )
        stack.stop_in_order()
        with stack.client() as client:
            denied = {(entry["username"], entry["reason"], entry["object"]) for entry in client.acl_log()}
            assert denied == set()
            assert client.hget(f"{{{MARKET}}}:lease:writer", "owner") == b"", "given back"
    assert any("/control/" in key for key in objects(stack.data))


def test_a_bot_reads_rows_and_cannot_change_the_sequence(redis_url: str) -> None:
    raw, silver = f"{{{MARKET}}}:raw", f"{{{MARKET}}}:silver"
    with redis.Redis.from_url(redis_url) as client:
        set_users(client)
        client.xadd(silver, {"s": 1})
    url = redis_url.replace("redis://", "redis://bot:bot-password@")
    with redis.Redis.from_url(url) as bot:
        bot.xgroup_create(silver, "bot", "0")
        [[_, entries]] = bot.xreadgroup("bot", "one", {silver: ">"})
        assert len(entries) == 1
        for forbidden in (lambda: bot.xadd(raw, {"s": 1}), lambda: bot.delete(silver), lambda: bot.xtrim(silver, 0)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                forbidden()
    with redis.Redis.from_url(redis_url) as client:
        client.acl_deluser(*documented_users())
