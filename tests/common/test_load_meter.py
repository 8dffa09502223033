"""A market's load is a mean over half a minute that begins with what its last owner told."""

import pytest

from daedalus_common.load_meter import LoadMeter
from daedalus_common.markets import Market

BTC, ETH = Market("binanceus", "BTC/USDT"), Market("binanceus", "ETH/USDT")


def fed(meter: LoadMeter, rate: int, begin: int, end: int) -> float | None:
    """The load at `end`, after `rate` events in each second."""
    load = None
    for second in range(begin, end):
        meter.count(BTC, rate)
        load = meter.load(BTC, second + 1.0)
    return load


def test_a_steady_rate_is_told_from_the_beginning_as_it_is() -> None:
    meter = LoadMeter()
    meter.begin(BTC, None, 0.0)
    assert fed(meter, 50, 0, 2) is None, "too early to tell"
    assert fed(meter, 50, 2, 5) == pytest.approx(50)
    assert fed(meter, 50, 5, 100) == pytest.approx(50)


def test_a_change_shows_with_a_time_constant_of_thirty_seconds() -> None:
    meter = LoadMeter()
    meter.begin(BTC, 100.0, 0.0)
    assert fed(meter, 0, 0, 30) == pytest.approx(100 / 2.71828, rel=0.01)


def test_a_burst_of_a_second_hardly_shows() -> None:
    meter = LoadMeter()
    meter.begin(BTC, 100.0, 0.0)
    assert fed(meter, 1000, 0, 1) == pytest.approx(130, rel=0.02)
    assert fed(meter, 100, 1, 60) == pytest.approx(104, rel=0.02)


def test_what_the_last_owner_told_stands_until_there_is_more() -> None:
    meter = LoadMeter()
    meter.begin(BTC, 80.0, 7.0)
    assert meter.load(BTC, 7.0) == 80.0
    assert meter.load(BTC, 7.0) == 80.0, "no time has passed"


def test_a_market_that_is_not_owned_has_no_load_and_the_total_leaves_it_out() -> None:
    meter = LoadMeter()
    meter.count(BTC, 10)
    assert meter.load(BTC, 1.0) is None
    meter.begin(BTC, 5.0, 1.0)
    meter.begin(ETH, None, 1.0)
    assert meter.total([BTC, ETH], 1.0) == 5.0
    meter.end(BTC)
    assert meter.load(BTC, 2.0) is None


def test_time_in_which_nothing_could_be_counted_tells_nothing() -> None:
    meter = LoadMeter()
    meter.begin(BTC, 80.0, 0.0)
    meter.begin(ETH, None, 0.0)
    for second in range(1, 600):
        for market in (BTC, ETH):
            meter.rest(market, float(second))
        assert meter.load(BTC, second + 0.0) == pytest.approx(80.0)
        assert meter.load(BTC, second + 0.9) == pytest.approx(80.0), "nor before it is told so again"
    assert meter.load(ETH, 599.0) is None
    meter.rest(Market("binanceus", "SOL/USDT"), 1.0)


def test_a_rest_keeps_what_was_counted_before_it() -> None:
    meter = LoadMeter()
    meter.begin(BTC, 100.0, 0.0)
    meter.count(BTC, 2000)
    meter.rest(BTC, 10.0)
    meter.rest(BTC, 500.0)
    assert meter.load(BTC, 500.0) == pytest.approx(128.3, rel=0.01)


def test_a_market_that_rested_first_is_learnt_from_then_on() -> None:
    meter = LoadMeter()
    meter.begin(BTC, None, 0.0)
    meter.rest(BTC, 10.0)
    meter.count(BTC, 200)
    assert meter.load(BTC, 10.05) is None, "4,000 a second?"
    assert fed(meter, 50, 10, 20) == pytest.approx(50, rel=0.5)


def test_a_rest_ends_with_what_is_counted_next() -> None:
    meter = LoadMeter()
    meter.begin(BTC, 100.0, 0.0)
    meter.rest(BTC, 10.0)
    assert meter.load(BTC, 20.0) == pytest.approx(100)
    meter.count(BTC, 0)
    assert meter.load(BTC, 50.0) == pytest.approx(100 / 2.71828, rel=0.01)
