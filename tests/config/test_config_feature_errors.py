"""Mistakes in what is computed are told with their place, what was found and what is allowed there."""

from pathlib import Path

import pytest

from daedalus_common.config import ConfigError, load_config

MARKET = "ccxt: {exchanges: {kraken: {channels: {watchTrades: [BTC/USD]}}}}\n"
BOOK_OPTIONS = (
    "categories, book_levels, depth_levels, rolling_windows, bar_durations, emit_interval, ofi_decay_alpha, "
    "smart_depth_decay, kyle_window, vpin_bucket_size, vpin_buckets, regime_window"
)
TRADE_OPTIONS = (
    "tick_bar_size, volume_bar_size, dollar_bar_size, imbalance_bar_ticks, imbalance_bar_span, "
    "imbalance_bar_min_ticks, imbalance_bar_max_ticks"
)

BROKEN: dict[str, tuple[str, list[str]]] = {
    "more used than recorded levels": (
        MARKET + "features:\n  depth_levels: 60",
        ["config.yaml:3: features.depth_levels: more depth_levels than book_levels; "
         "found depth_levels 60, book_levels 50; allowed: depth_levels up to book_levels"],
    ),
    "more used than recorded levels of one market": (
        MARKET + "features:\n  markets:\n    kraken:BTC/USD:\n      book_levels: 10",
        ["config.yaml:5: features.markets.kraken:BTC/USD.book_levels: more depth_levels than book_levels; "
         "found depth_levels 20, book_levels 10; allowed: depth_levels up to book_levels"],
    ),
    "windows and bars that the grid does not divide": (
        "features:\n  emit_interval: 2.5\n  rolling_windows: [5, 7, 9]\n  bar_durations: [61, 65]\n"
        "  kyle_window: 301\n  regime_window: 901",
        ["config.yaml:3: features.rolling_windows: rolling_windows: no multiple of emit_interval; "
         "found 7 s, 9 s; allowed: multiples of emit_interval, 2.5 s",
         "config.yaml:4: features.bar_durations: bar_durations: no multiple of emit_interval; "
         "found 61 s; allowed: multiples of emit_interval, 2.5 s",
         "config.yaml:5: features.kyle_window: kyle_window: no multiple of emit_interval; "
         "found 301 s; allowed: multiples of emit_interval, 2.5 s",
         "config.yaml:6: features.regime_window: regime_window: no multiple of emit_interval; "
         "found 901 s; allowed: multiples of emit_interval, 2.5 s"],
    ),
    "a window of more rows than are kept": (
        "features:\n  emit_interval: 0.001\n  regime_window: 1001",
        ["config.yaml:2: features.emit_interval: more rows in the longest window than are kept; found 1,001,000 rows "
         "in 1001 s; allowed: 1,000,000 rows; take a longer emit_interval or shorter windows"],
    ),
    "an interval of no whole number of nanoseconds": (
        "features: {emit_interval: 1.0000000005}",
        ["config.yaml:1: features.emit_interval: no whole number of nanoseconds; found 1.0000000005; "
         "allowed: a number from 0.001 to 3,600"],
    ),
    "a market that is not recorded": (
        MARKET + "features:\n  markets:\n    kraken:BTC/USDT: {}",
        ["config.yaml:4: features.markets.kraken:BTC/USDT: no market of ccxt.exchanges; found 'kraken:BTC/USDT'; "
         "allowed: kraken:BTC/USD; did you mean kraken:BTC/USD?"],
    ),
    "options of a channel that has none": (
        "etl: {channels: {ticker: {processor_options: {depth_levels: 3}}}}",
        ["config.yaml:1: etl.channels.ticker.processor_options: the ticker channel has no options; "
         "set the parameters under features, for all channels of a market"],
    ),
    "an option of another channel": (
        "etl:\n  channels:\n    trades:\n      processor_options: {vpin_bucket_size: 3}\n"
        "    orderbook:\n      processor_options: {tick_bar_size: 3}",
        [f"config.yaml:4: etl.channels.trades.processor_options.vpin_bucket_size: unknown option of the trades "
         f"channel; found vpin_bucket_size; allowed: {TRADE_OPTIONS}; "
         "it belongs to the orderbook channel",
         f"config.yaml:6: etl.channels.orderbook.processor_options.tick_bar_size: unknown option of the orderbook "
         f"channel; found tick_bar_size; allowed: {BOOK_OPTIONS}; it belongs to the trades channel"],
    ),
    "durations for the trades alone": (
        "etl: {channels: {trades: {processor_options: {bar_durations: [60]}}}}",
        [f"config.yaml:1: etl.channels.trades.processor_options.bar_durations: unknown option of the trades channel; "
         f"found bar_durations; allowed: {TRADE_OPTIONS}; "
         "set it under features: the time bars of books and of trades have the same durations"],
    ),
    "a misspelt option of the trades": (
        "etl: {channels: {trades: {processor_options: {dolar_bar_size: 60}}}}",
        [f"config.yaml:1: etl.channels.trades.processor_options.dolar_bar_size: unknown option of the trades channel; "
         f"found dolar_bar_size; allowed: {TRADE_OPTIONS}; did you mean dollar_bar_size?"],
    ),
    "misspelt parameters of bars": (
        MARKET + "features:\n  tick_bars_size: 5\n  markets:\n    kraken:BTC/USD: {imbalance_bar_tick: 5}",
        [f"config.yaml:3: features.tick_bars_size: unknown key; found tick_bars_size; "
         f"allowed: {BOOK_OPTIONS}, {TRADE_OPTIONS}, markets; did you mean tick_bar_size?",
         f"config.yaml:5: features.markets.kraken:BTC/USD.imbalance_bar_tick: unknown key; found imbalance_bar_tick; "
         f"allowed: {BOOK_OPTIONS}, {TRADE_OPTIONS}; did you mean imbalance_bar_ticks?"],
    ),
    "sizes of bars that no bar can have": (
        "features:\n  tick_bar_size: 0\n  volume_bar_size: 0\n  dollar_bar_size: -1\n  imbalance_bar_span: 1.5",
        ["config.yaml:2: features.tick_bar_size: out of range; found 0; allowed: a whole number from 1 to 1,000,000",
         "config.yaml:3: features.volume_bar_size: out of range; found 0; allowed: a number from 1e-15 to 1e+15",
         "config.yaml:4: features.dollar_bar_size: out of range; found -1; allowed: a number from 1e-15 to 1e+15",
         "config.yaml:5: features.imbalance_bar_span: wrong type; found 1.5; "
         "allowed: a whole number from 1 to 1,000,000"],
    ),
    "a shortest imbalance bar above the longest": (
        "features:\n  imbalance_bar_max_ticks: 9",
        ["config.yaml:2: features.imbalance_bar_max_ticks: imbalance_bar_min_ticks is above imbalance_bar_max_ticks; "
         "found 10 and 9; allowed: imbalance_bar_min_ticks up to imbalance_bar_max_ticks"],
    ),
    "a shortest imbalance bar of one market above the longest of all": (
        MARKET + "etl:\n  channels:\n    trades:\n      processor_options: {imbalance_bar_max_ticks: 50}\n"
        "features:\n  markets:\n    kraken:BTC/USD:\n      imbalance_bar_min_ticks: 51",
        ["config.yaml:9: features.markets.kraken:BTC/USD.imbalance_bar_min_ticks: imbalance_bar_min_ticks is above "
         "imbalance_bar_max_ticks; found 51 and 50; allowed: imbalance_bar_min_ticks up to imbalance_bar_max_ticks"],
    ),
    "today's and the older name of one option": (
        "etl:\n  channels:\n    orderbook:\n      processor_options:\n"
        "        emit_interval: 1\n        hf_emit_interval: 5",
        ["config.yaml:6: etl.channels.orderbook.processor_options.hf_emit_interval: given twice; "
         "found today's name and an older one; allowed: emit_interval"],
    ),
    "a wrong value under an older name": (
        "etl:\n  channels:\n    orderbook:\n      processor_options:\n        hf_emit_interval: fast",
        ["config.yaml:5: etl.channels.orderbook.processor_options.hf_emit_interval: wrong type; found 'fast'; "
         "allowed: a number from 0.001 to 3,600"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_in_what_is_computed_is_explained(name: str, tmp_path: Path) -> None:
    text, expected = BROKEN[name]
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == expected
