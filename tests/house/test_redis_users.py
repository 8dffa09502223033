"""The users of the compose stack on a real server: nobody gets in without a password, and no restart loses anything."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.checkout import ROOT
from support.valkey import NO_RETRY, START_TIMEOUT_SECONDS, ValkeyServer

STREAM = "{binanceus:BTC-USDT}:raw"
APPEND = "return redis.call('XADD', KEYS[1], '*', 'event', ARGV[1]) and redis.call('INCRBY', KEYS[2], 1)"


class GuardedServer(ValkeyServer):
    """With the rules and passwords that deploy/compose/secrets.sh makes."""

    def __init__(self, folder: Path) -> None:
        self.secrets = folder / "secrets"
        subprocess.run([str(ROOT / "deploy/compose/secrets.sh"), str(self.secrets)], check=True, capture_output=True)
        # Without the preamble the whole file is replayed command by command, as what came since the last rewrite is.
        options = ("--aclfile", str(self.secrets / "redis_users.acl"), "--aof-use-rdb-preamble", "no")
        super().__init__(folder / "server", options)

    def user(self, name: str) -> redis.Redis:
        password = (self.secrets / f"redis_{name}").read_text()
        return redis.Redis(port=self.port, username=name, password=password, retry=NO_RETRY, decode_responses=True)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        with redis.Redis(port=self.port, username="health", password="none", retry=NO_RETRY) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError as error:
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"the server gave no answer; {self._log_tail()}") from error
                    time.sleep(0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GuardedServer]:
    with GuardedServer(tmp_path) as server:
        yield server


def test_what_scripts_and_transactions_wrote_is_there_after_a_restart(server: GuardedServer) -> None:
    """A server replays both as transactions, with the rights of the user `default`."""
    with server.user("ingestor") as client:
        for number in range(3):
            client.eval(APPEND, 2, STREAM, "{binanceus:BTC-USDT}:sequence", str(number))
    with server.user("operator") as client, client.pipeline(transaction=True) as pipeline:
        pipeline.set("{a}:one", "1").set("{a}:two", "2").execute()
    server.restart()
    with server.user("operator") as client:
        assert [fields for _, fields in client.xrange(STREAM)] == [{"event": str(number)} for number in range(3)]
        assert client.get("{binanceus:BTC-USDT}:sequence") == "3"
        assert client.mget("{a}:one", "{a}:two") == ["1", "2"]


def test_the_user_with_whose_rights_the_file_is_replayed_may_do_everything_and_is_nobodys() -> None:
    """Not every server asks for them: this one here may not, and Redis 7.0 drops the writes of scripts without them."""
    (rule,) = re.findall(r"^user default (.*)$", (ROOT / "deploy/compose/redis/users.acl").read_text(), re.MULTILINE)
    assert rule.split() == ["off", "resetpass", "~*", "&*", "+@all"]


@pytest.mark.parametrize("password", ["", "none", "default"])
def test_nobody_gets_in_as_the_user_default(server: GuardedServer, password: str) -> None:
    with redis.Redis(port=server.port, retry=NO_RETRY) as client, pytest.raises(redis.AuthenticationError):
        client.execute_command("AUTH", "default", password)
    with redis.Redis(port=server.port, retry=NO_RETRY) as client, pytest.raises(redis.AuthenticationError):
        client.get("anything")


def test_the_user_of_the_health_check_may_do_nothing_else(server: GuardedServer) -> None:
    with (
        redis.Redis(port=server.port, username="health", password="none", retry=NO_RETRY) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.get("anything")
