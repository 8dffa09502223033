"""Is the service in this container ready? Run by HEALTHCHECK as `python -IS healthcheck.py PORT`; exit code 0 or 1.

/readyz says 503 while the service waits for Redis or the store, and names what it waits for: `docker inspect` keeps
that text. Sockets, not http.client: 20 ms of a Raspberry Pi's time instead of 120, every few seconds, for each service.
"""

import socket
import sys


def main(port: int) -> int:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError as error:
        print(f"port {port}: {error}")
        return 1
    head, _, body = answer.partition(b"\r\n\r\n")
    print(body.decode(errors="replace").strip())
    return 0 if head.split(b" ", 2)[1:2] == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
