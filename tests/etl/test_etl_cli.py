"""`daedalus etl` at the command line: what it prints, how it ends, what it refuses."""

import json
import random
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.batch import etl
from support.etl_runs import ETH, History, assert_holds, history, parts, write_history


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEDALUS__INGESTION__ENABLE_FSYNC", "false")


@pytest.fixture(scope="module")
def recorded() -> History:
    return history(days=2, count=600)


@pytest.fixture
def lake(tmp_path: Path, recorded: History) -> Path:
    write_history(tmp_path / "lake", recorded)
    return tmp_path / "lake"


def places(tmp_path: Path, lake: Path) -> list[str]:
    return ["--input", str(lake), "--output", str(tmp_path / "out"), "--state-dir", str(tmp_path / "state")]


def days_of(recorded: History) -> list[str]:
    """The UTC days of its events."""
    return sorted(
        {datetime.fromtimestamp(each.capture_ts // 10**9, UTC).date().isoformat() for each in recorded.events}
    )


def test_a_run_ends_with_a_table_per_market_and_table(tmp_path: Path, lake: Path, recorded: History) -> None:
    done = etl("run", "all", *places(tmp_path, lake))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["market", "table", "events", "rows", "parts", "MB", "missing", "rejected"]
    assert lines[1].split()[:2] == ["binanceus:BTC-USDT", f"{len(recorded.events):,}"]
    assert any(line.split()[0] == "silver/orderbook" for line in lines[2:])
    assert "…" not in done.stdout
    again = etl("run", "all", *places(tmp_path, lake))
    assert (again.returncode, again.stdout.split(":")[0]) == (0, "nothing to do")


def test_json_is_alone_on_stdout(tmp_path: Path, lake: Path, recorded: History) -> None:
    report = json.loads(etl("run", "all", *places(tmp_path, lake), "--json").stdout)
    (market,) = report["markets"]
    assert (market["symbol"], market["events"], market["missing"]) == ("BTC/USDT", len(recorded.events), 0)
    assert set(report) >= {"job", "input", "output", "seconds", "rejected"}
    assert market["tables"]["silver/trades"]["rows"] > 0


def test_a_backfill_sums_up_every_day(tmp_path: Path, lake: Path, recorded: History) -> None:
    done = etl("backfill", *places(tmp_path, lake))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["market", "day", "events"]
    end = next(number for number, line in enumerate(lines) if " events in " in line)
    days = [line.split()[-7] for line in lines[1:end]]
    assert days == days_of(recorded)
    assert_holds(tmp_path / "out", recorded)
    assert etl("backfill", *places(tmp_path, lake)).stdout.startswith("nothing to do")


def test_a_dry_run_writes_nothing(tmp_path: Path, lake: Path, recorded: History) -> None:
    done = etl("run", "all", *places(tmp_path, lake), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "binanceus:BTC-USDT" in done.stdout
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "state").exists()
    plan = json.loads(etl("run", "all", *places(tmp_path, lake), "--dry-run", "--json").stdout)
    assert plan["markets"][0]["days"] == days_of(recorded)


def test_a_configuration_names_the_places(tmp_path: Path, lake: Path, recorded: History) -> None:
    config = tmp_path / "daedalus.yaml"
    config.write_text(
        f"storage: {{etl_storage_input: {{base_dir: {lake}}}, etl_storage_output: {{base_dir: {tmp_path / 'out'}}}, "
        f"paths: {{state_dir: {tmp_path / 'state'}}}}}\n"
    )
    done = etl("run", "trades", "--config", config)
    assert done.returncode == 0, done.stderr
    assert_holds(tmp_path / "out", recorded, ["silver/trades"])
    assert list((tmp_path / "state" / "etl").rglob("*.checkpoint"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "trade"], "unknown target 'trade'.*did you mean trades"),
        (["run", "all", "--symbol", "BTC/USDC"], "--symbol BTC/USDC: .*did you mean BTC/USDT"),
        (["run", "all", "--exchange", "binance"], "--exchange binance: .*did you mean binanceus"),
        (["run", "all", "--date", "yesterday"], "no day such as 2026-02-03"),
        (["run", "all", "--from", "2026-02-03", "--to", "2026-02-01"], "ends"),
        (["run", "all", "--date", "2026-02-03", "--to", "2026-02-04"], "either --date"),
        (["run", "all", "--limit", "0"], "--limit 0"),
        (["run", "all", "--workers", "0"], "--workers 0"),
        (["run", "all", "--parameters", "mine"], "neither recorded nor config"),
        (["watch", "--poll-interval", "0"], "poll-interval"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, lake: Path, arguments: list[str], said: str) -> None:
    done = etl(*arguments, *places(tmp_path, lake))
    assert done.returncode == 2
    assert re.search(said, " ".join(done.stderr.replace("│", " ").split())), done.stderr
    assert parts(tmp_path / "out") == []


def test_places_that_cannot_be_are_refused(tmp_path: Path, lake: Path) -> None:
    missing = etl("run", "all", "--input", lake)
    assert (missing.returncode, "--output missing" in missing.stderr) == (2, True)
    nowhere = etl("run", "all", "--input", tmp_path / "nowhere", "--output", tmp_path / "out")
    assert (nowhere.returncode, "no such file or folder" in nowhere.stderr) == (2, True)
    (tmp_path / "empty").mkdir()
    empty = etl("run", "all", "--input", tmp_path / "empty", "--output", tmp_path / "out")
    assert (empty.returncode, "holds neither bronze/ nor NDJSON files" in empty.stderr) == (2, True)
    deeper = etl("run", "all", "--input", lake / "bronze" / "ccxt", "--output", tmp_path / "out")
    assert deeper.returncode == 2
    assert f"give the folder that holds it, {lake}" in deeper.stderr.replace("\n", " ")


def test_a_range_without_events_is_said_and_no_error(tmp_path: Path, lake: Path) -> None:
    done = etl("run", "all", *places(tmp_path, lake), "--from", "2031-01-01")
    assert (done.returncode, done.stderr) == (0, "")
    assert "there is no event in the range asked for" in done.stdout


def test_a_damaged_segment_is_quarantined_and_the_run_goes_on(tmp_path: Path, recorded: History) -> None:
    lake = tmp_path / "lake"
    keys = write_history(lake, recorded, history(ETH, seed=2, days=1, count=300))
    victim = random.Random(1).choice([key for key in keys if "/orderbook/" in key and "BTC" in key])
    (lake / victim).write_bytes((lake / victim).read_bytes()[:-100])
    done = etl("run", "all", *places(tmp_path, lake))
    assert done.returncode == 3, done.stderr
    assert f"quarantined: {victim}" in done.stdout.replace("\n", "")
    report = json.loads(etl("run", "all", *places(tmp_path, lake), "--json").stdout)
    btc = next(market for market in report["markets"] if market["symbol"] == "BTC/USDT")
    assert [bad["key"] for bad in btc["so_far"]["bad_segments"]] == [victim]
    assert btc["so_far"]["missing"] > 0
    assert etl("run", "all", *places(tmp_path, lake)).returncode == 3


def test_segments_are_deleted_only_by_a_run_of_all_tables(tmp_path: Path, recorded: History) -> None:
    lake, config = tmp_path / "lake", tmp_path / "daedalus.yaml"
    keys = write_history(lake, recorded)
    (lake / keys[5]).write_bytes(b"damaged")
    config.write_text("etl: {delete_after_processing: true}\n")
    one = etl("run", "trades", *places(tmp_path, lake), "--config", config)
    assert (one.returncode, "etl.delete_after_processing" in one.stderr) == (2, True)
    assert len(parts(lake)) == len(keys)
    every = etl("run", "all", *places(tmp_path, lake), "--config", config)
    assert every.returncode == 3, every.stderr
    kept = {key for key in keys if "/control/" in key} | {keys[5]}
    assert set(parts(lake)) == kept, "the damaged one is kept, and what tells the parameters"
    assert re.search(rf"\b{len(keys) - len(kept)} segments of Bronze were deleted", every.stdout)


def test_segments_are_deleted_by_a_run_of_all_enabled_tables(tmp_path: Path, lake: Path) -> None:
    config = tmp_path / "daedalus.yaml"
    config.write_text("etl: {delete_after_processing: true, channels: {ticker: {enabled: false}}}\n")
    few = etl("run", "orderbook", "bars", *places(tmp_path, lake), "--config", config)
    assert (few.returncode, "trades is left out" in few.stderr) == (2, True)
    every = etl("run", "orderbook", "trades", "bars", *places(tmp_path, lake), "--config", config)
    assert every.returncode == 0, every.stderr
    assert not [key for key in parts(lake) if "/orderbook/" in key]


def test_a_damaged_checkpoint_is_named_with_the_way_out(tmp_path: Path, lake: Path, recorded: History) -> None:
    etl("run", "trades", *places(tmp_path, lake))
    (file,) = (tmp_path / "state").rglob("*.checkpoint")
    file.write_bytes(file.read_bytes()[:-1])
    done = etl("run", "trades", *places(tmp_path, lake))
    assert done.returncode == 2
    assert str(file) in done.stderr.replace("\n", "")
    assert etl("run", "trades", *places(tmp_path, lake), "--restart").returncode == 2
    assert etl("run", "trades", *places(tmp_path, lake), "--restart", "--replace").returncode == 0
    assert_holds(tmp_path / "out", recorded, ["silver/trades"])


def test_a_disabled_channel_is_refused_and_left_out_of_all(tmp_path: Path, lake: Path) -> None:
    config = tmp_path / "daedalus.yaml"
    config.write_text("etl: {channels: {ticker: {enabled: false}}}\n")
    done = etl("run", "ticker", *places(tmp_path, lake), "--config", config)
    assert (done.returncode, "etl.channels.ticker.enabled is false" in done.stderr) == (2, True)
    assert etl("backfill", *places(tmp_path, lake), "--config", config).returncode == 0
    assert not (tmp_path / "out" / "silver" / "ticker").exists()


def test_ndjson_files_are_an_input(tmp_path: Path, recorded: History) -> None:
    lines = tmp_path / "events.ndjson"
    first = 1_770_000_000_000_000_000
    good = [
        {"channel": "trades", "exchange": "binanceus", "symbol": "BTC/USDT", "capture_ts": first + n * 10**9,
         "exchange_ts": None, "id": str(n), "price": 100.0 + n, "amount": 1.0, "side": "buy"}
        for n in range(200)
    ]  # fmt: skip
    texts = [json.dumps(line) for line in good]
    texts.insert(50, "{not json")
    lines.write_text("\n".join(texts) + "\n")
    done = etl("run", "trades", "--input", lines, "--output", tmp_path / "out", "--state-dir", tmp_path / "state")
    assert done.returncode == 3, done.stderr
    assert f"{lines}, line 51" in done.stdout.replace("\n", "")
    report = json.loads(
        etl(
            "run", "trades", "--input", lines, "--output", tmp_path / "out", "--state-dir", tmp_path / "state", "--json"
        ).stdout
    )
    assert (report["events"], report["bad_lines"]) == (0, 1)
    assert report["markets"][0]["so_far"]["rows"] == {"silver/trades": 200}
    watched = etl("watch", "--input", lines, "--output", tmp_path / "o")
    assert (watched.returncode, "watch reads Bronze" in watched.stderr) == (2, True)
    dated = etl("run", "trades", "--input", lines, "--output", tmp_path / "o", "--date", "2026-02-02")
    assert (dated.returncode, "NDJSON files have none" in dated.stderr.replace("\n", " ")) == (2, True)


def trades(symbol: str, count: int) -> list[str]:
    """Lines."""
    first = 1_770_000_000_000_000_000
    return [
        json.dumps(
            {"channel": "trades", "exchange": "binanceus", "symbol": symbol, "capture_ts": first + n * 10**9,
             "price": -1.0 if n == 7 else 100.0 + n, "amount": 1.0, "side": "buy"}
        )
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["s.ndjson", "nest/2026/s.ndjson"])
def test_a_folder_of_event_files_may_be_nested_and_whole_lines_go_into_a_pipe(tmp_path: Path, name: str) -> None:
    file = tmp_path / "lines" / name
    file.parent.mkdir(parents=True)
    file.write_text("\n".join([*trades("BTC/USDT", 50), *trades("\u00e9" * 40, 3)]) + "\n")
    folder = tmp_path / "lines"
    done = etl("run", "trades", *places(tmp_path, folder))
    assert done.returncode == 3, done.stderr
    assert "1 invalid events are in no feature: 1 trade" in done.stdout, done.stdout
    assert f"rejected line: {file}, line 51: its market's name takes more than 200 bytes in paths\n" in done.stdout


def test_inputs_that_are_no_event_files_are_refused_with_the_fix(tmp_path: Path, lake: Path) -> None:
    lines, notes = tmp_path / "s.ndjson", tmp_path / "notes.txt"
    lines.write_text("\n".join(trades("BTC/USDT", 50)))
    notes.write_text("note")
    out = ("--output", tmp_path / "out")
    for inputs, said in (
        ([notes], f"{notes}: event files are named *.ndjson"),
        ([lines, lake], f"--input {lake} holds Bronze: give it alone"),
        ([lines, tmp_path / "none"], f"{tmp_path / 'none'}: there is no such file or folder"),
    ):
        done = etl("run", "trades", *(each for path in inputs for each in ("--input", path)), *out)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_help_tells_examples_and_exit_codes() -> None:
    for command in ("run", "watch", "backfill"):
        text = " ".join(etl(command, "--help").stdout.split())
        assert "Examples: daedalus etl" in text
        assert "Exit codes: 0 done" in text
