"""Ports for the servers of tests: one after the other, over all test processes of this machine."""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

PORTS = range(10_000, 20_000)
"""Below 32,768, where Linux takes the ports of outgoing connections from: while a server is down for a restart, no
client of another test gets its port. Apart from those that `daedalus up` chooses for its own server."""

_LAST = Path(tempfile.gettempdir()) / f"daedalus-test-port-{os.getuid()}"


def free_port(last: Path = _LAST) -> int:
    """A port of 127.0.0.1 that nobody holds now, and that this gives to nobody else for thousands of calls.

    Chosen at random instead, eight ports of one server were the same in one start of 400, and a server that is
    about to open its port had it taken by another test. The file `last` holds the port that was given last.
    """
    with last.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        port = _after(file.read(), PORTS)
        for _ in PORTS:
            if _is_free(port):
                break
            port = _after(str(port), PORTS)
        else:
            raise RuntimeError(f"none of the ports {PORTS.start} to {PORTS.stop - 1} of 127.0.0.1 is free")
        file.truncate(0)
        file.write(str(port))
    return port


def _after(last: str, ports: range) -> int:
    """The port after `last`, around; any where there is none (the first call on this machine, or a damaged file)."""
    if last.isascii() and last.isdigit() and int(last) in ports:
        return ports[(ports.index(int(last)) + 1) % len(ports)]
    return random.choice(ports)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
