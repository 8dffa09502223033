"""The control endpoints: faults, pausing, stopping, and a ledger that says what was sent."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from daedalus_simulator.faults import FaultError, parse_fault
from daedalus_simulator.frames import Frame
from daedalus_simulator.ledger import ChannelLedger
from simulator.harness import frames, next_json, silent_for, simulator


async def test_the_ledger_lists_exactly_what_a_client_received(sim):
    async with sim.websocket("btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@ticker") as socket:
        received = await frames(socket, 60)
        await sim.control("stop")
        while not await silent_for(socket, 0.3):
            received.append(None)
        ledger = await sim.get("/control/ledger")
    channels = ledger["symbols"]["BTC/USDT"]["channels"]
    assert ledger["state"] == "stopped"
    seen = [frame for frame in received if frame]
    trades = [frame["t"] for frame in seen if frame["e"] == "trade"]
    depth = [[frame["U"], frame["u"]] for frame in seen if frame["e"] == "depthUpdate"]
    assert channels["trade"]["ids"][: len(trades)] == trades
    assert channels["depth"]["ids"][: len(depth)] == depth
    assert sum(channel["sent"] for channel in channels.values()) >= 60


async def test_streams_nobody_subscribed_to_are_in_no_ledger(sim):
    async with sim.websocket("ethusdt@trade") as socket:
        await frames(socket, 3)
        ledger = await sim.get("/control/ledger", ids=0)
    assert ledger["symbols"]["BTC/USDT"]["channels"] == {}
    assert list(ledger["symbols"]["ETH/USDT"]["channels"]) == ["trade"]
    assert "ids" not in ledger["symbols"]["ETH/USDT"]["channels"]["trade"]


async def test_two_subscribers_get_a_frame_each_and_it_counts_once(sim):
    async with sim.websocket("btcusdt@trade") as one, sim.websocket("btcusdt@trade") as two:
        first, second = await frames(one, 10), await frames(two, 10)
        await sim.control("pause")
        ledger = await sim.channel("BTC/USDT", "trade")
    common = [frame["t"] for frame in second if frame in first]
    assert common
    assert ledger["ids"] == list(range(ledger["ids"][0], ledger["ids"][0] + ledger["sent"]))


async def test_a_paused_market_is_silent_and_resumes_where_it_was(sim):
    async with sim.websocket("btcusdt@depth@100ms") as socket:
        await next_json(socket)
        assert (await sim.control("pause"))["state"] == "paused"
        before = await sim.channel("BTC/USDT", "depth")
        while not await silent_for(socket, 0.3):
            pass
        assert await sim.channel("BTC/USDT", "depth") == before
        assert (await sim.control("resume"))["state"] == "running"
        assert (await next_json(socket))["U"] == before["ids"][-1][1] + 1


async def test_a_pause_sends_the_pending_changes_first(sim):
    async with sim.websocket("btcusdt@depth@100ms"):
        await asyncio.sleep(0.25)
        await sim.control("pause")
        ledger = await sim.channel("BTC/USDT", "depth")
        assert (await sim.depth("BTCUSDT"))["lastUpdateId"] == ledger["ids"][-1][1]


async def test_a_stop_is_for_good(sim):
    assert (await sim.control("stop"))["state"] == "stopped"
    assert "stopped for good" in (await sim.control("resume", expect=409))["error"]
    assert "stopped for good" in (await sim.control("burst", {"symbol": "BTC/USDT", "trades": 1}, expect=409))["error"]
    assert (await sim.get("/healthz"))["status"] == "ok"


async def test_skipped_frames_are_generated_and_not_sent(sim):
    async with sim.websocket("btcusdt@trade", "ethusdt@trade") as socket:
        await sim.fault("skip", symbol="BTCUSDT", channel="trade", count=5)
        received = [frame["t"] for frame in await frames(socket, 80) if frame["s"] == "BTCUSDT"]
        ledger = await sim.channel("BTC/USDT", "trade")
    missing = set(range(received[0], received[-1])) - set(received)
    assert len(missing) <= 5
    assert ledger["generated"] - ledger["sent"] == 5
    assert not missing & set(ledger["ids"])


async def test_a_drop_concerns_only_the_clients_of_its_symbol(sim):
    async with sim.websocket("btcusdt@trade") as dropped, sim.websocket("ethusdt@trade") as kept:
        assert (await sim.fault("drop", symbol="BTC/USDT"))["connections"] == 1
        async with asyncio.timeout(20):
            async for _ in dropped:
                pass
        await frames(kept, 20)
        [ended] = (await sim.get("/control/ledger"))["ended"]
    assert ended["streams"] == [["BTC/USDT", "trade"]]
    assert abs(ended["at_ns"] - time.time_ns()) < 60e9


async def test_what_is_generated_during_a_stall_is_never_sent(sim):
    async with sim.websocket("btcusdt@trade") as stalled, sim.websocket("btcusdt@trade", "ethusdt@trade") as other:
        await sim.fault("stall", symbol="BTC/USDT", seconds=1)
        late = await sim.control("burst", {"symbol": "BTC/USDT", "trades": 50})
        assert late["trades"] == 50
        received = [frame["t"] for frame in await frames(stalled, 30)]
        assert not set(received) & set(range(late["trade_ids"][0], late["trade_ids"][1] + 1))
        assert received[-1] > late["trade_ids"][1]
        assert {frame["s"] for frame in await frames(other, 20)} >= {"ETHUSDT"}
        ledger = await sim.channel("BTC/USDT", "trade")
    assert ledger["generated"] >= ledger["sent"] + 50


async def test_a_stall_of_one_symbol_leaves_the_others_alone(sim):
    async with sim.websocket("btcusdt@trade", "ethusdt@trade") as socket:
        assert (await sim.fault("stall", symbol="BTC/USDT", seconds=60))["connections"] == 1
        received = await frames(socket, 40)
    assert {frame["s"] for frame in received[-20:]} == {"ETHUSDT"}


async def test_a_wholly_stalled_connection_stays_open_and_gets_no_reply(sim):
    async with sim.websocket("btcusdt@trade") as socket:
        await sim.fault("stall", seconds=1)
        while not await silent_for(socket, 0.3):
            pass
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 5})
        assert (await next_json(socket))["e"] == "trade"


async def test_foreign_frames_are_sent_as_asked(sim):
    async with sim.websocket("ethusdt@ticker") as socket:
        await sim.control("pause")
        while not await silent_for(socket, 0.2):
            pass
        await sim.fault("malformed")
        text = (await socket.receive(timeout=5)).data
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(text)
        await sim.fault("malformed", text="not json")
        assert (await socket.receive(timeout=5)).data == "not json"
        await sim.fault("error_frame", frame={"error": {"code": 5, "msg": "boom"}})
        assert await next_json(socket) == {"error": {"code": 5, "msg": "boom"}}
        assert (await sim.fault("error_frame", symbol="BTC/USDT"))["connections"] == 0


async def test_requests_are_refused_as_often_as_asked(sim):
    await sim.fault("status", status=429, count=2, retry_after_seconds=7)
    for _ in range(2):
        status, body, headers = await sim.status_of("/api/v3/time")
        assert (status, body["code"], headers["Retry-After"]) == (429, -1003, "7")
    assert (await sim.status_of("/api/v3/time"))[0] == 200


async def test_requests_are_refused_as_long_as_asked(sim):
    await sim.fault("status", status=418, seconds=0.5)
    assert [(await sim.status_of("/api/v3/time"))[0] for _ in range(3)] == [418] * 3
    await asyncio.sleep(0.6)
    assert (await sim.status_of("/api/v3/time"))[0] == 200


async def test_a_refusal_can_pick_a_path_and_the_websocket(sim):
    await sim.fault("status", status=503, path="/depth", count=1)
    await sim.fault("status", status=429, path="/stream/", websocket=True, count=1)
    assert (await sim.status_of("/api/v3/time"))[0] == 200
    assert (await sim.status_of("/api/v3/depth", symbol="BTCUSDT"))[0] == 503
    with pytest.raises(Exception, match="429"):
        async with sim.session.ws_connect(f"{sim.ws_url}/stream/ws/0"):
            pass
    async with sim.websocket("btcusdt@trade") as socket:
        await next_json(socket)


@pytest.mark.parametrize(
    ("action", "body", "named"),
    [
        ("fault", None, "kind"),
        ("fault", {"kind": "explode"}, "drop, skip, malformed, stall, status, error_frame"),
        ("fault", {"kind": "skip"}, "symbol is missing"),
        ("fault", {"kind": "skip", "symbol": "XYZ/USDT"}, "BTC/USDT, ETH/USDT"),
        ("burst", {"symbol": "XYZ/USDT", "trades": 1}, "BTC/USDT, ETH/USDT"),
        ("burst", {"symbol": "BTC/USDT"}, "between 1 and"),
        ("burst", {"symbol": "BTC/USDT", "trades": -1}, "trades must be"),
        ("burst", {"trades": 1}, "symbol is missing"),
        ("burst", [1], "expected a JSON object"),
    ],
)
async def test_a_control_request_that_cannot_be_served_says_why(sim, action, body, named):
    assert named in (await sim.control(action, body, expect=400))["error"]


async def test_control_requests_that_are_no_json_or_ask_for_nonsense_are_refused(sim):
    async with sim.session.post(f"{sim.url}/control/fault", data=b"{") as response:
        assert response.status == 400
    assert (await sim.status_of("/control/ledger", since="-1"))[0] == 400
    assert (await sim.status_of("/control/ledger", symbol="nope"))[0] == 400
    assert (await sim.status_of("/control/nothing"))[0] == 404
    assert (await sim.status_of("/control/burst"))[0] == 405


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"kind": "skip", "symbol": "A", "channel": "kline"}, "depth, depth@1000ms, trade"),
        ({"kind": "skip", "symbol": "A", "count": 0}, "count must be a number above 0"),
        ({"kind": "skip", "symbol": 5}, "symbol must be a text"),
        ({"kind": "drop", "how": "gently"}, "abort, close"),
        ({"kind": "drop", "count": 3}, "count: no such field of a drop"),
        ({"kind": "stall"}, "seconds is missing"),
        ({"kind": "stall", "seconds": True}, "seconds must be a number"),
        ({"kind": "status", "status": 500}, "418, 429, 503"),
    ],
)
def test_a_wrong_fault_is_named_with_what_is_allowed(body, named):
    with pytest.raises(FaultError, match=named):
        parse_fault(body)


def test_a_ledger_forgets_the_oldest_ids_and_says_so():
    ledger = ChannelLedger("trade", limit=10)
    for i in range(100):
        ledger.add(Frame("trade", i, i, b""))
    listed: dict[str, Any] = ledger.as_json(since=0)
    assert listed["sent"] == 100
    assert listed["ids"] == list(range(listed["first"], 100))
    assert 10 <= len(listed["ids"]) <= 15
    assert ledger.as_json(since=97)["ids"] == [97, 98, 99]


async def test_a_ledger_can_be_read_on_from_where_it_was_left():
    async with (
        simulator("--symbols", "BTC/USDT", "--trade-rate", "100") as sim,
        sim.websocket("btcusdt@trade") as socket,
    ):
        await frames(socket, 20)
        first = (await sim.get("/control/ledger"))["symbols"]["BTC/USDT"]["channels"]["trade"]
        await frames(socket, 20)
        rest = await sim.get("/control/ledger", since=first["sent"])
        rest = rest["symbols"]["BTC/USDT"]["channels"]["trade"]
    assert rest["first"] == first["sent"]
    assert rest["ids"][0] == first["ids"][-1] + 1


async def test_metrics_agree_with_the_ledger(sim):
    async with sim.websocket("btcusdt@trade") as socket:
        await frames(socket, 5)
        await sim.fault("skip", symbol="BTC/USDT", channel="trade", count=1)
        await sim.control("pause")
        ledger = await sim.channel("BTC/USDT", "trade")
        async with sim.session.get(sim.url + "/metrics") as response:
            lines = (await response.text()).splitlines()
    labels = '{channel="trade",symbol="BTC/USDT"}'
    assert f"daedalus_simulator_frames_sent_total{labels} {float(ledger['sent'])}" in lines
    assert f"daedalus_simulator_frames_generated_total{labels} {float(ledger['generated'])}" in lines
    assert 'daedalus_simulator_faults_total{kind="skip"} 1.0' in lines
    assert "daedalus_simulator_connections 1.0" in lines
