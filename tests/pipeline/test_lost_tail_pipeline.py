"""Redis comes back without the end of what it had: nothing is double, the loss is declared, and features begin anew."""

import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import redis

from daedalus.summary.reconcile import reconcile
from daedalus.summary.recording import objects_since, read_recording
from daedalus.summary.sent import parse_sent
from daedalus_common.config import parse_config
from daedalus_common.stores import StoreSettings, open_store
from support.lost_tail import check_features, cut_back, geneses, written_length
from support.offline import assert_silver_and_gold_follow_from_bronze, bronze
from support.stack import Service, Stack
from support.valkey import ValkeyServer

SYMBOL = "BTC/USDT"
MARKET = "binanceus:BTC-USDT"
PARTITION = "exchange=binanceus/symbol=BTC-USDT"
TABLES = ("orderbook", "trades", "ticker", "control")
SERVICES = ("writer", "featurizer", "ingestor")
CONFIG = {
    "ccxt": {
        "exchanges": {
            "binanceus": {"channels": {"watchOrderBook": [SYMBOL], "watchTrades": [SYMBOL], "watchTicker": [SYMBOL]}}
        }
    },
    "ingestion": {"flush_interval_seconds": 0.5, "reconnect_delay": 0.2},
    "features": {"bar_durations": [1, 60], "emit_interval": 0.25},
    "leases": {"ttl_seconds": 2.0, "renew_seconds": 0.5},
}


class Run:
    """A pipeline on one market, whose Redis loses its end while it records."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.started = datetime.now(UTC)
        self.services: dict[str, Service] = {name: stack.start(name) for name in ("writer", "featurizer")}
        stack.wait_until(lambda: stack.lag(MARKET, "raw", "featurizer") == 0, "the featurizer is there")
        self.simulator = stack.simulate(
            "--symbols", SYMBOL, "--seed", "5",
            "--depth-rate", "100", "--depth-interval-ms", "0", "--trade-rate", "20",
        )  # fmt: skip
        self.services["ingestor"] = stack.start("ingestor")
        stack.wait_until(lambda: self.durable > 200, "something is durable")

    @property
    def durable(self) -> int:
        """Rows in Bronze."""
        paths = [path for name in TABLES for path in (self.stack.data / "bronze" / "ccxt" / name).glob("**/*.parquet")]
        return sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in paths)

    def until_more(self, rows: int) -> None:
        goal = self.durable + rows
        self.stack.wait_until(lambda: self.durable >= goal, f"{rows} more rows are durable")

    def restart(self, *names: str) -> None:
        for name in names:
            self.services[name].kill()

    def start(self, *names: str) -> None:
        for name in names:
            self.services[name] = self.stack.start(name)

    def finish(self, *, began_anew: bool) -> None:
        if began_anew:
            self.stack.wait_until(lambda: len(self._geneses()) >= 2, "features begin anew")
        self.until_more(400)
        self.stack.stop_in_order()

    def _geneses(self) -> pl.DataFrame:
        return geneses(self.stack.data, PARTITION)

    def reconciled(self) -> None:
        """Fails unless every frame that was sent is in Bronze once, in order, or inside a declared gap."""
        markets = parse_config(self.stack.config).markets()
        sent = parse_sent(json.dumps(self.simulator.ledger()).encode(), markets)
        store = open_store(StoreSettings(backend="local", base_dir=self.stack.data))
        since = self.started - timedelta(minutes=1)
        objects = objects_since(store, ["bronze"], since)
        recording = read_recording(store, objects, [each.market for each in markets], since)
        for balance in reconcile(sent.feeds, recording.events, recording.gaps):
            assert balance.reconciled, balance
            assert balance.recorded > balance.sent / 4, "most of it was recorded"


def sequence(data: Path) -> pl.DataFrame:
    """All of Bronze in its order; keys are unique and times do not go back."""
    frames = [
        bronze(data, name, PARTITION).select("generation", "stream_ms", "stream_seq", "seq", "ts") for name in TABLES
    ]
    rows = pl.concat(frames).sort("generation", "stream_ms", "stream_seq")
    assert rows.select("generation", "seq").is_unique().all()
    assert rows["ts"].is_sorted()
    return rows


def reasons(data: Path, after: int) -> set[str]:
    """Of the gaps in generations after one."""
    control = bronze(data, "control", PARTITION).filter(pl.col("kind") == "gap", pl.col("generation") > after)
    return set(control["reason"].to_list())


def check(run: Run, reason: str) -> None:
    data = run.stack.data
    rows = sequence(data)
    assert rows["generation"].n_unique() >= 2
    assert reason in reasons(data, int(rows["generation"][0]))
    run.reconciled()
    found = geneses(data, PARTITION)
    assert len(found) >= 2, "once more where the loss is noticed only after features had begun anew on an empty server"
    after = check_features(data, PARTITION, int(found["ts"].dt.epoch("ns")[-1]))
    assert after["silver/orderbook"] > 3
    assert after["silver/trades"] > 3


def all_alive(run: Run, lose: Callable[[], None]) -> str:
    lose()
    return "server_lost"


def writer_restarted(run: Run, lose: Callable[[], None]) -> str:
    run.restart("writer")
    lose()
    run.start("writer")
    return "server_lost"


def all_restarted(run: Run, lose: Callable[[], None]) -> str:
    run.restart(*SERVICES)
    lose()
    run.start(*SERVICES)
    return "takeover"


@pytest.mark.e2e
@pytest.mark.timeout(240)
@pytest.mark.parametrize("circumstances", [all_alive, writer_restarted, all_restarted])
def test_an_append_only_file_that_was_cut_back(
    circumstances: Callable[[Run, Callable[[], None]], str], tmp_path: Path
) -> None:
    with Stack(tmp_path, CONFIG) as stack:
        run = Run(stack)
        length = written_length(stack.valkey)
        run.until_more(300)
        # In the midst of a command: the server cuts what is torn.
        reason = circumstances(run, lambda: cut_back(stack.valkey, length - 7))
        run.finish(began_anew=True)
        check(run, reason)


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_a_stale_replica_is_promoted(tmp_path: Path) -> None:
    with Stack(tmp_path, CONFIG) as stack:
        run = Run(stack)
        source = ("--replicaof", f"127.0.0.1 {stack.valkey.port}")
        replica = ValkeyServer(tmp_path / "replica", source)
        with replica, stack.client() as master:
            # WAIT is for the writes of its own connection: without one it counts a replica that is still empty.
            master.set("probe", "")
            stack.wait_until(lambda: bool(master.wait(1, 1000)), "the replica follows")
            with redis.Redis.from_url(replica.url) as promoted_early:
                promoted_early.replicaof("NO", "ONE")  # from here on it is stale
                assert promoted_early.xlen(f"{{{MARKET}}}:raw"), "it has what the master had until then"
            run.until_more(300)
            stack.valkey.kill()
            replica.stop()
        promoted = stack.valkey.folder.with_name("promoted")
        shutil.move(replica.folder, promoted)
        stack.valkey = ValkeyServer(promoted, port=stack.valkey.port)
        stack.valkey.start()
        run.finish(began_anew=True)
        check(run, "server_lost")


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_a_restart_that_loses_nothing_declares_nothing(tmp_path: Path) -> None:
    with Stack(tmp_path, CONFIG) as stack:
        run = Run(stack)
        run.until_more(200)
        stack.valkey.restart()
        run.finish(began_anew=False)
        rows = sequence(stack.data)
        assert rows["generation"].n_unique() == 2
        assert rows["seq"].to_list() == list(range(1, len(rows) + 1))
        assert set(bronze(stack.data, "control", PARTITION)["reason"].drop_nulls().to_list()) == {"start"}
        run.reconciled()
        assert len(geneses(stack.data, PARTITION)) == 1
        assert assert_silver_and_gold_follow_from_bronze(stack.data, PARTITION)["silver/orderbook"] > 10


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_an_emptied_server_is_filled_anew(tmp_path: Path) -> None:
    with Stack(tmp_path, CONFIG) as stack:
        run = Run(stack)
        time.sleep(1.0)
        cut_back(stack.valkey, 0)
        run.finish(began_anew=True)
        rows = sequence(stack.data)
        assert rows["generation"].n_unique() >= 2
        run.reconciled()
        found = geneses(stack.data, PARTITION)
        assert check_features(stack.data, PARTITION, int(found["ts"].dt.epoch("ns")[-1]))["silver/orderbook"] > 3
