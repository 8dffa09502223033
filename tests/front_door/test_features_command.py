"""`daedalus features` tells what is computed, as the code has it, with the parameters of any market."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daedalus_features import FeatureConfig, catalogue, tables

CONFIG = """
ccxt:
  exchanges:
    binanceus:
      channels: {watchOrderBook: [BTC/USDT, ETH/USDT]}
features:
  depth_levels: 10
  rolling_windows: [5, 60]
  markets:
    binanceus:ETH/USDT: {depth_levels: 3, categories: [structural]}
etl: {channels: {ticker: {enabled: false}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    return str(file)


def features(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "daedalus", "features", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def shown(*arguments: str) -> list[dict[str, Any]]:
    done = features(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_the_list_is_the_catalogue() -> None:
    found = shown("list")
    assert [(item["table"], item["name"]) for item in found] == [
        (entry.table, entry.name) for entry in catalogue(FeatureConfig())
    ]
    stored = {
        f"{table.layer}/{table.name}": [column.name for column in table.columns] for table in tables(FeatureConfig())
    }
    listed: dict[str, list[str]] = {}
    for item in found:
        listed.setdefault(f"{item['layer']}/{item['table']}", []).extend(item["columns"])
    assert listed == stored


def test_a_line_of_the_list_holds_columns_table_unit_and_meaning() -> None:
    lines = features("list").stdout.splitlines()
    [ofi] = [line for line in lines if line.startswith("ofi ")]
    assert ofi.split()[:3] == ["ofi", "silver/orderbook", "base"]
    assert "Order-flow imbalance" in ofi
    assert any(line.startswith("bid_price_L0 … bid_price_L19 (20) ") for line in lines)


@pytest.mark.parametrize(
    ("options", "tables_", "categories"),
    [
        (["--table", "tick_bars"], {"tick_bars"}, {"bar"}),
        (["--category", "rolling"], {"orderbook"}, {"rolling"}),
        (["--channel", "ticker"], {"ticker"}, {"ticker"}),
        (["--channel", "orderbook", "--category", "bar"], {"bars"}, {"bar"}),
    ],
)
def test_the_list_can_be_narrowed(options: list[str], tables_: set[str], categories: set[str]) -> None:
    found = shown("list", *options)
    assert {item["table"] for item in found} == tables_
    assert {item["category"] for item in found} == categories


def test_the_parameters_are_those_of_the_configuration_and_of_the_market(config: str) -> None:
    common = shown("list", "--config", config)
    market = shown("list", "--config", config, "--market", "binanceus:ETH/USDT")
    assert "ticker" not in {item["table"] for item in common}
    assert next(item for item in common if item["name"] == "bid_price")["columns"][-1] == "bid_price_L9"
    assert next(item for item in common if item["name"] == "rv")["columns"] == ["rv_5s", "rv_60s"]
    assert next(item for item in market if item["name"] == "bid_price")["columns"][-1] == "bid_price_L2"
    assert not {"dynamic", "rolling"} & {item["category"] for item in market}


@pytest.mark.parametrize(("name", "feature"), [("bid_price_L3", "bid_price"), ("rv_60s", "rv"), ("vpin", "vpin")])
def test_a_column_finds_its_feature(name: str, feature: str) -> None:
    [found] = shown("describe", name)
    assert found["name"] == feature
    assert name in found["columns"]


def test_a_description_tells_everything() -> None:
    [found] = shown("describe", "spread_regime")
    assert (found["dtype"], found["labels"]) == ("category", ["tight", "normal", "wide"])
    assert (found["table"], found["layer"], found["channel"]) == ("orderbook", "silver", "orderbook")
    assert all(found[key] for key in ("definition", "inputs", "state", "unit", "category"))
    text = features("describe", "ofi").stdout
    for part in ("feature ", "ofi", "silver/orderbook", "Cont, Kukanov & Stoikov (2014)", "base", "float64", "dynamic"):
        assert part in text


def test_a_name_of_several_tables_is_told_for_each_of_them() -> None:
    assert {item["table"] for item in shown("describe", "vwap")} >= {"ticker", "trade_bars", "tick_bars"}
    assert [item["table"] for item in shown("describe", "vwap", "--table", "ticker")] == ["ticker"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "mid_prize"], "no feature or column mid_prize; did you mean mid_price?"),
        (["describe", "bid_price_L44"], "did you mean bid_price_L4?"),
        (["list", "--table", "tickbars"], "no table tickbars; did you mean tick_bars?"),
        (["list", "--category", "roling"], "no category roling; did you mean rolling?"),
        (
            ["list", "--market", "binanceus:BTC/USDT"],
            "no configured market binanceus:BTC/USDT; none is configured, see --config",
        ),
        (["list", "--config", "CONFIG", "--market", "binanceus:ETH-USDT"], "did you mean binanceus:ETH/USDT?"),
        (["list", "--config", "missing.yaml"], "missing.yaml: no such file"),
    ],
)
def test_an_unknown_name_ends_with_2_and_the_nearest_one(arguments: list[str], message: str, config: str) -> None:
    done = features(*(config if argument == "CONFIG" else argument for argument in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert not done.stdout


def test_help_shows_examples() -> None:
    for command in ("list", "describe"):
        assert f"daedalus features {command}" in features(command, "--help").stdout
