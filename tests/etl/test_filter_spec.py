"""Which markets and days a filter lets through."""

from datetime import date

import pytest

from daedalus.etl.filters import FilterSpec
from daedalus_common.markets import Market

BTC = Market("binanceus", "BTC/USDT")
DAY = date(2026, 2, 3)


def test_an_empty_filter_lets_everything_through() -> None:
    everything = FilterSpec()
    assert everything.matches_market(BTC)
    assert everything.matches_day(DAY)
    assert everything.matches_month(2026, 2)
    assert everything.matches_year(1970)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        (FilterSpec(exchange="binanceus"), True),
        (FilterSpec(exchange="binance"), False),
        (FilterSpec(exchange="BINANCEUS"), False),
        (FilterSpec(symbol="BTC/USDT"), True),
        (FilterSpec(symbol="BTC-USDT"), True),
        (FilterSpec(symbol="BTC"), False),
        (FilterSpec(symbol="BTC/USD"), False),
        (FilterSpec(exchange="binanceus", symbol="BTC/USDT"), True),
        (FilterSpec(exchange="coinbase", symbol="BTC/USDT"), False),
    ],
)
def test_exchange_and_symbol_match_exactly(filters: FilterSpec, matches: bool) -> None:
    assert filters.matches_market(BTC) is matches


def test_a_contract_is_not_its_spot_market() -> None:
    assert not FilterSpec(symbol="BTC/USDT").matches_symbol("BTC/USDT:USDT")
    assert FilterSpec(symbol="BTC/USDT:USDT").matches_symbol("BTC-USDT_USDT")


def test_both_ends_of_a_range_of_days_belong_to_it() -> None:
    days = FilterSpec(begin=date(2026, 1, 31), end=date(2026, 2, 2))
    found = [day for day in range(1, 4) if days.matches_day(date(2026, 2, day))]
    assert found == [1, 2]
    assert days.matches_day(date(2026, 1, 31))
    assert not days.matches_day(date(2026, 1, 30))


def test_an_open_range_of_days_has_one_end() -> None:
    assert [FilterSpec(begin=DAY).matches_day(date(2026, 2, day)) for day in (2, 3, 4)] == [False, True, True]
    assert [FilterSpec(end=DAY).matches_day(date(2026, 2, day)) for day in (2, 3, 4)] == [True, True, False]


def test_months_and_years_match_if_one_of_their_days_does() -> None:
    days = FilterSpec(begin=date(2024, 2, 29), end=date(2024, 3, 1))
    assert [month for month in range(1, 13) if days.matches_month(2024, month)] == [2, 3]
    assert [year for year in (2023, 2024, 2025) if days.matches_year(year)] == [2024]
    assert not FilterSpec(begin=date(2025, 1, 1)).matches_month(2024, 12)


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ends \(2026-02-02\) before it begins \(2026-02-03\)"):
        FilterSpec(begin=DAY, end=date(2026, 2, 2))
