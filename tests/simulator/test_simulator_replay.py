"""Replaying a recording: every line, in order, at the pace asked for, with no update lost to the snapshot."""

import asyncio
import gzip
import itertools

import aiohttp
import orjson
import pytest

from simulator.harness import ClientBook, ccxt_client, frames, next_json, silent_for, simulator

SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS


def line(ts_ns, stream, data):
    return b"%d %s\n" % (ts_ns, orjson.dumps({"stream": stream, "data": data}))


def depth(symbol, first, last, bids=(), asks=()):
    return {"e": "depthUpdate", "E": 1, "s": symbol, "U": first, "u": last, "b": list(bids), "a": list(asks)}


def snapshot(last_update_id):
    bids = [["99.00000000", "1.00000000"], ["98.50000000", "2.00000000"]]
    return {"lastUpdateId": last_update_id, "bids": bids, "asks": [["101.00000000", "3.00000000"]]}


def tape_lines(symbol="BTCUSDT", start_ns=START_NS, updates=200, gap_ns=SECOND_NS // 100):
    """A snapshot (100) inside the third update, then updates of one id, with a trade after each."""
    name = symbol.lower()
    lines = [
        line(start_ns - 3, f"{name}@depth@100ms", depth(symbol, 91, 95, asks=[["101.00000000", "9.00000000"]])),
        line(start_ns - 2, f"{name}@depth@100ms", depth(symbol, 96, 102, bids=[["99.00000000", "1.50000000"]])),
        b"%d %s\n" % (start_ns - 1, orjson.dumps(snapshot(100))),
    ]
    for i in range(updates):
        ts_ns, update_id = start_ns + i * gap_ns, 103 + i
        change = [["98.50000000", f"{1 + i}.00000000"]]
        lines.append(line(ts_ns, f"{name}@depth@100ms", depth(symbol, update_id, update_id, bids=change)))
        trade = {
            "e": "trade",
            "E": 1,
            "s": symbol,
            "t": 500 + i,
            "p": "100.0",
            "q": "1.0",
            "T": 1,
            "m": True,
            "M": True,
        }
        lines.append(line(ts_ns + 1, f"{name}@trade", trade))
    return lines


def write(path, lines):
    path.write_bytes(gzip.compress(b"".join(lines)))
    return str(path)


@pytest.fixture
def tape(tmp_path):
    return write(tmp_path / "btcusdt.gz", tape_lines())


def updates_of(received, symbol="BTCUSDT"):
    return [(frame["U"], frame["u"]) for frame in received if frame.get("e") == "depthUpdate" and frame["s"] == symbol]


ALL = [(91, 95), (96, 102), *((103 + i, 103 + i) for i in range(200))]


async def test_the_tape_waits_at_its_snapshot_until_a_client_has_fetched_the_depth(tape):
    async with simulator("--replay", tape, "--speed", "max") as sim, sim.websocket("btcusdt@depth@100ms") as socket:
        assert updates_of(await frames(socket, 2)) == ALL[:2]
        assert await silent_for(socket, 0.7)
        assert await sim.depth("BTCUSDT") == snapshot(100)
        received = await frames(socket, 200)
    assert updates_of(received) == ALL[2:]


async def test_a_depth_request_that_comes_first_waits_for_the_tape(tape):
    async with simulator("--replay", tape, "--speed", "max") as sim:
        early = asyncio.create_task(sim.depth("BTCUSDT"))
        await asyncio.sleep(0.3)
        assert not early.done()
        async with sim.websocket("btcusdt@depth@100ms") as socket:
            assert await early == snapshot(100)
            assert updates_of(await frames(socket, 202)) == ALL


async def test_a_depth_request_without_any_subscription_says_what_is_missing(tape):
    async with simulator("--replay", tape, "--snapshot-wait-seconds", "0.2") as sim:
        status, body, _ = await sim.status_of("/api/v3/depth", symbol="BTCUSDT")
    assert (status, body["code"]) == (503, -1001)
    assert "subscribe" in body["msg"]


async def test_the_wait_for_a_depth_request_is_bounded(tape):
    arguments = ("--replay", tape, "--speed", "max", "--snapshot-wait-seconds", "0.3")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@depth@100ms") as socket:
        assert updates_of(await frames(socket, 202)) == ALL


async def test_a_later_snapshot_is_the_book_rebuilt_from_the_tape(tape):
    async with simulator("--replay", tape, "--speed", "max") as sim, sim.websocket("btcusdt@depth@100ms") as socket:
        await sim.depth("BTCUSDT")
        await frames(socket, 202)
        later = await sim.depth("BTCUSDT")
    assert later["lastUpdateId"] == 302
    # 1.5 is of the update that straddles the snapshot and was sent before it.
    assert later["bids"] == [["99.00000000", "1.50000000"], ["98.50000000", "200.00000000"]]
    # 9 is of an update that the snapshot already contains.
    assert later["asks"] == [["101.00000000", "3.00000000"]]


async def test_only_what_is_subscribed_is_sent_and_counted(tape):
    arguments = ("--replay", tape, "--speed", "max", "--start-grace-ms", "100")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@trade") as socket:
        received = await frames(socket, 200)
        channels = (await sim.get("/control/ledger"))["symbols"]["BTC/USDT"]["channels"]
    assert [frame["t"] for frame in received] == list(range(500, 700))
    assert list(channels) == ["trade"]
    assert channels["trade"]["ids"] == list(range(500, 700))


async def test_a_symbol_without_depth_begins_after_its_grace(tape):
    arguments = ("--replay", tape, "--speed", "max", "--start-grace-ms", "2000")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@trade") as socket:
        assert await silent_for(socket, 0.4)
        await next_json(socket)


async def test_the_tape_awaits_as_many_subscriptions_as_asked(tape):
    arguments = ("--replay", tape, "--speed", "max", "--await-subscriptions", "2", "--snapshot-wait-seconds", "0")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@depth@100ms") as first:
        assert await silent_for(first, 0.5)
        async with sim.websocket("btcusdt@trade") as second:
            assert updates_of(await frames(first, 202)) == ALL
            assert [frame["t"] for frame in await frames(second, 200)] == list(range(500, 700))


@pytest.mark.parametrize(("speed", "a_second_of_updates"), [("1", 100), ("4", 400)])
async def test_speed_is_a_multiple_of_the_recorded_pace(tmp_path, speed, a_second_of_updates):
    path = write(tmp_path / "tape", tape_lines(updates=a_second_of_updates + 1))
    arguments = ("--replay", path, "--speed", speed, "--snapshot-wait-seconds", "0")
    async with simulator(*arguments) as sim:
        started = asyncio.get_running_loop().time()
        async with sim.websocket("btcusdt@depth@100ms") as socket:
            await frames(socket, 3 + a_second_of_updates)
            assert 1 <= asyncio.get_running_loop().time() - started < 3


async def test_files_follow_each_other_by_their_timestamps_whatever_their_order(tmp_path):
    lines = tape_lines()
    early, late = write(tmp_path / "b", lines[:100]), write(tmp_path / "a", lines[100:])
    arguments = ("--replay", late, early, "--speed", "max", "--snapshot-wait-seconds", "0")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@depth@100ms") as socket:
        assert updates_of(await frames(socket, 202)) == ALL


async def test_symbols_are_interleaved_by_their_timestamps(tmp_path):
    one = write(tmp_path / "one", tape_lines("BTCUSDT"))
    two = write(tmp_path / "two", tape_lines("ETHUSDT", START_NS + SECOND_NS // 200))
    arguments = ("--replay", two, one, "--speed", "max", "--await-subscriptions", "2", "--snapshot-wait-seconds", "0")
    names = ("btcusdt@depth@100ms", "ethusdt@depth@100ms")
    async with simulator(*arguments) as sim, sim.websocket(*names) as socket:
        assert set(sim.ready["symbols"]) == {"BTC/USDT", "ETH/USDT"}
        received = await frames(socket, 404)
    assert updates_of(received) == updates_of(received, "ETHUSDT") == ALL
    symbols = [frame["s"] for frame in received if frame["u"] > 103]
    assert all(earlier != later for earlier, later in itertools.pairwise(symbols[:-1]))


async def test_without_a_clock_the_tape_halts_while_nobody_is_subscribed(tmp_path):
    tape = write(tmp_path / "tape", tape_lines(updates=20_000))
    async with simulator("--replay", tape, "--speed", "max", "--snapshot-wait-seconds", "0.2") as sim:
        async with sim.websocket("btcusdt@depth@100ms") as socket:
            await frames(socket, 10)
        await sim.reaches(lambda status: status["connections"]["open"] == 0)
        before = await sim.get("/control/status")
        await asyncio.sleep(0.3)
        after = await sim.get("/control/status")
        assert before["symbols"] == after["symbols"]
        assert not after["done"]
        async with sim.websocket("btcusdt@depth@100ms") as socket:
            client = ClientBook(await sim.depth("BTCUSDT"))
            while client.last_id < 103 + 19_999:
                client.apply(await next_json(socket))
        assert (await sim.get("/control/status"))["done"]


async def test_without_a_clock_the_tape_goes_no_faster_than_the_client_reads(tmp_path):
    padding = "x" * 20_000
    tickers = [{"e": "24hrTicker", "E": i, "s": "BTCUSDT", "padding": padding} for i in range(1500)]
    tape = write(tmp_path / "tape", [line(START_NS + i, "btcusdt@ticker", data) for i, data in enumerate(tickers)])
    arguments = ("--replay", tape, "--speed", "max", "--start-grace-ms", "0")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@ticker") as socket:
        await asyncio.sleep(1)
        halted = (await sim.get("/control/status"))["symbols"]["BTC/USDT"]["lines"]
        await asyncio.sleep(0.5)
        # 30 MB of frames do not fit into the sockets' buffers.
        assert (await sim.get("/control/status"))["symbols"]["BTC/USDT"]["lines"] == halted < 1500
        assert [frame["E"] for frame in await frames(socket, 1500)] == list(range(1500))


async def test_a_resynchronising_client_is_not_flooded(tmp_path):
    tape = write(tmp_path / "tape", tape_lines(updates=20_000))
    async with simulator("--replay", tape, "--speed", "max") as sim, sim.websocket("btcusdt@depth@100ms") as socket:
        await sim.depth("BTCUSDT")
        await frames(socket, 50)
        await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 2})
        while "result" not in await next_json(socket):
            pass
        while not await silent_for(socket, 0.3):
            pass
        client = ClientBook(await sim.depth("BTCUSDT"))
        assert 152 < client.last_id < 20_102
        assert await silent_for(socket, 0.3)
        following = await next_json(socket)
        assert following["U"] == client.last_id + 1
        assert client.apply(following)


async def test_pause_holds_the_tape_and_resume_goes_on(tape):
    async with simulator("--replay", tape, "--speed", "1") as sim, sim.websocket("btcusdt@depth@100ms") as socket:
        await sim.depth("BTCUSDT")
        received = await frames(socket, 20)
        assert (await sim.control("pause"))["state"] == "paused"
        while not await silent_for(socket, 0.3):
            pass
        sent = (await sim.channel("BTC/USDT", "depth"))["ids"]
        assert [list(ids) for ids in updates_of(received)] == sent[:20]
        await sim.control("resume")
        following = await next_json(socket)
        assert [following["U"], following["u"]] == [sent[-1][1] + 1] * 2
        assert "cannot burst" in (await sim.control("burst", {"symbol": "BTC/USDT", "trades": 1}, expect=409))["error"]


async def test_bad_lines_are_counted_reported_and_skipped(tmp_path, caplog):
    lines = tape_lines()
    bad = [
        b"nonsense\n",
        b'123 {"stream"\n',
        b'1700000001000000000 {"stream":"btcusdt@kline_1m","data":{}}\n',
        b'1700000001000000000 {"stream":"btcusdt@depth@100ms","data":{"U":1,"u":2,"b":[["x","1"]],"a":[]}}\n',
        b'1700000001000000000 {"stream":"btcusdt@trade","data":{"t":"5"}}\n',
    ]
    path = write(tmp_path / "tape", [*lines[:50], *bad, *lines[50:]])
    arguments = ("--replay", path, "--speed", "max", "--snapshot-wait-seconds", "0")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@depth@100ms") as socket:
        assert updates_of(await frames(socket, 202)) == ALL
        reported = (await sim.get("/control/status"))["bad_lines"]
    assert reported["count"] == len(bad)
    assert [text.split(": ")[0] for text in reported["first"]] == [f"{path}:{51 + i}" for i in range(len(bad))]
    assert f"{path}:51: not of the form" in caplog.text


async def test_a_damaged_end_is_reported_and_the_rest_is_replayed(tmp_path):
    path = tmp_path / "tape.gz"
    path.write_bytes(gzip.compress(b"".join(tape_lines(updates=5000)))[:-2000])
    arguments = ("--replay", str(path), "--speed", "max", "--snapshot-wait-seconds", "0")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@depth@100ms") as socket:
        received = []
        while not await silent_for(socket, 0.5):
            received.append(1)
        status = await sim.get("/control/status")
    assert len(received) > 1000
    assert status["done"]
    assert "damaged from here on" in status["bad_lines"]["first"][0]


async def test_a_recorded_run_can_be_replayed_frame_for_frame(tmp_path):
    path = str(tmp_path / "run.gz")
    names = [f"{s}@{c}" for s in ("btcusdt", "ethusdt") for c in ("depth@100ms", "trade", "ticker", "bookTicker")]
    arguments = ("--symbols", "BTC/USDT", "ETH/USDT", "--depth-rate", "200", "--record", path)
    async with simulator(*arguments) as sim, sim.websocket(*names) as socket:
        original = await frames(socket, 300)
    again = ("--replay", path, "--speed", "max", "--await-subscriptions", str(len(names)))
    async with simulator(*again) as sim, sim.websocket(*names) as socket:
        starts = {symbol: ClientBook(await sim.depth(symbol)) for symbol in ("BTCUSDT", "ETHUSDT")}
        replayed = []
        while len(replayed) < 600 and original[-1] not in replayed:
            replayed.append(await next_json(socket))
    # The tape holds what happened before the first client came as well.
    for symbol in ("BTCUSDT", "ETHUSDT"):
        mine = [frame for frame in original if frame["s"] == symbol]
        taped = [frame for frame in replayed if frame["s"] == symbol]
        assert [frame for frame in taped if frame in mine] == mine
        for frame in taped:
            if frame.get("e") == "depthUpdate":
                starts[symbol].apply(frame)


def recorded(path, lines=None):
    with gzip.open(path) as file:
        for text in itertools.islice(file, lines):
            yield orjson.loads(text[text.index(b" ") + 1 :])


async def test_a_real_recording_rebuilds_every_recorded_top(shared_data, tmp_path):
    original = shared_data / "binance_spot_2024-08" / "btcusdt_20240808.gz"
    with gzip.open(original) as file:
        files = [write(tmp_path / name, itertools.islice(file, 8000)) for name in ("one", "two")]
    expected = [m["data"]["u"] for m in recorded(original, 16_000) if "depth" in m.get("stream", "")]
    arguments = ("--replay", *files, "--speed", "max", "--await-subscriptions", "2")
    async with simulator(*arguments) as sim, sim.websocket("btcusdt@depth@100ms", "btcusdt@bookTicker") as socket:
        client = ClientBook(await sim.depth("BTCUSDT"))
        touches, tops, seen = {}, {}, []
        while not seen or seen[-1] != expected[-1]:
            frame = await next_json(socket)
            if "e" in frame:
                seen.append(frame["u"])
                if client.apply(frame):
                    tops[frame["u"]] = client.top
            else:
                touches[frame["u"]] = tuple(float(frame[key]) for key in "bBaA")
        ledger = await sim.channel("BTC/USDT", "depth")
    assert seen == expected == [last for _, last in ledger["ids"]]
    common = touches.keys() & tops.keys()
    assert len(common) > 200
    assert {u: tops[u] for u in common} == {u: touches[u] for u in common}


async def test_a_real_recording_reaches_a_ccxt_client_whole(shared_data, tmp_path):
    folder, excerpt = shared_data / "binance_spot_2024-08", 6000
    paths, touches, sent = [], {}, {}
    for symbol, name in (("BTC/USDT", "btcusdt"), ("ETH/USDT", "ethusdt")):
        messages = list(recorded(folder / f"{name}_20240808.gz", excerpt))
        last_update_id = next(m["lastUpdateId"] for m in messages if "lastUpdateId" in m)
        datas = [m["data"] for m in messages if "data" in m]
        sent[symbol] = [d["u"] for d in datas if d.get("e") == "depthUpdate" and d["u"] > last_update_id]
        touches |= {(symbol, d["u"]): tuple(float(d[key]) for key in "bBaA") for d in datas if "e" not in d}
        with gzip.open(folder / f"{name}_20240808.gz") as file:
            paths.append(write(tmp_path / name, itertools.islice(file, excerpt)))
    tops = {symbol: {} for symbol in sent}
    arguments = ("--replay", *paths, "--speed", "max", "--await-subscriptions", "2")
    async with simulator(*arguments) as sim, ccxt_client(sim) as exchange:
        apply = exchange.handle_order_book_message

        def applied(client, message, orderbook):
            book = apply(client, message, orderbook)
            (bid, bid_size), (ask, ask_size) = orderbook["bids"][0][:2], orderbook["asks"][0][:2]
            tops[orderbook["symbol"]][message["u"]] = (bid, bid_size, ask, ask_size)
            return book

        exchange.handle_order_book_message = applied
        watchers = [asyncio.create_task(watch(exchange, symbol)) for symbol in sent]
        await sim.reaches(lambda status: status["done"])
        await asyncio.sleep(0.5)
        for watcher in watchers:
            watcher.cancel()
        results = await asyncio.gather(*watchers, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results), results
    assert {symbol: list(books) for symbol, books in tops.items()} == sent
    checked = [key for key in touches if key[1] in tops[key[0]]]
    assert len(checked) > 100
    assert {key: tops[key[0]][key[1]] for key in checked} == {key: touches[key] for key in checked}


async def watch(exchange, symbol):
    while True:
        await exchange.watch_order_book(symbol)


async def test_a_stalled_client_holds_a_tape_without_a_clock(tape):
    async with simulator("--replay", tape, "--speed", "max") as sim, sim.websocket("btcusdt@depth@100ms") as socket:
        await frames(socket, 2)
        await sim.fault("stall", seconds=3)
        await sim.depth("BTCUSDT")
        assert await silent_for(socket, 0.8)
        assert updates_of(await frames(socket, 200)) == ALL[2:]


async def test_the_server_says_goodbye_to_its_clients(tape):
    async with aiohttp.ClientSession() as session:
        async with simulator("--replay", tape) as sim:
            socket = await session.ws_connect(f"{sim.ws_url}/stream/ws/0")
            closing = asyncio.create_task(socket.receive())
            await asyncio.sleep(0.1)
        message = await closing
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)
