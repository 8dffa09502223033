"""The S3 servers that the stores' tests run against, and what each of them does otherwise than Amazon's S3."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

import boto3
from botocore.config import Config

from daedalus_common.stores import StoreSettings
from support.ports import free_port
from support.seaweedfs import ADMIN, S3Keys

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOTO_START_SECONDS = 60.0
# moto looks whether there is an object, then writes: with Python's usual 5 ms between threads, 1 of 40 races of
# conditional completions had two winners. That would fail a test once in a while, so here threads change only when they
# wait: none of 150 had.
MOTO = "import sys; sys.setswitchinterval(10); from moto.server import main; main()"
POLL_SECONDS = 0.1


class Flaw(Enum):
    """What a server does otherwise than Amazon's S3. The tests expect it of this server, and fail once it is gone."""

    ANYBODY_MAY = "takes any access key and any secret"
    SEVERAL_COMPLETE = "of several simultaneous conditional completions of multipart uploads more than one may succeed"
    SEVERAL_RARELY_COMPLETE = "the same, too rarely for a test to show it: moto in one race of 40"


FLAWS = {
    "SeaweedFS": frozenset({Flaw.SEVERAL_COMPLETE}),
    "Ceph RGW": frozenset[Flaw](),
    "MinIO": frozenset[Flaw](),
    "moto": frozenset({Flaw.ANYBODY_MAY, Flaw.SEVERAL_RARELY_COMPLETE}),
}
"""By the name of the server, as `S3Server.name` gives it; one that is not here is expected to have none."""


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running S3 server, with a bucket for tests."""

    name: str
    """What really runs: `SeaweedFS`, `Ceph RGW`, `MinIO`, `moto`."""
    endpoint_url: str
    admin: S3Keys
    bucket: str = "lake"
    region: str = "us-east-1"

    @property
    def flaws(self) -> frozenset[Flaw]:
        return FLAWS.get(self.name, frozenset())

    def client(self) -> "S3Client":
        """A plain boto3 client without retries, to set the scene and to look behind the code under test."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.admin.access_key,
            aws_secret_access_key=self.admin.secret_key,
            config=Config(
                retries={"total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=30,
                max_pool_connections=32,
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
            ),
        )

    def with_bucket(self) -> Self:
        """Makes its bucket; returns itself."""
        self.client().create_bucket(Bucket=self.bucket)
        return self

    def settings(self, prefix: str) -> StoreSettings:
        """For a store under this prefix of its bucket."""
        return StoreSettings(
            backend="s3",
            bucket=self.bucket,
            prefix=prefix,
            endpoint_url=self.endpoint_url,
            region=self.region,
            path_style=True,
            access_key=self.admin.access_key,
            secret_key=self.admin.secret_key,
            role="storage.ingestion_storage",
        )


def given_server(url: str) -> S3Server:
    """One that runs already: http://ACCESS_KEY:SECRET_KEY@HOST:PORT/BUCKET."""
    parts = urlsplit(url)
    keys = S3Keys(unquote(parts.username or ""), unquote(parts.password or ""))
    endpoint_url = f"{parts.scheme}://{parts.hostname}:{parts.port}"
    return S3Server(own_name(endpoint_url), endpoint_url, keys, parts.path.strip("/"))


def own_name(endpoint_url: str) -> str:
    """What the server says that it is; Ceph's gateway says so also where it stands in for another."""
    try:
        with urllib.request.urlopen(endpoint_url, timeout=10) as reply:
            said = reply.headers.get_all("Server", [])
    except urllib.error.HTTPError as error:
        said = error.headers.get_all("Server", [])
    text = ", ".join(said)
    known = {"SeaweedFS": "SeaweedFS", "Ceph": "Ceph RGW", "MinIO": "MinIO", "Werkzeug": "moto"}
    return next((name for mark, name in known.items() if mark in text), text or "an S3 server without a name")


class MotoServer:
    """moto as a process of its own; it keeps everything in memory, and holds nobody to a key."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "moto.log"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> S3Server:
        return S3Server("moto", f"http://127.0.0.1:{self._port}", ADMIN)

    def __enter__(self) -> Self:
        command = [sys.executable, "-W", "ignore", "-c", MOTO, "-H", "127.0.0.1", "-p", str(self._port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + MOTO_START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError(f"moto gave no answer; {self._log}:\n{self._log.read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.server.endpoint_url, timeout=5):
                return True
        except OSError:
            return False
