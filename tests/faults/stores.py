"""Where a run's Parquet goes: a folder, or a bucket of a real S3 server behind a gateway that fails on command."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from faults.tools.disk import FaultyDisk
from faults.tools.s3_faults import S3Faults, Written
from faults.tools.tcp_proxy import TcpProxy
from support.seaweedfs import ADMIN, SeaweedServer

BUCKET = "lake"
ROLES = ("ingestion_storage", "etl_storage_input", "etl_storage_output")


class LocalLake:
    """The data in `<folder>/data`; with `faulty` on a disk of its own."""

    def __init__(self, folder: Path, *, faulty: bool) -> None:
        self._folder = folder
        self.data = folder / "data"
        self.disk: FaultyDisk | None = None
        self._faulty = faulty

    def storage(self) -> dict[str, Any]:
        """The configuration's `storage` section."""
        return {role: {"backend": "local", "base_dir": str(self.data)} for role in ROLES}

    @contextmanager
    def watched(self) -> Iterator[dict[str, Written]]:
        """By its key, what became of each object meanwhile; it is told at the end."""
        before, written = self._objects(), dict[str, Written]()
        yield written
        after = self._objects()
        written |= dict.fromkeys(after.keys() - before.keys(), "created")
        written |= dict.fromkeys(before.keys() - after.keys(), "deleted")
        written |= {key: "replaced" for key in after.keys() & before.keys() if before[key] != after[key]}

    def _objects(self) -> dict[str, tuple[int, int]]:
        stats = {str(path.relative_to(self.data)): path.stat() for path in self.data.rglob("*.parquet")}
        return {key: (stat.st_size, stat.st_mtime_ns) for key, stat in stats.items()}

    def fetch(self) -> Path:
        """A folder that holds all data and stays."""
        if self.disk is None:
            return self.data
        return Path(shutil.copytree(self.data, self._folder / "fetched"))

    def __enter__(self) -> Self:
        self.data.mkdir(parents=True)
        if self._faulty:
            self.disk = FaultyDisk(self.data, 256, logs=lambda: sorted(self._folder.glob("writer-*.log")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.disk is not None:
            self.disk.close()


class S3Lake:
    """services -> `proxy` (the network's faults) -> `faults` (the server's) -> SeaweedFS."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "fetched"
        self.server = SeaweedServer(folder / "weed")
        self._exit = ExitStack()

    def storage(self) -> dict[str, Any]:
        s3 = {
            "bucket": BUCKET,
            "endpoint_url": f"http://127.0.0.1:{self.proxy.port}",
            "path_style": True,
            "access_key": ADMIN.access_key,
            "secret_key": ADMIN.secret_key,
        }
        return {role: {"backend": "s3", "s3": s3} for role in ROLES}

    @contextmanager
    def watched(self) -> Iterator[dict[str, Written]]:
        """As `LocalLake.watched`. To list 25,000 objects takes longer than a lease lasts."""
        written: dict[str, Written] = {}
        with self.faults.watched() as by_path:
            yield written
        written |= {path.removeprefix(f"/{BUCKET}/"): how for path, how in by_path.items()}

    def fetch(self) -> Path:
        """Downloads everything; the folder that holds it."""
        client = self.server.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)

        def download(key: str) -> None:
            path = self._folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(BUCKET, key, str(path))

        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(download, [item["Key"] for page in pages for item in page.get("Contents", ())]):
                pass
        return self._folder

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            starting.enter_context(self.server)
            self.server.create_bucket(BUCKET)
            self.faults = starting.enter_context(S3Faults(self.server.endpoint_url))
            self.proxy = starting.enter_context(TcpProxy(int(self.faults.url.rsplit(":", 1)[1])))
            self._exit = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, trace)
