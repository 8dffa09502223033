"""The server that the tests run on is real, keeps what it must keep and starts empty for each test."""

import os
from pathlib import Path

import pytest
import redis

from support.valkey import NO_RETRY, ValkeyServer


def test_a_test_gets_a_server_emptied_of_what_others_left(valkey: ValkeyServer, request: pytest.FixtureRequest) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.set("left over", 1)
        assert request.getfixturevalue("redis_url") == valkey.url
        assert client.dbsize() == 0


def test_a_restarted_server_has_its_data_and_its_port(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        port, pid = server.port, server.pid
        server.restart()
        assert (server.port, client.get("kept")) == (port, b"yes")
        assert server.pid != pid


def test_a_killed_server_has_what_was_written_to_its_file(tmp_path: Path) -> None:
    with (
        ValkeyServer(tmp_path, options=("--appendfsync", "always")) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        client.set("kept", "yes")
        pid = server.pid
        server.kill()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        server.start()
        assert client.get("kept") == b"yes"


def test_a_paused_server_holds_connections_and_answers_after_it_resumes(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as server:
        with redis.Redis(port=server.port, socket_timeout=10, retry=NO_RETRY) as client:
            client.set("kept", "yes")
            server.pause()
            with (
                redis.Redis(port=server.port, socket_timeout=0.2, retry=NO_RETRY) as hasty,
                pytest.raises(redis.TimeoutError),
            ):
                hasty.get("kept")
            server.resume()
            assert client.get("kept") == b"yes"
        server.pause()
        server.stop()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path, options=("--no-such-option", "1"))
    with pytest.raises(RuntimeError, match="no-such-option"):
        server.start()
