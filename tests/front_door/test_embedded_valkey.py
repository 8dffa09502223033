"""The embedded server as a supervised child: a real one, whose data outlives restarts and kills."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import redis
from redis.exceptions import AuthenticationError

from daedalus.embedded.layout import DataDir, DataDirError, Layout
from daedalus.embedded.valkey import ValkeyServer, choose_port, valkey_command, wait_until_ready
from daedalus.supervisor.policy import MemoryLimits, RestartPolicy
from daedalus.supervisor.supervisor import Rules, Supervisor
from front_door.conftest import alive, until, wait_until

PASSWORD = "correct-horse"
RULES = Rules(RestartPolicy(first_delay=timedelta(seconds=0.1)), MemoryLimits(2**40, 2**41), timedelta(seconds=20))


def new_server() -> ValkeyServer:
    rng = random.Random()
    return ValkeyServer(choose_port(rng.randrange(20_000, 32_000), rng), PASSWORD)


@asynccontextmanager
async def served(layout: Layout, server: ValkeyServer):
    """A supervisor with the server running and ready, stopped cleanly afterwards."""
    supervisor = Supervisor(RULES, lambda notice: None)
    loop = asyncio.create_task(supervisor.run())
    try:
        supervisor.start(valkey_command(server, layout, os.environ, ()), restart_when_large=False)
        async with asyncio.timeout(20):
            await wait_until_ready(server.url, None, PASSWORD, lambda: supervisor.failure is not None)
        yield supervisor
        assert await supervisor.stop("valkey") == 0
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
        supervisor.kill_all()


def client_of(server: ValkeyServer) -> redis.Redis:
    return redis.Redis(port=server.port, password=PASSWORD, socket_timeout=5)


async def test_what_was_written_is_there_after_a_clean_restart(tmp_path):
    with DataDir(tmp_path / "with a space") as data_dir:
        server = new_server()
        async with served(data_dir.layout, server):
            with client_of(server) as client:
                client.xadd("{m}:raw", {"e": "1"})
                settings = client.config_get("*")
        assert (settings["appendonly"], settings["appendfsync"], settings["save"]) == ("yes", "everysec", "")
        assert (settings["bind"], settings["maxmemory-policy"]) == ("127.0.0.1", "noeviction")
        assert 0 < int(settings["maxmemory"]) < psutil.virtual_memory().total
        assert settings["dir"] == str(data_dir.layout.redis)
        async with served(data_dir.layout, server):
            with client_of(server) as client:
                assert client.xlen("{m}:raw") == 1


async def test_a_killed_server_comes_back_on_its_port_with_its_data(tmp_path):
    with DataDir(tmp_path) as data_dir:
        server = new_server()
        async with served(data_dir.layout, server) as supervisor:
            with client_of(server) as client:
                client.set("key", "value")
            os.kill(supervisor.running("valkey").pid, signal.SIGKILL)
            await until(lambda: supervisor.status()[0].restarts == 1, "the restart")
            async with asyncio.timeout(20):
                await wait_until_ready(server.url, None, PASSWORD, lambda: False)
            with client_of(server) as client:
                assert client.get("key") == b"value"


async def test_the_server_asks_for_its_password_and_its_file_is_private(tmp_path):
    with DataDir(tmp_path) as data_dir:
        server = new_server()
        async with served(data_dir.layout, server):
            with redis.Redis(port=server.port) as stranger, pytest.raises(AuthenticationError):
                stranger.ping()
            with pytest.raises(AuthenticationError):
                await wait_until_ready(server.url, None, "wrong", lambda: False)
            assert data_dir.layout.valkey_config.stat().st_mode & 0o777 == 0o600
            assert PASSWORD not in " ".join(psutil.Process(server_pid(server)).cmdline())


def server_pid(server: ValkeyServer) -> int:
    with client_of(server) as client:
        return int(client.info("server")["process_id"])


async def test_the_port_that_is_wished_for_is_taken_when_it_is_free():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        wished = holder.getsockname()[1]
        other = choose_port(wished, random.Random(1))
        assert other != wished
        assert other in range(20_000, 32_000)
    assert choose_port(wished, random.Random(1)) == wished
    assert choose_port(wished, random.Random(1), taken=[wished]) != wished


CHOOSER = """
import random, sys
from daedalus.embedded.valkey import choose_port
print(choose_port(int(sys.argv[1]), random.Random(2)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="nothing reserves a port elsewhere")
async def test_runs_that_begin_in_the_same_moment_choose_different_ports():
    port = choose_port(random.Random(3).randrange(20_000, 32_000), random.Random(3))
    chosen = await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", CHOOSER, str(port)])
    assert int(chosen) != port
    assert choose_port(port, random.Random(4)) == port, "it is ours"


OWNER = """
import asyncio, os, sys
from pathlib import Path
from daedalus.embedded.layout import DataDir
from daedalus.embedded.valkey import ValkeyServer, valkey_command, wait_until_ready
from daedalus.supervisor.policy import MemoryLimits, RestartPolicy
from daedalus.supervisor.supervisor import Rules, Supervisor
from datetime import timedelta

async def main(data_dir):
    supervisor = Supervisor(Rules(RestartPolicy(), MemoryLimits(2**40, 2**41), timedelta(seconds=9)), print)
    server = ValkeyServer(int(sys.argv[2]), "correct-horse")
    supervisor.start(valkey_command(server, data_dir.layout, os.environ, (data_dir.lock_fd,)))
    await wait_until_ready(server.url, None, server.password, lambda: False)
    print(supervisor.status()[0].pid, flush=True)
    await supervisor.run()

with DataDir(Path(sys.argv[1])) as data_dir:
    asyncio.run(main(data_dir))
"""


def test_a_server_whose_supervisor_is_killed_saves_its_data_and_ends(tmp_path):
    server = new_server()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(server.port)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        with client_of(server) as client:
            client.set("key", "value")
        owner.kill()
        owner.wait()
        wait_until(lambda: not alive(pid), "the server is gone", seconds=10)
    finally:
        owner.kill()
        owner.communicate()
    assert "ready to exit" in (tmp_path / "logs" / "valkey.log").read_text()
    wait_until(lambda: is_free(tmp_path), "the lock goes with the server", seconds=10)


def is_free(folder: Path) -> bool:
    try:
        with DataDir(folder):
            return True
    except DataDirError:
        return False  # the last thread of a dead process may still sync its file, which keeps what it has open
