"""The register: columns, units, documentation, and the parameters that shape them."""

import pytest

from daedalus_features import FeatureConfig, catalogue, catalogue_markdown, feature, table_of, tables
from daedalus_features.inputs import SampledBooks
from daedalus_features.units import parse_unit

DEFAULT = FeatureConfig()
ORDERBOOK = {
    "gap": "1",
    "snapshot_count": "1",
    "mid_price": "quote",
    "spread": "quote",
    "relative_spread": "1",
    "microprice": "quote",
    **{f"{side}_price_L{i}": "quote" for side in ("bid", "ask") for i in range(20)},
    **{f"{side}_size_L{i}": "base" for side in ("bid", "ask") for i in range(20)},
    **{f"imbalance_L{k}": "1" for k in (1, 3, 5, 10)},
    "total_imbalance": "1",
    **{
        f"{side}_vol_band_{band}bps": "base"
        for side in ("bid", "ask")
        for band in ("0_5", "5_10", "10_25", "25_50", "50_100")
    },
    "vwap_bid_5": "quote",
    "vwap_ask_5": "quote",
    "vwap_spread": "quote",
    "smart_bid_depth": "base",
    "smart_ask_depth": "base",
    "smart_depth_imbalance": "1",
    "bid_slope": "base/bps",
    "ask_slope": "base/bps",
    "center_of_gravity": "quote",
    "cog_vs_mid": "1",
    "lambda_like": "quote/base",
    "amihud_like": "1/quote",
    "bid_concentration": "1",
    "ask_concentration": "1",
    "ofi": "base",
    "mlofi": "base",
    "tfi": "base",
    "buy_volume": "base",
    "sell_volume": "base",
    "tfi_norm": "1",
    "trade_vwap": "quote",
    "trade_count": "1",
    "kyle_lambda": "quote/base",
    "vpin": "1",
    "mid_velocity": "quote/s",
    "mid_acceleration": "quote/s²",
    "spread_regime": "1",
    **{f"{name}_{h}s": "1" for h in (5, 15, 60, 300, 900) for name in ("rv", "mean_return", "mean_spread")},
    **{f"ofi_sum_{h}s": "base" for h in (5, 15, 60, 300, 900)},
}
BARS = {
    **dict.fromkeys(("open", "high", "low", "close", "mean_spread"), "quote"),
    **dict.fromkeys(("mean_relative_spread", "mean_l1_imbalance", "mean_total_imbalance"), "1"),
    **dict.fromkeys(("sum_ofi", "sum_mlofi"), "base"),
    **dict.fromkeys(("realized_variance", "daily_vol_ann", "snapshot_count", "row_count"), "1"),
    "bar_duration_sec": "s",
}
TRADES = {
    "price": "quote",
    "amount": "base",
    "direction": "1",
    "dollar_volume": "quote",
    "log_return": "1",
    "inter_trade_ms": "ms",
}
TICKER = {
    **dict.fromkeys(("mid_price", "spread", "bid", "ask", "last", "open", "high", "low", "vwap"), "quote"),
    **dict.fromkeys(("relative_spread", "last_vs_mid"), "1"),
    **dict.fromkeys(("bid_size", "ask_size", "base_volume"), "base"),
    "quote_volume": "quote",
}
TRADE_BARS = {
    **dict.fromkeys(("open", "high", "low", "close", "vwap", "notional"), "quote"),
    **dict.fromkeys(("volume", "buy_volume", "sell_volume"), "base"),
    "trade_count": "1",
}
TABLES = {
    "orderbook": ORDERBOOK,
    "trades": TRADES,
    "ticker": TICKER,
    "bars": BARS,
    "trade_bars": {**TRADE_BARS, "bar_duration_sec": "s"},
    "tick_bars": TRADE_BARS,
    "volume_bars": TRADE_BARS,
    "dollar_bars": TRADE_BARS,
    "tick_imbalance_bars": TRADE_BARS,
    "volume_imbalance_bars": TRADE_BARS,
    "dollar_imbalance_bars": TRADE_BARS,
}


@pytest.mark.parametrize(("name", "expected"), TABLES.items())
def test_a_table_has_the_columns_and_units_of_the_contract(name, expected):
    assert {column.name: column.unit for column in table_of(name, DEFAULT).columns} == expected


def test_types_other_than_float_are_flags_counts_and_the_regime():
    types = {column.name: column.dtype for table in tables(DEFAULT) for column in table.columns}
    assert {name: dtype for name, dtype in types.items() if dtype != "float64"} == {
        "gap": "bool",
        "direction": "int64",
        "snapshot_count": "int64",
        "trade_count": "int64",
        "spread_regime": "category",
        "row_count": "int64",
        "bar_duration_sec": "int64",
    }
    (regime,) = (column for column in table_of("orderbook", DEFAULT).columns if column.name == "spread_regime")
    assert regime.labels == ("tight", "normal", "wide")


def test_tables_come_in_order_and_say_which_layer_they_belong_to():
    silver = {"orderbook", "trades", "ticker"}
    expected = [(name, "silver" if name in silver else "gold") for name in TABLES]
    assert [(table.name, table.layer) for table in tables(DEFAULT)] == expected


def test_the_catalogue_covers_every_column_of_every_table():
    listed = {(entry.table, column) for entry in catalogue(DEFAULT) for column in entry.columns}
    assert listed == {(table.name, column) for table in tables(DEFAULT) for column in table.columns}


@pytest.mark.parametrize("name", ["dollar_volume", "notional", "quote_volume"])
def test_money_scales_with_prices_and_with_sizes(name):
    powers = {(entry.unit.quote, entry.unit.base) for entry in catalogue(DEFAULT) if entry.name == name}
    assert powers == {(1, 1)}


def test_parameters_shape_the_columns():
    names = table_of("orderbook", FeatureConfig(depth_levels=2, rolling_windows=(7,))).index
    assert "bid_price_L1" in names
    assert "bid_price_L2" not in names
    assert {name for name in names if name.startswith("rv_")} == {"rv_7s"}


@pytest.mark.parametrize(
    ("category", "present", "absent"),
    [("structural", "mid_price", "ofi"), ("dynamic", "spread_regime", "rv_5s"), ("rolling", "rv_5s", "mid_price")],
)
def test_a_category_switched_off_takes_its_columns_along(category, present, absent):
    names = table_of("orderbook", FeatureConfig(categories=(category,))).index
    assert {"gap", "snapshot_count", present} <= names.keys()
    assert absent not in names


def test_every_feature_says_what_it_means_reads_and_remembers():
    for entry in catalogue(DEFAULT):
        assert entry.meaning
        assert entry.inputs
        assert entry.state
        assert entry.columns


@pytest.mark.parametrize(
    ("unit", "powers"),
    [("1", (0, 0)), ("quote", (1, 0)), ("quote/base", (1, -1)), ("base/bps", (0, 1)), ("quote/s²", (1, 0))],
)
def test_a_unit_spells_its_powers(unit, powers):
    parsed = parse_unit(unit)
    assert (parsed.quote, parsed.base) == powers


@pytest.mark.parametrize("unit", ["quotes", "quote/base/s", "", "quote*base"])
def test_an_unknown_unit_is_refused(unit):
    with pytest.raises(ValueError, match="unit"):
        parse_unit(unit)


def test_a_feature_needs_a_name_of_its_own_and_a_meaning():
    def spread(book: SampledBooks):
        """Taken."""

    def nameless(book: SampledBooks):
        pass

    with pytest.raises(ValueError, match="spread of table orderbook is registered twice"):
        feature(unit="quote")(spread)
    with pytest.raises(ValueError, match="nameless has no docstring"):
        feature(unit="quote")(nameless)


def test_a_feature_needs_columns_of_its_own():
    def imbalance_of_five(book: SampledBooks):
        """Taken, under another name."""

    with pytest.raises(ValueError, match="imbalance_of_five: table orderbook has a column imbalance_L5 already"):
        feature(unit="1", columns=lambda _: ("imbalance_L4", "imbalance_L5"))(imbalance_of_five)


def test_the_markdown_lists_every_feature_with_its_unit_and_reference():
    text = catalogue_markdown(DEFAULT)
    lines = text.splitlines()
    (ofi,) = (line for line in lines if line.startswith("| `ofi` |"))
    assert "Cont, Kukanov & Stoikov (2014)" in ofi
    assert "| base |" in ofi
    assert "`bid_price_L0` … `bid_price_L19`" in text
    assert sum(line.startswith("| `") for line in lines) == len(catalogue(DEFAULT))
    headings = [line for line in lines if line.startswith("#")]
    assert headings == [
        "# Features",
        "## Order-book rows (Silver)",
        "### Row",
        "### Structural",
        "### Dynamic",
        "### Rolling",
        "## Trades (Silver)",
        "### Trade",
        "## Tickers (Silver)",
        "### Ticker",
        "## Time bars of the order book (Gold)",
        "### Bar",
        "## Time bars of trades (Gold)",
        "### Bar",
        "## Tick bars (Gold)",
        "### Bar",
        "## Volume bars (Gold)",
        "### Bar",
        "## Dollar bars (Gold)",
        "### Bar",
        "## Tick imbalance bars (Gold)",
        "### Bar",
        "## Volume imbalance bars (Gold)",
        "### Bar",
        "## Dollar imbalance bars (Gold)",
        "### Bar",
    ]
