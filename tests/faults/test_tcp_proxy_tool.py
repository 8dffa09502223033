"""The TCP proxy of the fault harness, between real clients and a real server."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from faults.tools.tcp_proxy import TcpProxy
from support.ports import free_port
from support.valkey import ValkeyServer

WAIT_SECONDS = 10.0


@pytest.fixture
def proxy(valkey: ValkeyServer, redis_url: str) -> Iterator[TcpProxy]:
    assert redis_url == valkey.url
    with TcpProxy(valkey.port, seed=1) as proxy:
        yield proxy


def client_of(proxy: TcpProxy, timeout: float = 5.0) -> redis.Redis:
    """One connection, without a second attempt."""
    return redis.Redis(port=proxy.port, socket_timeout=timeout, retry=Retry(NoBackoff(), 0))


def speak(proxy: TcpProxy, text: bytes = b"PING\r\n", timeout: float = WAIT_SECONDS) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout)
    sock.sendall(text)
    return sock


def hear(sock: socket.socket) -> bytes:
    """Everything until the end."""
    heard = b""
    while chunk := sock.recv(65536):
        heard += chunk
    return heard


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_without_a_fault_everything_passes_and_is_counted(proxy: TcpProxy) -> None:
    value = bytes(range(256)) * 20_000
    with client_of(proxy, 10) as client:
        client.set("a", value)
        assert client.get("a") == value
        assert proxy.connections == 1
    assert proxy.request_bytes > len(value)
    assert proxy.reply_bytes > len(value)
    assert proxy.passed_bytes == proxy.request_bytes + proxy.reply_bytes
    assert proxy.accepted == 1
    assert proxy.hits == 0
    wait_until(lambda: proxy.connections == 0)


def test_latency_holds_each_way_with_its_jitter_and_keeps_the_order(proxy: TcpProxy) -> None:
    with client_of(proxy, 10) as client:
        client.ping()
        proxy.latency(0.1, jitter=0.04)
        started = time.monotonic()
        client.ping()
        assert 0.11 < time.monotonic() - started < 3
        with closing(speak(proxy, b"")) as sock:
            for number in range(200):
                sock.sendall(b"RPUSH order %d\r\n" % number)
            sock.shutdown(socket.SHUT_WR)
            assert hear(sock) == b"".join(b":%d\r\n" % number for number in range(1, 201))
        assert client.lrange("order", 0, -1) == [b"%d" % number for number in range(200)]
        assert proxy.hits > 2
        proxy.latency(5)
        proxy.heal()
        started = time.monotonic()
        client.ping()
        assert time.monotonic() - started < 3


def test_pipelined_bytes_do_not_wait_for_each_other_under_latency(proxy: TcpProxy) -> None:
    proxy.latency(0.4)
    with closing(speak(proxy, b"")) as sock:
        started = time.monotonic()
        for _ in range(10):
            sock.sendall(b"PING\r\n")
            time.sleep(0.02)
        sock.shutdown(socket.SHUT_WR)
        assert hear(sock) == b"+PONG\r\n" * 10
        assert time.monotonic() - started < 3.5  # 0.2 s of sending, 0.8 s there and back


def test_bandwidth_is_shared_by_all_connections(proxy: TcpProxy) -> None:
    value = b"x" * 20_000
    with client_of(proxy, 10) as one, client_of(proxy, 10) as two:
        one.set("a", value)
        two.ping()
        proxy.bandwidth(50_000)
        started = time.monotonic()
        with ThreadPoolExecutor(2) as pool:  # at once: each by itself would take 0.4 s
            assert list(pool.map(lambda client: client.get("a"), (one, two))) == [value, value]
        assert 0.6 < time.monotonic() - started < 5
        assert proxy.hits > 0
        proxy.bandwidth(5_000)
        proxy.heal()
        started = time.monotonic()
        assert one.get("a") == value
        assert time.monotonic() - started < 2


def test_heal_brings_at_once_what_a_fault_held_back(proxy: TcpProxy) -> None:
    with client_of(proxy, 10) as client:
        client.ping()
        proxy.latency(60)
        with closing(speak(proxy)) as sock:
            wait_until(lambda: proxy.hits >= 1)
            proxy.heal()
            assert sock.recv(100) == b"+PONG\r\n"


def test_reset_ends_open_connections_with_a_rst_and_lets_new_ones_pass(proxy: TcpProxy) -> None:
    with closing(speak(proxy)) as sock:
        assert sock.recv(100) == b"+PONG\r\n"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            sock.recv(100)
    assert proxy.hits == 1
    with client_of(proxy) as client:
        assert client.ping()


def test_reset_can_keep_on_until_it_is_healed(proxy: TcpProxy) -> None:
    proxy.reset(keep_on=True)
    with client_of(proxy) as client:
        for _ in range(3):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        assert proxy.hits >= 3
        proxy.heal()
        assert client.ping()


def test_reset_can_wait_for_a_number_of_bytes(proxy: TcpProxy) -> None:
    with closing(speak(proxy)) as sock:
        assert sock.recv(100) == b"+PONG\r\n"
        proxy.reset(after_bytes=10)
        sock.sendall(b"PING\r\n")
        assert sock.recv(100) == b"+PONG\r\n"
        sock.sendall(b"PING\r\n")
        with pytest.raises(ConnectionResetError):
            hear(sock)
    assert proxy.hits == 1


def test_a_half_open_connection_answers_nothing_and_never_ends(proxy: TcpProxy) -> None:
    with client_of(proxy) as client, closing(speak(proxy, b"")) as sock:
        client.ping()
        sock.sendall(b"SET before 1\r\n")
        assert sock.recv(100) == b"+OK\r\n"
        proxy.half_open()
        sock.sendall(b"SET while 1\r\n" * 100_000)  # more than the kernel's buffers take: it is swallowed
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.recv(100)
        assert proxy.connections == 2
        assert proxy.hits > 0
        with client_of(proxy) as other:
            assert other.exists("before") == 1
            assert other.exists("while") == 0
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            sock.recv(100)


def test_half_open_can_take_new_connections_too(proxy: TcpProxy) -> None:
    proxy.half_open(new_too=True)
    with client_of(proxy, 0.3) as hopeless, pytest.raises(redis.TimeoutError):
        hopeless.ping()
    wait_until(lambda: proxy.hits > 0)
    proxy.heal()
    with client_of(proxy) as client:
        assert client.ping()


def test_dropped_replies_leave_the_commands_carried_out(proxy: TcpProxy, valkey: ValkeyServer) -> None:
    with closing(speak(proxy)) as sock, redis.Redis(port=valkey.port) as behind:
        assert sock.recv(100) == b"+PONG\r\n"
        proxy.drop_replies()
        sock.sendall(b"INCR done\r\n")
        wait_until(lambda: behind.get("done") == b"1")
        wait_until(lambda: proxy.hits >= 1)
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.recv(100)
        proxy.heal()
    with client_of(proxy) as client:
        assert client.incr("done") == 2


def test_a_connection_that_missed_a_reply_is_reset_by_heal(proxy: TcpProxy) -> None:
    with closing(speak(proxy, b"")) as sock:
        proxy.drop_replies()
        sock.sendall(b"PING\r\n")
        wait_until(lambda: proxy.hits == 1)
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            sock.recv(100)


def test_a_truncated_reply_ends_in_its_middle_with_a_fin(proxy: TcpProxy) -> None:
    with closing(speak(proxy)) as sock:
        assert sock.recv(100) == b"+PONG\r\n"
        proxy.truncate(3)
        sock.sendall(b"PING\r\n")
        assert hear(sock) == b"+PO"
    with closing(speak(proxy)) as sock:
        assert hear(sock) == b"+PO"
    assert proxy.hits >= 2
    proxy.heal()
    with client_of(proxy) as client:
        assert client.ping()


def test_a_truncated_request_is_not_carried_out(proxy: TcpProxy, valkey: ValkeyServer) -> None:
    proxy.truncate_requests(30)
    with closing(speak(proxy, b"SET whole 1\r\nSET cut 1234567890\r\n")) as sock:
        assert hear(sock) == b"+OK\r\n"
    with redis.Redis(port=valkey.port) as behind:
        assert behind.exists("whole") == 1
        assert behind.exists("cut") == 0
    assert proxy.hits >= 1
    wait_until(lambda: proxy.connections == 0)


def test_with_a_slow_close_the_client_hears_late_that_the_server_is_gone(proxy: TcpProxy) -> None:
    with closing(speak(proxy)) as sock:
        assert sock.recv(100) == b"+PONG\r\n"
        started = time.monotonic()
        proxy.slow_close(0.4)
        sock.sendall(b"PING\r\n")
        assert hear(sock) == b""
        assert 0.35 < time.monotonic() - started < 5
    started = time.monotonic()
    with closing(speak(proxy, b"QUIT\r\n")) as sock:
        assert sock.recv(100) == b"+OK\r\n"
        assert hear(sock) == b""
        assert 0.35 < time.monotonic() - started < 5
    assert proxy.hits >= 2


def test_a_refused_connection_finds_nobody_listening_and_the_port_comes_back(proxy: TcpProxy) -> None:
    port = proxy.port
    with client_of(proxy) as client:
        client.ping()
        proxy.refuse()
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1)
        assert proxy.hits == 1
        proxy.heal()
        assert proxy.port == port
        assert client.ping()


def test_a_server_that_is_down_looks_like_a_reset_and_is_found_again() -> None:
    port = free_port()
    with TcpProxy(port) as proxy:
        with pytest.raises(ConnectionResetError), closing(speak(proxy)) as sock:  # perhaps while it connects
            sock.recv(100)
        with socket.create_server(("127.0.0.1", port)) as server, closing(speak(proxy, b"hello")) as sock:
            accepted, _ = server.accept()
            with accepted:
                assert accepted.recv(100) == b"hello"
    assert not proxy.connections


def test_faults_change_live_under_load_and_no_command_is_doubled_or_torn(proxy: TcpProxy, valkey: ValkeyServer) -> None:
    done = 0
    with client_of(proxy, 5) as client, redis.Redis(port=valkey.port) as behind:
        for fault in (
            lambda: proxy.latency(0.005, 0.004),
            lambda: proxy.bandwidth(500_000),
            proxy.reset,
            proxy.heal,
        ) * 3:
            fault()
            for _ in range(20):
                try:
                    client.rpush("load", b"v" * 1000)
                    done += 1
                except redis.ConnectionError:
                    continue
        stored = behind.llen("load")
        assert done <= stored <= done + 3
        assert set(behind.lrange("load", 0, -1)) == {b"v" * 1000}


def test_closing_the_proxy_frees_its_port_and_ends_its_thread(valkey: ValkeyServer) -> None:
    proxy = TcpProxy(valkey.port)
    with closing(speak(proxy)) as sock:
        assert sock.recv(100) == b"+PONG\r\n"
        proxy.close()
        proxy.close()
        with pytest.raises(ConnectionResetError):
            sock.recv(100)
    with socket.create_server(("127.0.0.1", proxy.port)):
        pass
