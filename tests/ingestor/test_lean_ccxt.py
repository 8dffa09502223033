"""The lean imports give ccxt's very classes, and load little else."""

import subprocess
import sys

import orjson
import pytest

LEAN = "from daedalus_ingestor import lean_ccxt; lean_ccxt.install()\n"
DESCRIBE = """
import hashlib, importlib, json, sys
import psutil
import ccxt.pro
told = {}
for name in sys.argv[1:]:
    kind = getattr(ccxt.pro, name)
    exchange = kind({"newUpdates": True})
    parts = [exchange.describe(), exchange.urls, exchange.options, exchange.has]
    text = json.dumps(parts, sort_keys=True, default=lambda value: value.__name__)
    methods = sorted(m for m in dir(kind) if not m.startswith("__"))
    mro = [f"{c.__module__}.{c.__qualname__}" for c in kind.__mro__]
    told[name] = [hashlib.sha256(text.encode()).hexdigest(), methods, mro]
loaded = sum(m.startswith("ccxt.pro.") or m.startswith("ccxt.async_support.") for m in sys.modules)
errors = [ccxt.NetworkError is importlib.import_module("ccxt.base.errors").NetworkError]
errors.append(ccxt.pro.ChecksumError.__name__)
memory = psutil.Process().memory_info().rss
print(json.dumps({"told": told, "loaded": loaded, "errors": errors, "memory": memory}))
"""
BINANCE = ("binanceus", "binance")
OTHERS = ("okx", "myokx", "kraken", "coinbase", "bybit", "kucoin", "gate", "bitget", "htx", "mexc")


def described(script: str, *names: str) -> dict:
    answer = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, check=True, timeout=100)
    return orjson.loads(answer.stdout.splitlines()[-1])


def test_the_classes_are_the_same_as_with_all_of_ccxt():
    lean, full = described(LEAN + DESCRIBE, *BINANCE, *OTHERS), described(DESCRIBE, *BINANCE, *OTHERS)
    for name in (*BINANCE, *OTHERS):
        assert lean["told"][name] == full["told"][name], name
    assert lean["errors"] == full["errors"] == [True, "ChecksumError"]


def test_only_what_is_used_is_loaded():
    lean, full = described(LEAN + DESCRIBE, "binanceus"), described(DESCRIBE, "binanceus")
    assert lean["loaded"] < full["loaded"] / 4
    assert lean["memory"] < full["memory"] * 0.8


@pytest.mark.parametrize(
    "code",
    ["import ccxt.pro; ccxt.pro.nosuchexchange", "import ccxt; ccxt.nosuchname", "from ccxt.pro import nosuchexchange"],
)
def test_a_name_that_ccxt_does_not_have_is_an_error_as_ever(code):
    answer = subprocess.run([sys.executable, "-c", LEAN + code], capture_output=True, text=True, timeout=100)
    assert answer.returncode == 1
    assert "AttributeError" in answer.stderr or "ImportError" in answer.stderr


def test_where_ccxt_is_loaded_already_nothing_changes():
    code = "import ccxt.pro as before\n" + LEAN + "import sys; print(sys.modules['ccxt.pro'] is before)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert answer.stdout.strip() == "True"
