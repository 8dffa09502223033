"""The S3 faults of the harness, between real clients and a real S3 server."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from faults.tools.s3_faults import S3Faults
from faults.tools.tcp_proxy import TcpProxy
from support.ports import free_port
from support.seaweedfs import ADMIN, SeaweedServer


@pytest.fixture
def s3(seaweedfs: SeaweedServer) -> Iterator[S3Faults]:
    with S3Faults(seaweedfs.endpoint_url, seed=1) as s3:
        yield s3


def client_of(url: str, timeout: float = 5.0):
    """One attempt per call."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=ADMIN.access_key,
        aws_secret_access_key=ADMIN.secret_key,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=timeout, s3={"addressing_style": "path"}),
    )


def put(client, key: str, body: bytes = b"body") -> None:
    client.put_object(Bucket="lake", Key=key, Body=body)


def get(client, key: str) -> bytes:
    return client.get_object(Bucket="lake", Key=key)["Body"].read()


def has(server: SeaweedServer, key: str) -> bool:
    found = server.client().list_objects_v2(Bucket="lake", Prefix=key)
    return found["KeyCount"] == 1


def seconds_of(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def test_without_a_fault_everything_passes_and_is_counted(s3: S3Faults) -> None:
    client = client_of(s3.url)
    put(client, "plain/a", bytes(300_000))
    assert get(client, "plain/a") == bytes(300_000)
    assert s3.requests == 2
    assert s3.requests_by_method == {"PUT": 1, "GET": 1}
    assert s3.hits == 0


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (403, "AccessDenied")])
def test_an_error_answers_every_request_until_it_is_healed(
    s3: S3Faults, seaweedfs: SeaweedServer, status: int, code: str
) -> None:
    client = client_of(s3.url)
    s3.answer(status, code)
    for _ in range(3):
        with pytest.raises(ClientError) as error:
            put(client, f"errors/{status}")
        assert error.value.response["Error"]["Code"] == code
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert not has(seaweedfs, f"errors/{status}")
    assert s3.hits == 3
    s3.heal()
    put(client, f"errors/{status}")
    assert has(seaweedfs, f"errors/{status}")
    assert s3.hits == 3
    assert s3.requests == 4


def test_a_fault_can_meet_some_methods_only_and_a_share_of_the_requests(s3: S3Faults) -> None:
    client = client_of(s3.url)
    s3.answer(503, "SlowDown", share=0.5, methods=("PUT",))
    failed = 0
    for number in range(40):
        try:
            put(client, f"share/{number}")
        except ClientError:
            failed += 1
    assert 10 <= failed <= 30
    assert s3.hits == failed
    for _ in range(5):
        client.list_objects_v2(Bucket="lake")
    assert s3.hits == failed


def test_the_answer_of_a_put_is_lost_after_the_object_is_there(s3: S3Faults, seaweedfs: SeaweedServer) -> None:
    client = client_of(s3.url)
    s3.lose_answers()
    with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
        put(client, "lost/a")
    assert has(seaweedfs, "lost/a")
    assert get(client, "lost/a") == b"body"
    assert s3.hits == 1


def test_a_put_can_time_out_after_the_object_is_there(s3: S3Faults, seaweedfs: SeaweedServer) -> None:
    s3.lose_answers(silent_seconds=60)
    with pytest.raises(ReadTimeoutError):
        put(client_of(s3.url, timeout=0.5), "late/a")
    assert has(seaweedfs, "late/a")


def test_it_tells_what_became_of_objects_while_it_was_watched(s3: S3Faults) -> None:
    client = client_of(s3.url)
    put(client, "watched/old")
    with s3.watched() as written:
        client.put_object(Bucket="lake", Key="watched/a=1/new", Body=b"x", IfNoneMatch="*")
        with pytest.raises(ClientError, match="PreconditionFailed"):
            client.put_object(Bucket="lake", Key="watched/old", Body=b"x", IfNoneMatch="*")
        put(client, "watched/old")
        client.delete_object(Bucket="lake", Key="watched/a=1/new")
    put(client, "watched/later")
    assert written == {"/lake/watched/old": "replaced", "/lake/watched/a=1/new": "deleted"}


def test_slow_requests_are_carried_out_late_and_at_once_when_healed(s3: S3Faults) -> None:
    client = client_of(s3.url, timeout=30)
    s3.slow(0.4)
    assert 0.4 <= seconds_of(lambda: put(client, "slow/a")) < 5
    s3.heal()
    s3.slow(60)
    waiting = threading.Thread(target=put, args=(client, "slow/b"))
    waiting.start()
    while s3.hits < 2:
        time.sleep(0.01)
    s3.heal()
    assert seconds_of(lambda: waiting.join(20)) < 5
    assert get(client, "slow/b") == b"body"


def test_a_cut_request_never_reaches_the_server(s3: S3Faults, seaweedfs: SeaweedServer) -> None:
    s3.cut(methods=("PUT",))
    with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
        put(client_of(s3.url), "cut/a")
    assert not has(seaweedfs, "cut/a")
    assert s3.hits == 1


def test_a_cut_body_is_noticed_by_its_length(s3: S3Faults) -> None:
    client = client_of(s3.url)
    put(client, "bodies/a", bytes(100_000))
    s3.cut_bodies()
    with pytest.raises(BotoCoreError):
        get(client, "bodies/a")
    assert s3.hits == 1
    s3.heal()
    assert get(client, "bodies/a") == bytes(100_000)


def test_of_two_faults_the_one_set_last_happens(s3: S3Faults) -> None:
    client = client_of(s3.url)
    s3.answer(500, "InternalError")
    s3.answer(503, "SlowDown", methods=("PUT",))
    with pytest.raises(ClientError, match="SlowDown"):
        put(client, "two/a")
    with pytest.raises(ClientError, match="InternalError"):
        get(client, "two/a")


def test_a_server_that_is_away_cuts_the_connection(capfd: pytest.CaptureFixture[str]) -> None:
    with S3Faults(f"http://127.0.0.1:{free_port()}") as s3:
        with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
            put(client_of(s3.url), "away/a")
        assert s3.hits == 0
        assert s3.requests == 1
    assert capfd.readouterr().err == ""


def test_a_client_that_left_makes_no_noise(s3: S3Faults, capfd: pytest.CaptureFixture[str]) -> None:
    s3.slow(0.6)
    with pytest.raises(ReadTimeoutError):
        put(client_of(s3.url, timeout=0.2), "left/a", bytes(5_000_000))
    time.sleep(0.8)
    assert capfd.readouterr().err == ""


def test_a_proxy_before_the_faults_is_one_more_thing_that_can_fail(s3: S3Faults) -> None:
    with TcpProxy(int(s3.url.rsplit(":", 1)[1])) as proxy:
        client = client_of(f"http://127.0.0.1:{proxy.port}")
        put(client, "proxied/a", bytes(100_000))
        proxy.truncate(2_000)
        with pytest.raises(BotoCoreError):
            get(client, "proxied/a")
        proxy.heal()
        assert get(client, "proxied/a") == bytes(100_000)


@pytest.mark.parametrize(
    "cut", [b"PUT /lake/half/a HTTP/1.1\r\nHost: a\r\nContent-Le", b"GET /lake/half/a HTTP/1.1\r\nHost: a\r\n"]
)
def test_half_a_request_is_none(s3: S3Faults, cut: bytes) -> None:
    """The server's own parser would take it for a request without a body."""
    assert said_to(s3, cut) == b""
    assert said_to(s3, b"PUT /lake/half/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nbody") == b""
    assert s3.requests == 0
    assert said_to(s3, b"GET /lake/half/a HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert s3.requests == 1


def said_to(s3: S3Faults, request: bytes) -> bytes:
    """All that is answered to a client that says this and no more."""
    with socket.create_connection(("127.0.0.1", int(s3.url.rsplit(":", 1)[1])), timeout=5) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read()
