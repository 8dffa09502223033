"""Importing the configuration stays cheap on a small machine, and its list of exchanges stays true."""

import subprocess
import sys

import ccxt.pro
import pytest

from daedalus_common.config.exchanges import ALIASES, EXCHANGES, NAMES, ccxt_id

HEAVY = ("numpy", "polars", "pyarrow", "ccxt", "boto3", "botocore", "pandas", "redis", "typer")


@pytest.mark.parametrize("module", ["daedalus_common.config", "daedalus_common.telemetry"])
def test_no_heavy_package_is_imported(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_exchanges_are_those_of_the_installed_ccxt() -> None:
    assert set(ccxt.pro.exchanges) == EXCHANGES


def test_aliases_name_exchanges_and_hide_none() -> None:
    assert set(ALIASES.values()) <= EXCHANGES
    assert not set(ALIASES) & EXCHANGES
    assert EXCHANGES | set(ALIASES) == NAMES


def test_an_alias_becomes_ccxts_id_and_any_other_name_stays() -> None:
    assert ccxt_id("coinbaseadvanced") == "coinbase"
    assert ccxt_id("binanceus") == "binanceus"
