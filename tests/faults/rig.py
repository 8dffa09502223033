"""One running pipeline: real processes, two replicas of each service, and something before each thing that fails."""

import json
import signal
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from daedalus_common.config import MarketSettings, parse_config
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from faults.evidence import Death
from faults.pipeline import CHANNELS, REPLICAS, ROLES, SYMBOLS, FaultStack, Replica
from faults.progress import Progress
from faults.setup import Setup
from faults.stores import LocalLake, S3Lake
from faults.tools.clock import FakeClock
from faults.tools.disk import FaultyDisk
from faults.tools.environments import joined
from faults.tools.older_build import OlderBuild
from faults.tools.tcp_proxy import TcpProxy
from faults.usage import UsageLog
from support.stack import Simulator
from support.valkey import ValkeyServer

STOP_SECONDS = 60.0
BEGIN_SECONDS = 15.0
SUPERVISION_SECONDS = 0.5
OLDER_ROLES = (Role.WRITER, Role.FEATURIZER)
"""The ingestor of the older build records trades again that a new subscriber is sent; see docs/reliability.md."""


class Rig:
    """Starts everything for one seed; `stop` leaves all data in the lake."""

    def __init__(self, folder: Path, seed: int, setup: Setup, rate: float = 12.0) -> None:
        self.folder = folder
        self.seed = seed
        self.setup = setup
        self.rate = rate
        folder.mkdir(parents=True, exist_ok=True)
        self.lake: LocalLake | S3Lake = S3Lake(folder) if setup.s3 else LocalLake(folder, faulty=setup.disks)
        self.stack = FaultStack(folder, self.lake)
        self.replicas: dict[str, Replica] = {}
        self.usage = UsageLog()
        self.deaths: list[Death] = []
        self.lock = threading.RLock()
        """Held while processes are started or ended."""
        self.aof_disk: FaultyDisk | None = None
        self.spool_disk: FaultyDisk | None = None
        self.service_clock: FakeClock | None = None
        self.server_clock: FakeClock | None = None
        self.spared: str | None = None
        """The number of the replicas that are not ended."""
        self._exit = ExitStack()
        self._over = threading.Event()

    # set up

    def __enter__(self) -> Self:
        try:
            enter = self._exit.enter_context
            enter(self.lake)
            if self.setup.disks:
                # Valkey's own log shall not lie on the disk that fills up.
                self.aof_disk = enter(FaultyDisk(self.folder / "aof", 512, logs=lambda: [self.server_log]))
                self.spool_disk = enter(FaultyDisk(self.folder / "spool", 128, logs=lambda: self._logs("ingestor")))
            if self.setup.clocks:
                self.service_clock = enter(FakeClock(self.folder / "service-clock"))
                self.server_clock = enter(FakeClock(self.folder / "server-clock"))
            self.older = OlderBuild(self.folder / "older").environment() if self.setup.older else {}
            self.stack.valkey = self._valkey()
            enter(self.stack)
            self.redis_proxy = enter(TcpProxy(self.stack.valkey.port))
            self.stack.redis_port = self.redis_proxy.port
            self.client = enter(self._client())
            self._exit.callback(self._resume_all)
            self._start_services()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.usage.stop()
        self._exit.__exit__(kind, error, trace)

    def _valkey(self) -> ValkeyServer:
        options = () if self.aof_disk is None else ("--dir", str(self.aof_disk.folder))
        env = {} if self.server_clock is None else self.server_clock.environment()
        return ValkeyServer(self.folder / "valkey", options, env=env)

    @property
    def server_log(self) -> Path:
        return self.folder / "valkey" / "server.log"

    @property
    def aof_folder(self) -> Path:
        """Where Valkey keeps its append-only file."""
        return self.stack.valkey.folder if self.aof_disk is None else self.aof_disk.folder

    def _logs(self, role: str) -> list[Path]:
        return sorted(self.folder.glob(f"{role}-*.log"))

    def _client(self) -> "redis.Redis":
        # Of the harness itself, past the proxy; a command that reads may be repeated.
        return redis.Redis.from_url(
            self.stack.valkey.url, socket_timeout=5, retry=Retry(ConstantBackoff(0.1), retries=3)
        )

    def _start_services(self) -> None:
        self.simulator: Simulator = self.stack.simulate(
            "--symbols", *SYMBOLS, "--seed", str(self.seed), "--levels", "50",
            "--depth-rate", f"{self.rate * 0.7:.2f}", "--depth-interval-ms", "0",
            "--trade-rate", f"{self.rate * 0.3:.2f}",
        )  # fmt: skip
        self.settings: tuple[MarketSettings, ...] = parse_config(self.stack.config).markets()
        self.markets: tuple[Market, ...] = tuple(each.market for each in self.settings)
        self.progress = Progress(self.client, self.markets)
        for role in ROLES:
            for number in REPLICAS:
                older = self.older if role in OLDER_ROLES else {}
                self.start(role, number, joined(older, self.clock_of(number)))
        self.usage.start()
        threading.Thread(target=self._supervise, daemon=True).start()

    def clock_of(self, number: str) -> dict[str, str]:
        """The environment of the replicas whose clock jumps: the first one of each service."""
        return self.service_clock.environment() if self.service_clock is not None and number == REPLICAS[0] else {}

    # processes

    def start(self, role: Role, number: str, env: Mapping[str, str] | None = None) -> Replica:
        """A replica under its name, whose former process has ended."""
        with self.lock:
            name = f"{role}-{number}"
            before = self.replicas.get(name)
            environment = dict(env) if env is not None else (before.env if before else {})
            replica = Replica(role, number, self.stack.start(role, number, environment), environment)
            self.replicas[name] = replica
            self.usage.follow(role, name, replica.service.pid)
            return replica

    def of(self, role: Role) -> list[Replica]:
        """The running replicas of a service, in the order of their names."""
        found = [r for r in self.replicas.values() if r.role == role and r.service.running]
        return sorted(found, key=lambda r: r.name)

    def pick(self, role: Role, rng: Random, *, to_end: bool = True) -> Replica:
        """A running one that owns a market, if any does; `to_end`: not one that is spared."""
        try:
            owners = set(self.progress.owners(role).values())
        except redis.RedisError:
            owners = set()  # another fault has taken Redis away
        running = [r for r in self.of(role) if not (to_end and r.number == self.spared)]
        return rng.choice([r for r in running if r.name in owners] or running)

    def kill(self, replica: Replica) -> None:
        """As a crash would end it."""
        with self.lock:
            replica.down = True
            self.usage.forget(replica.service.pid)
            replica.service.kill()

    def stop_replica(self, replica: Replica) -> int:
        """A clean stop; its exit code. Before it has begun a process knows no signals, and would not end cleanly."""
        deadline = time.monotonic() + BEGIN_SECONDS
        while replica.service.running and not replica.says(" started ") and time.monotonic() < deadline:
            time.sleep(0.02)
        with self.lock:
            replica.down = True
            self.usage.forget(replica.service.pid)
        return replica.service.stop()

    def _supervise(self) -> None:
        """Starts again what ended by itself, as a supervisor does, and keeps account of it."""
        while not self._over.wait(SUPERVISION_SECONDS):
            with self.lock:
                for replica in list(self.replicas.values()):
                    if not replica.service.running and not replica.down and not self._over.is_set():
                        self._bury(replica)
                        self.start(replica.role, replica.number)

    def _bury(self, replica: Replica) -> None:
        code = replica.service.stop()
        lines = replica.service.log.read_text(errors="replace").splitlines()
        last = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")
        self.usage.forget(replica.service.pid)
        self.deaths.append(Death(replica.role, replica.name, time.time_ns(), code, last.strip(" |")[:300]))

    def _resume_all(self) -> None:
        for replica in self.replicas.values():
            if replica.service.running:
                replica.signal(signal.SIGCONT)

    # waiting

    def wait_until_flowing(self, seconds: float = 60.0) -> None:
        """Every channel of every market is subscribed, each role has owners, and events pass all groups."""
        self.stack.wait_until(self._is_flowing, "the pipeline flows", seconds)

    def _is_flowing(self) -> bool:
        try:
            if not self.is_subscribed() or any("" in self.progress.owners(role).values() for role in ROLES):
                return False
            moved = self.progress.moved()
        except (OSError, redis.RedisError):
            return False
        return min(moved.published, moved.written, moved.featurized, moved.rows) > 20

    def is_subscribed(self) -> bool:
        """Every channel of every market, at the simulator."""
        subscriptions: Mapping[str, int] = self.simulator.status()["subscriptions"]
        return len(subscriptions) >= CHANNELS * len(SYMBOLS)

    # the end

    def stop(self) -> bytes:
        """Stops the market, then one service after the other when all is passed on; the simulator's ledger.

        One replica of each stays until the end, so that it owns every market and leaves nothing behind.
        """
        self.simulator.post("/control/stop")
        others = [replica for role in ROLES for replica in self.of(role)[:-1]]
        with ThreadPoolExecutor(len(others) + 1) as pool:
            ending = [pool.submit(self._ended, replica) for replica in others]
            self._wait_for_silence()
            for done in ending:
                done.result()
        self._stop_role(Role.INGESTOR)
        ledger = json.dumps(self.simulator.ledger()).encode()
        for role in (Role.FEATURIZER, Role.WRITER):
            self._stop_role(role)
        return ledger

    def _wait_for_silence(self) -> None:
        """Two seconds in which nothing but heartbeats came."""
        quiet, before = 0, -1
        deadline = time.monotonic() + STOP_SECONDS
        while quiet < 2 and time.monotonic() < deadline:
            time.sleep(1.0)
            now = sum(self.progress.sequences().values())
            quiet = quiet + 1 if now - before <= 2 * len(self.markets) else 0
            before = now

    def _stop_role(self, role: Role) -> None:
        [last] = self.of(role)
        self.stack.wait_until(
            lambda: set(self.progress.owners(role).values()) == {last.name}, f"{last.name} owns all", STOP_SECONDS
        )
        self.stack.wait_until(lambda: self._passed(role), f"{role} has passed everything", STOP_SECONDS)
        self._ended(last)

    def _passed(self, role: Role) -> bool:
        if role is Role.INGESTOR:
            return True
        return not [name for name in self.progress.lags() if name.endswith(f" {role}")]

    def _ended(self, replica: Replica) -> None:
        code = self.stop_replica(replica)
        if code != 0:
            raise AssertionError(f"{replica.name} ended with {code}\n{self.stack.logs()}")
