"""The websocket as a raw client sees it: requests, replies, errors, streams, pings, bursts."""

import asyncio
import itertools

import aiohttp
import pytest

from simulator.harness import ClientBook, frames, next_json, silent_for, simulator, simulator_process

STREAMS = {
    "btcusdt@depth@100ms": "depthUpdate",
    "btcusdt@depth": "depthUpdate",
    "btcusdt@trade": "trade",
    "btcusdt@ticker": "24hrTicker",
    "btcusdt@miniTicker": "24hrMiniTicker",
    "btcusdt@bookTicker": None,
}


@pytest.mark.parametrize("name", STREAMS)
async def test_each_stream_sends_its_plain_frames(sim, name):
    async with sim.websocket(name) as socket:
        frame = await next_json(socket)
    assert frame.get("e") == STREAMS[name]
    assert frame["s"] == "BTCUSDT"


async def test_requests_are_answered_with_their_id(sim):
    async with sim.websocket() as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": ["ethusdt@ticker", "ethusdt@depth"], "id": "a"})
        assert await next_json(socket) == {"result": None, "id": "a"}
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        reply = await next_json(socket)
        while "result" not in reply:
            reply = await next_json(socket)
        assert reply == {"result": ["ethusdt@ticker", "ethusdt@depth"], "id": 2}


async def test_nothing_comes_after_unsubscribing(sim):
    async with sim.websocket("btcusdt@bookTicker") as socket:
        await next_json(socket)
        await socket.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 2})
        while "result" not in await next_json(socket):
            pass
        assert await silent_for(socket, 0.5)


@pytest.mark.parametrize(
    ("message", "code", "request_id"),
    [
        ("{", 3, None),
        ("", 3, None),
        ("[1, 2]", 2, None),
        ('{"method": "SUBSCRIBE", "id": 7}', 2, 7),
        ('{"method": "SUBSCRIBE", "params": [], "id": 7}', 2, 7),
        ('{"method": "SUBSCRIBE", "params": "btcusdt@trade", "id": 7}', 2, 7),
        ('{"method": "SUBSCRIBE", "params": [5], "id": 7}', 2, 7),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 7}', 2, 7),
        ('{"method": "SUBSCRIBE", "params": ["xyzusdt@trade"], "id": 7}', 2, 7),
        ('{"method": "SUBSCRIBE", "params": ["BTCUSDT@trade"], "id": 7}', 2, 7),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": {}}', 2, None),
        ('{"method": "HELLO", "params": ["btcusdt@trade"], "id": 7}', 2, 7),
        ('{"method": ["SUBSCRIBE"], "id": 7}', 2, 7),
    ],
)
async def test_a_bad_request_gets_an_error_and_the_connection_lives_on(sim, message, code, request_id):
    async with sim.websocket() as socket:
        await socket.send_str(message)
        reply = await next_json(socket)
        assert (reply["error"]["code"], reply["id"]) == (code, request_id)
        await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 8})
        assert await next_json(socket) == {"result": None, "id": 8}


async def test_a_bad_stream_among_good_ones_subscribes_none(sim):
    async with sim.websocket() as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@trade", "nope@trade"], "id": 1})
        assert "error" in await next_json(socket)
        assert (await sim.get("/control/status"))["subscriptions"] == {}


async def test_bytes_that_are_no_text_are_answered_too(sim):
    async with sim.websocket() as socket:
        await socket.send_bytes(b"\xff\xfe\x00")
        assert (await next_json(socket))["error"]["code"] == 3


async def test_a_path_that_is_no_stream_is_refused(sim):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with sim.session.ws_connect(f"{sim.ws_url}/stream/other"):
            pass
    assert refused.value.status == 404


async def test_the_server_pings_and_answers_pings():
    async with simulator("--ping-seconds", "1") as sim:
        url = f"{sim.ws_url}/stream/ws/0"
        async with sim.session.ws_connect(url, autoping=False) as socket:
            assert (await socket.receive(timeout=20)).type is aiohttp.WSMsgType.PING
            await socket.ping(b"hello")
            while (message := await socket.receive(timeout=20)).type is not aiohttp.WSMsgType.PONG:
                pass
            assert message.data == b"hello"


async def test_a_client_that_answers_no_ping_is_cut_off_and_a_lively_one_is_not():
    async with simulator("--ping-seconds", "2") as sim:
        url = f"{sim.ws_url}/stream/ws/0"
        async with sim.session.ws_connect(url) as lively, sim.session.ws_connect(url, autoping=False):
            reading = asyncio.create_task(lively.receive())
            await sim.reaches(lambda status: status["connections"]["open"] == 1)
            assert not reading.done()
            reading.cancel()


async def test_update_ids_are_contiguous_and_the_book_follows_them(sim):
    async with sim.websocket("btcusdt@depth@100ms") as socket:
        updates = await frames(socket, 3)
        book = ClientBook(await sim.depth("BTCUSDT"))
        updates += await frames(socket, 20)
    applied = [book.apply(update) for update in updates]
    assert applied.count(True) >= 19
    assert all(later["U"] == earlier["u"] + 1 for earlier, later in itertools.pairwise(updates))
    assert book.top[0] < book.top[2]


async def test_the_slow_depth_stream_tells_the_same_once_a_second(sim):
    async with sim.websocket("btcusdt@depth", "btcusdt@depth@100ms") as socket:
        received = await frames(socket, 35)
        ledger = (await sim.get("/control/ledger", symbol="BTCUSDT"))["symbols"]["BTC/USDT"]["channels"]
    slow = [tuple(ids) for ids in ledger["depth@1000ms"]["ids"]]
    seen = [(frame["U"], frame["u"]) for frame in received]
    assert set(slow) & set(seen)
    assert set(seen) <= set(slow) | {tuple(ids) for ids in ledger["depth"]["ids"]}


async def test_with_no_interval_there_is_one_update_per_change():
    arguments = ("--symbols", "BTC/USDT", "--depth-interval-ms", "0", "--depth-rate", "500", "--trade-rate", "0")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@depth@100ms") as socket:
        started = asyncio.get_running_loop().time()
        updates = await frames(socket, 1000)
        seconds = asyncio.get_running_loop().time() - started
    assert all(later["U"] == earlier["u"] + 1 for earlier, later in itertools.pairwise(updates))
    assert 1000 / seconds == pytest.approx(500, rel=0.5)


async def test_a_burst_arrives_whole_and_in_order():
    async with simulator_process() as sim, sim.websocket("btcusdt@depth@100ms", "btcusdt@trade") as socket:
        await sim.control("pause")
        while not await silent_for(socket, 0.3):
            pass
        burst = asyncio.create_task(sim.control("burst", {"symbol": "BTC/USDT", "trades": 20_000, "depth": 20_000}))
        received = await frames(socket, 40_000)
        answer = await burst
        ledger = (await sim.get("/control/ledger"))["symbols"]["BTC/USDT"]["channels"]
        assert await silent_for(socket, 0.3)
    depth = [[frame["U"], frame["u"]] for frame in received if frame["e"] == "depthUpdate"]
    trades = [frame["t"] for frame in received if frame["e"] == "trade"]
    assert (answer["depth"], answer["trades"]) == (20_000, 20_000)
    assert answer["depth_ids"] == [depth[0][0], depth[-1][1]]
    assert depth == ledger["depth"]["ids"][-20_000:]
    assert trades == ledger["trade"]["ids"][-20_000:]
    assert all(later[0] == earlier[1] + 1 for earlier, later in itertools.pairwise(depth))
    assert trades == list(range(trades[0], trades[0] + 20_000))


async def test_a_client_that_does_not_read_is_cut_off_and_others_are_served():
    # 60,000 updates are 13 MB: more than the kernel's and aiohttp's buffers hold for a client that never reads.
    arguments = ("--symbols", "BTC/USDT", "--client-timeout-seconds", "1")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@depth@100ms"):
        burst = await sim.control("burst", {"symbol": "BTC/USDT", "depth": 60_000})
        assert burst["depth"] == 60_000
        assert (await sim.get("/control/status"))["connections"]["open"] == 0
        async with sim.websocket("btcusdt@trade") as other:
            await next_json(other)
