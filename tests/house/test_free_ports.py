"""Two servers of the tests never choose the same port."""

import socket
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from support.ports import PORTS, free_port


def test_processes_that_ask_at_once_get_ports_that_nobody_else_gets(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        ports = list(pool.map(free_port, [tmp_path / "last"] * 400, chunksize=5))
    assert len(set(ports)) == 400
    assert set(ports) <= set(PORTS)


def test_a_port_that_is_held_is_passed_over(tmp_path: Path) -> None:
    first = free_port(tmp_path / "last")
    (tmp_path / "last").write_text(str(first - 1 if first > PORTS.start else PORTS[-1]))
    with socket.create_server(("127.0.0.1", first)):
        assert free_port(tmp_path / "last") != first


def test_after_the_last_port_comes_the_first_and_a_damaged_file_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "last").write_text(str(PORTS[-1]))
    assert free_port(tmp_path / "last") in PORTS[:100]
    (tmp_path / "last").write_text("²")
    assert free_port(tmp_path / "last") in PORTS
