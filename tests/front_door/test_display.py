"""The display as a function of a snapshot."""

import io
from datetime import timedelta

import pytest
from rich.console import Console

from daedalus.display.render import plain_line, render
from daedalus.display.snapshot import MarketSample, Sample, Snapshot, market_views
from daedalus.supervisor.process import Usage
from daedalus.supervisor.supervisor import ChildStatus, Notice, State
from daedalus_common.markets import Market

BTC = Market("binanceus", "BTC/USDT")
MIB = 1024 * 1024


def text_of(snapshot: Snapshot) -> str:
    out = io.StringIO()
    Console(file=out, width=120, force_terminal=False).print(render(snapshot))
    return out.getvalue()


def snapshot(**changes) -> Snapshot:
    before = Sample(10.0, (MarketSample(BTC, 1000),))
    now = Sample(12.0, (MarketSample(BTC, 1250, 12, 3, 60_123.45, 0.01),))
    values = {
        "phase": "recording",
        "elapsed": timedelta(seconds=15),
        "duration": timedelta(seconds=60),
        "redis": "redis://127.0.0.1:6379/0",
        "data_dir": "/somewhere/data",
        "markets": market_views(before, now),
        "services": (
            ChildStatus("writer", State.RUNNING, 4711, timedelta(seconds=75), 2, Usage(64 * MIB, 12.4)),
            ChildStatus("ingestor", State.WAITING, None, None, 1, None),
        ),
    }
    return Snapshot(**{**values, **changes})


def line_with(text: str, word: str) -> list[str]:
    return next(line for line in text.splitlines() if word in line).split()


def test_a_market_line_shows_rate_lags_mid_and_spread():
    assert line_with(text_of(snapshot()), "BTC-USDT") == [
        "binanceus:BTC-USDT",
        "1,250",
        "125.0",
        "12",
        "3",
        "60,123.45",
        "0.01",
    ]


def test_a_service_line_shows_state_pid_uptime_restarts_and_usage():
    text = text_of(snapshot())
    assert line_with(text, "writer  ") == ["writer", "running", "4711", "1m", "15s", "2", "12", "%", "64", "MiB"]
    assert line_with(text, "ingestor") == ["ingestor", "restarting", "–", "–", "1", "–", "–"]


def test_the_header_shows_how_far_the_run_has_come():
    text = text_of(snapshot())
    assert "15s of 1m 00s" in text
    assert "redis://127.0.0.1:6379/0" in text
    bar = next(line for line in text.splitlines() if "━" in line)
    assert snapshot().progress == 0.25
    assert bar.strip("━╸╺ ") == ""


def test_without_a_duration_there_is_no_progress_bar():
    text = text_of(snapshot(duration=None))
    assert "━" not in text
    assert "15s  recording" in text


def test_what_is_unknown_is_shown_as_unknown():
    views = market_views(None, Sample(1.0, (MarketSample(BTC, 0),)))
    assert line_with(text_of(snapshot(markets=views)), "BTC-USDT") == [
        "binanceus:BTC-USDT",
        "0",
        "–",
        "–",
        "–",
        "–",
        "–",
    ]


def test_notices_and_problems_are_shown():
    text = text_of(snapshot(notices=(Notice("writer", "ended unasked"),), problem="Redis does not answer: refused"))
    assert "writer ended unasked" in text
    assert "Redis does not answer: refused" in text


@pytest.mark.parametrize(("before", "now"), [(None, 5), (9, 5)], ids=["first", "gone back"])
def test_a_rate_needs_an_earlier_and_smaller_count(before, now):
    earlier = None if before is None else Sample(0.0, (MarketSample(BTC, before),))
    assert market_views(earlier, Sample(1.0, (MarketSample(BTC, now),)))[0].events_per_second is None


def test_the_plain_line_says_all_in_one_line():
    line = plain_line(snapshot(problem="Redis does not answer: refused"))
    assert line == (
        "15s of 1m 00s, recording: 1,250 events (125.0/s), lag writer 12 featurizer 3; ingestor restarting; "
        "Redis does not answer: refused"
    )


def test_the_plain_line_is_short_when_all_is_well():
    services = (ChildStatus("writer", State.RUNNING, 1, timedelta(), 0, None),)
    assert plain_line(snapshot(duration=None, services=services)).endswith("featurizer 3; all 1 services run")
