"""The summary: read from a simulator's ledger, told as a table and as JSON."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from daedalus.summary.ledger import Balance, Feed, Ledger, Sequence
from daedalus.summary.recording import table_of
from daedalus.summary.report import GapCount, Summary, TableCount, render_summary, to_json
from daedalus.summary.sent import LedgerError, parse_sent
from daedalus_common.config import MarketSettings
from daedalus_common.events import Channel
from daedalus_common.markets import Market

BTC = Market("binanceus", "BTC/USDT")
BOOKS, TRADES, TICKER = (Feed(BTC, channel) for channel in Channel)
RECORDED = [MarketSettings(BTC, (Channel.ORDERBOOK, Channel.TRADES))]


def channel(ids: list, sent: int | None = None, first: int = 0) -> dict:
    return {"generated": 9, "sent": len(ids) if sent is None else sent, "first": first, "ids": ids}


def ledger_of(**channels) -> bytes:
    snapshots = [{"last_update_id": 12, "depth_sent": 1}]
    symbol = {"id": "BTCUSDT", "channels": channels, "snapshots": snapshots}
    return json.dumps({"source": "synthetic", "symbols": {"BTC/USDT": symbol}, "faults": []}).encode()


def test_ids_and_snapshots_are_read_from_the_ledger():
    sent = parse_sent(ledger_of(depth=channel([[10, 11], [12, 15]]), trade=channel([7, 8])), RECORDED)
    assert sent.feeds[BOOKS].ids == ("11", "15")
    assert sent.feeds[BOOKS].snapshots == ("12",)
    assert sent.feeds[TRADES].ids == ("7", "8")
    assert sent.feeds[TRADES].snapshots == ()
    assert sent.problems == ()


@pytest.mark.parametrize(
    ("channels", "problem"),
    [
        ({"depth": channel([[1, 2]])}, "trades: nothing was sent"),
        ({"depth": channel([[1, 2]]), "trade": channel([5], sent=3, first=2)}, "forgot the first 2 ids of 3"),
        ({"depth": channel([[1, 2]]), "trade": channel([5]), "ticker": channel([9])}, "no configured channel records"),
    ],
)
def test_a_ledger_that_cannot_be_compared_in_full_is_a_problem(channels, problem):
    (found,) = parse_sent(ledger_of(**channels), RECORDED).problems
    assert problem in found


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"symbols": {"BTC/USDT": {}}}', b'{"symbols": 3}'])
def test_an_answer_that_is_no_ledger_is_refused(answer):
    with pytest.raises(LedgerError, match="cannot be read"):
        parse_sent(answer, RECORDED)


def balance(feed: Feed = TRADES, **changes) -> Balance:
    values = {"feed": feed, "sent": 10, "recorded": 8, "declared": 2, "missing": (), "double": (), "never_sent": ()}
    return Balance(**{**values, "disordered": (), **changes})


def summary(ledger: Ledger | None, **changes) -> Summary:
    values = {
        "demo": True,
        "started": datetime(2026, 2, 3, 14, 0, 0, 5000, tzinfo=UTC),
        "recorded_for": timedelta(seconds=60.25),
        "data_dir": "/d",
        "ledger": ledger,
        "tables": {"silver/orderbook": TableCount(60, 3, 9000), "bronze/ccxt/trades": TableCount(8, 2, 1000)},
        "gaps": GapCount({"start": 9, "overflow": 1}, lost=2),
        "drops": 2,
        "bad_frames": 1,
        "dead_letters": 0,
        "restarts": {"writer": 1},
    }
    return Summary(**{**values, **changes})


def text_of(value: Summary) -> str:
    out = io.StringIO()
    Console(file=out, width=140).print(render_summary(value))
    return out.getvalue()


def test_json_holds_the_documented_keys():
    sequence = Sequence(BTC, 1, 9, (), (), 0)
    found = json.loads(json.dumps(to_json(summary(Ledger((balance(),), (sequence,))))))
    assert found == {
        "result": "reconciled",
        "reconciled": True,
        "problems": [],
        "started": "2026-02-03T14:00:00.005+00:00",
        "seconds": 60.25,
        "mode": "demo",
        "data_dir": "/d",
        "feeds": [
            {
                "exchange": "binanceus", "symbol": "BTC/USDT", "channel": "trades",
                "sent": 10, "recorded": 8, "declared": 2,
                "missing": 0, "missing_ids": [], "double": 0, "double_ids": [],
                "never_sent": 0, "never_sent_ids": [], "disordered": 0, "disordered_ids": [],
            }
        ],
        "sequences": [
            {
                "exchange": "binanceus", "symbol": "BTC/USDT",
                "first": 1, "last": 9, "missing": 0, "double": 0, "lost": 0,
            }
        ],
        "totals": {"sent": 10, "recorded": 8, "declared": 2, "rows": 68, "files": 5, "bytes": 10_000},
        "tables": {
            "bronze/ccxt/trades": {"rows": 8, "files": 2, "bytes": 1000},
            "silver/orderbook": {"rows": 60, "files": 3, "bytes": 9000},
        },
        "not_counted": [],
        "gaps": {"count": 10, "lost": 2, "by_reason": {"overflow": 1, "start": 9}},
        "drops": 2,
        "bad_frames": 1,
        "dead_letters": 0,
        "restarts": {"writer": 1},
    }  # fmt: skip


def test_what_is_missing_or_double_is_listed():
    missing = tuple(map(str, range(1, 31)))
    value = summary(Ledger((balance(missing=missing, double=("5",)),)))
    found = to_json(value)
    assert found["reconciled"] is False
    assert found["feeds"][0]["missing"] == 30
    assert found["feeds"][0]["missing_ids"] == list(missing[:20])
    assert found["problems"] == [
        "binanceus:BTC-USDT trades: 30 sent, not recorded and in no declared gap: 1, 2, 3, 4, 5, …",
        "binanceus:BTC-USDT trades: 1 recorded twice: 5",
    ]
    assert text_of(value).rstrip().endswith("reconciled: no")


def test_a_hole_in_a_sequence_is_told():
    value = summary(Ledger((balance(),), (Sequence(BTC, 1, 9, ((3, 5),), (7,), 0),)))
    assert to_json(value)["problems"] == [
        "binanceus:BTC-USDT: 3 numbers of its sequence are in no row of Bronze (3-5) "
        "and 1 numbers are in more than one row"
    ]
    assert value.reconciled is False


def test_a_demo_whose_ledger_is_lost_is_not_reconciled():
    value = summary(None, problems=("it is not known what the simulator sent",))
    assert value.reconciled is False
    assert to_json(value)["totals"]["sent"] is None


def test_a_demo_with_a_problem_beside_a_clean_ledger_is_not_reconciled():
    assert summary(Ledger((balance(),)), problems=("the writer failed",)).reconciled is False


def test_a_live_run_is_recorded_and_has_nothing_to_reconcile_with():
    value = summary(None, demo=False)
    assert (value.reconciled, to_json(value)["result"]) == (None, "recorded")
    assert text_of(value).rstrip().endswith("recorded")


def test_the_table_says_what_was_stored():
    text = text_of(summary(Ledger((balance(),)), not_counted=("storage.etl_storage_output",)))
    line = next(line for line in text.splitlines() if "BTC-USDT trades" in line)
    assert line.split() == ["binanceus:BTC-USDT", "trades", "10", "8", "2", "0", "0", "0", "0"]
    assert "gaps 10 (1 overflow, 9 start)" in text
    assert "drops 2, bad frames 1, dead letters 0" in text
    assert "restarts 1 (writer 1)" in text
    assert "storage.etl_storage_output, which lie in S3" in text
    assert text.rstrip().endswith("reconciled: yes")


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("bronze/ccxt/trades/exchange=a/symbol=B/year=2026/segment_1.parquet", "bronze/ccxt/trades"),
        ("gold/bars/duration=60/exchange=a/symbol=B/year=2026/part_1.parquet", "gold/bars/duration=60"),
    ],
)
def test_tables_are_named_by_what_stands_before_the_market(key, table):
    assert table_of(key) == table
