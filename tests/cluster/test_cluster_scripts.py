"""Every script and every command on a market run on the one master that has it, whichever that is."""

import inspect
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, get_args

import numpy as np
import pytest

from daedalus.operations.dead_letters import Result, counts, find, letters, retry
from daedalus.operations.leases import read_leases
from daedalus.operations.streams import find_group, read_streams, remove_group
from daedalus_common.broker import keys
from daedalus_common.broker.cluster import ClusterClient
from daedalus_common.broker.dead_letters import DeadLetter, field_text
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import BEGINNING, LateEvent, MarketLog
from daedalus_common.broker.scripts import Argument, ScriptName, Scripts
from daedalus_common.broker.settlements import Settlement
from daedalus_common.broker.steps import Row, Step
from daedalus_common.entries import encode
from daedalus_common.events import Genesis, Heartbeat
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.plans import Plan, Segment
from daedalus_common.rows import Column, RowSchema, pack_rows
from support.valkey_cluster import ValkeyCluster, slot_of

MARKETS = [Market("binanceus", symbol) for symbol in ("ADA/USDT", "XRP/USDT", "BTC/USDT")]
"""On the first, the second and the third master."""
SCHEMA = RowSchema("silver", "orderbook", (Column("mid_price"),))
TTL = timedelta(seconds=60)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The scripts that were called, by their names."""
    names: set[str] = set()
    call = Scripts.call

    async def noted(scripts: Scripts, name: ScriptName, of: Sequence[str], arguments: Sequence[Argument]) -> Any:
        names.add(name)
        return await call(scripts, name, of, arguments)

    monkeypatch.setattr(Scripts, "call", noted)
    return names


async def take(client: ClusterClient, market: Market) -> tuple[list[LeaseKeeper], dict[Role, Lease]]:
    keepers = [LeaseKeeper(client, role, "me", [market], TTL, lambda: "token") for role in Role]
    for keeper in keepers:
        await keeper.renew()
    return keepers, {role: keeper.held[market] for role, keeper in zip(Role, keepers, strict=True)}


async def live(log: MarketLog, market: Market, leases: dict[Role, Lease]) -> None:
    """A market's life: ten events, features of them, a plan that is carried out with one dead letter."""
    server = await log.open_market(market)
    now = time.time_ns()
    genesis = Genesis(now, "id", b"{}")
    await log.add_genesis(leases[Role.FEATURIZER], genesis.id, now, encode(genesis), [SCHEMA])
    events = [(now + n, encode(Heartbeat(now + n))) for n in range(9)]
    assert (await log.publish(leases[Role.INGESTOR], 1, events)).added == 9
    assert await log.publish_late(market, "folder", [LateEvent(1, 1, 1, now, encode(Heartbeat(now)))]) == 1
    ids = [id_.decode() for id_, _ in await log.read_run(market, keys.RAW, "-", "+")]
    assert len(ids) == 10
    (payload,) = pack_rows(SCHEMA, np.array([now]), np.ones((1, 1)))
    row = Row("silver", "orderbook", payload)
    await log.commit_step(leases[Role.FEATURIZER], Step(BEGINNING, ids[-1], 10, b"hot", [b"row"], 5, [row]))
    state = await log.stored_state(market)
    assert (state.genesis, state.hot, state.history) == ("id", b"hot", (b"row",))
    assert (await log.cursor(market, keys.RAW, "featurizer")).lag == 0
    writer = leases[Role.WRITER]
    await log.settle(writer, Settlement(keys.RAW, server, b"nothing"))
    segment = Segment("bronze/ccxt/control", "hour=0", "19700101T00", 1, 10, "schema")
    plan = Plan(keys.RAW, BEGINNING, ids[0], ids[-1], 10, (segment,))
    await log.commit_plan(writer, plan)
    assert await log.pending_plan(market, keys.RAW) == plan
    silver = {b"s": b"1", b"c": b"orderbook", b"p": payload}
    texts = {field_text(name): field_text(value) for name, value in silver.items()}
    await log.advance(writer, plan, plan, [DeadLetter(ids[3], "odd", texts)])
    assert (await log.cursor(market, keys.RAW, "writer")).id == ids[-1]
    assert await log.counters(market) == {"bronze/ccxt/control/hour=0": "19700101T00 1"}


async def bury_a_row(client: ClusterClient, market: Market) -> str:
    """A dead letter of silver that is understood today; its id."""
    [letter] = [letter async for letter in letters(client, market)]
    buried: Any = await client.xrange(keys.dead_letters(market))
    [(_, stored)] = buried
    fields: Any = {b"stream": b"silver", b"id": letter.entry_id, b"reason": b"odd", b"fields": stored[b"fields"]}
    id_: Any = await client.xadd(keys.dead_letters(market), fields)
    return str(id_.decode())


async def operate(client: ClusterClient, market: Market) -> None:
    """What an operator's commands do."""
    id_ = await bury_a_row(client, market)
    _, letter = await find(client, MARKETS, id_)
    [outcome] = await retry(client, market, [letter])
    assert outcome.result is Result.PUT_BACK
    assert [each.letters for each in await counts(client, market)] == [1]
    raw = next(view for view in await read_streams(client, [market]) if view.stream == keys.RAW)
    assert {group.lag for group in raw.groups} == {0}
    assert {view.owner for view in await read_leases(client, [market])} == {"me"}
    await client.xgroup_create(keys.stream(market, keys.SILVER), "old-bot", "0")
    assert (await find_group(client, market, keys.SILVER, "old-bot")).lag == 2
    await remove_group(client, market, keys.SILVER, "old-bot")


async def test_every_script_runs_on_every_master(
    cluster: ValkeyCluster, cluster_client: ClusterClient, called: set[str]
) -> None:
    log = MarketLog(cluster_client)
    for market, master in zip(MARKETS, cluster.masters, strict=True):
        keepers, leases = await take(cluster_client, market)
        await live(log, market, leases)
        await log.look_at(market)
        await operate(cluster_client, market)
        for keeper in keepers:
            await keeper.leave()
        found = cluster.ask(master, "CLUSTER", "GETKEYSINSLOT", slot_of(market), 100)
        assert {f"{{{market.name}}}:{name}" for name in ("raw", "state", "history", "plan", "dead")} - set(found) == {
            f"{{{market.name}}}:plan"
        }, "the plan is carried out, all else is on this master"
    assert called == set(get_args(ScriptName)), "a script that is not called here may need keys of two slots"


async def test_a_script_that_a_master_forgot_is_sent_to_it_alone(
    cluster: ValkeyCluster, cluster_client: ClusterClient
) -> None:
    log = MarketLog(cluster_client)
    _, leases = await take(cluster_client, MARKETS[0])
    assert (await log.publish(leases[Role.INGESTOR], 1, [(1, b"x")])).added == 1
    cluster.ask(cluster.masters[0], "SCRIPT", "FLUSH")
    cluster.masters[1].pause()
    try:
        assert (await log.publish(leases[Role.INGESTOR], 2, [(2, b"x")])).added == 1
    finally:
        cluster.masters[1].resume()


def test_all_keys_of_a_market_are_in_its_slot_and_keys_of_no_market_are_named_by_one_role() -> None:
    of_markets, of_exchanges, of_roles = [], [], []
    for name, function in inspect.getmembers(keys, inspect.isfunction):
        parameters = list(inspect.signature(function).parameters)
        if function.__module__ != keys.__name__ or name in ("groups", "tag"):
            continue
        if parameters[0] == "market":
            of_markets.append(function(MARKETS[0], *(["raw"] if len(parameters) > 1 else [])))
        elif parameters == ["role", "exchange"]:
            of_exchanges += [function(Role.WRITER, "binanceus"), function(Role.WRITER, "kraken")]
        else:
            assert parameters == ["role"], name
            of_roles.append(function(Role.WRITER))
    assert len(of_markets) >= 9
    assert {ClusterClient.keyslot(_client(), key) for key in of_markets} == {slot_of(MARKETS[0])}
    assert of_roles
    assert not any("{" in key for key in of_roles)
    assert len({ClusterClient.keyslot(_client(), key) for key in of_exchanges}) == 1, "read in every round of leases"
    assert not any(key.startswith("{") for key in of_exchanges), "or they would look like a market's"


def _client() -> ClusterClient:
    return ClusterClient.from_url("redis://127.0.0.1:1")


async def test_markets_are_found_on_every_master(cluster_client: ClusterClient) -> None:
    from daedalus.operations.server import markets_of
    from daedalus_common.config import parse_config

    for market in MARKETS:
        await MarketLog(cluster_client).open_market(market)
    found = await markets_of(cluster_client, parse_config({}))
    assert [market.name for market in found] == sorted(market.name for market in MARKETS)
