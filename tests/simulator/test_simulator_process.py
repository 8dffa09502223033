"""The program itself: how it starts, says where it is, refuses to start, and ends."""

import asyncio
import gzip
import json
import signal
import socket
import sys

import pytest

from daedalus_simulator.settings import parse_arguments
from simulator.harness import simulator_process, until


async def run(*arguments):
    """(exit status, stdout, stderr) of a simulator that is not expected to serve."""
    command = (sys.executable, "-m", "daedalus_simulator", *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_is_and_ends_cleanly_when_told(tmp_path, number):
    port_file = tmp_path / "port"
    command = (sys.executable, "-m", "daedalus_simulator", "--port", "0", "--port-file", str(port_file), "--seed", "5")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    await until(port_file.exists)
    port = int(port_file.read_text())
    assert ready == {
        "event": "ready",
        "url": f"http://127.0.0.1:{port}",
        "ws_url": f"ws://127.0.0.1:{port}",
        "source": "synthetic",
        "symbols": ["BTC/USDT", "ETH/USDT", "SOL/USDT"],
        "seed": 5,
    }
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_it_ends_in_time_with_clients_connected_that_do_not_read():
    async with simulator_process("--depth-rate", "2000", "--depth-interval-ms", "0") as sim:
        reader = await sim.session.ws_connect(f"{sim.ws_url}/stream/ws/0")
        await reader.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 1})
        await asyncio.sleep(1)


async def test_a_port_in_use_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, out, err = await run("--port", str(port))
    assert (status, out) == (1, "")
    assert err.splitlines() == [
        f"daedalus_simulator: cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --port"
    ]


async def test_a_recording_that_cannot_be_written_is_one_clear_line(tmp_path):
    path = tmp_path / "missing" / "run.gz"
    status, _, err = await run("--port", "0", "--record", str(path))
    assert status == 1
    assert err.splitlines() == [f"daedalus_simulator: cannot write the recording {path}: No such file or directory"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, ": no such recording"),
        (b"", ":1: no stream frame"),
        (b"hello\n", ":1: not of the form '<local_ts ns> <json>'"),
        (b"123 {broken\n", ":1: not JSON"),
        (b"123 [1]\n", ":1: neither a stream frame nor a depth snapshot"),
        (b'123 {"stream":"btcusdt@depth@100ms","data":{"U":1}}\n', ":1: a depth frame needs the integers U and u"),
        (b'123 {"lastUpdateId":"x","bids":[],"asks":[]}\n', ":1: a depth snapshot needs an integer lastUpdateId"),
        (b'123 {"lastUpdateId":1,"bids":[],"asks":[]}\n', ":1: no stream frame"),
        (b'123 {"stream":"abcxyz@trade","data":{"t":1}}\n', ": cannot tell base from quote in 'ABCXYZ'"),
        (gzip.compress(b'123 {"stream":"btcusdt@trade","data":{"t":1}}\n', mtime=0)[:12], ":1: cannot be read"),
    ],
)
async def test_a_recording_that_cannot_be_read_is_named_with_its_line(tmp_path, content, said):
    path = tmp_path / "tape"
    if content is not None:
        path.write_bytes(content)
    status, out, err = await run("--port", "0", "--replay", str(path))
    assert (status, out) == (2, "")
    assert f"daedalus_simulator: {path}{said}" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--symbols", "btc/usdt"], "'btc/usdt' is not a symbol: write BASE/QUOTE in capitals"),
        (["--symbols", "BTC"], "BASE/QUOTE"),
        (["--port", "-1"], "'-1' is not a whole number"),
        (["--depth-rate", "0"], "0 must be above 0"),
        (["--trade-rate", "nan"], "nan must be 0 or more"),
        (["--speed", "fast"], "'fast' is not a number"),
        (["--depth-interval-ms", "15"], "a multiple of 10"),
        (["--record", "a", "--replay", "b"], "cannot be used with --replay"),
        (["--ledger-limit", "0"], "1 or more"),
        (["--levels", "3"], "between 50 and 5000"),
        (["--exchange", "kraken"], "binanceus"),
    ],
)
def test_a_wrong_argument_is_named(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        parse_arguments(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


async def test_help_has_examples():
    status, out, _ = await run("--help")
    assert status == 0
    assert "examples:" in out
    assert "--replay" in out
