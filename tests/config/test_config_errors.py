"""Every mistake is told with its place, what was found, what is allowed, and the nearest valid name."""

import json
from pathlib import Path
from typing import Any

import pytest

from daedalus_common.config import ConfigError, Problem, load_config, parse_config


def problems_of(text: str | bytes, folder: Path) -> tuple[Problem, ...]:
    file = folder / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    return caught.value.problems


def lines_of(text: str | bytes, folder: Path) -> list[str]:
    return [str(problem).removeprefix(f"{folder}/") for problem in problems_of(text, folder)]


BROKEN: dict[str, tuple[str, list[str]]] = {
    "an unknown section": (
        "redsi: {}",
        ["config.yaml:1: redsi: unknown key; found redsi; allowed: log_level, log_format, redis, ccxt, ingestion, "
         "storage, etl, features, leases, writer, featurizer, compactor, telemetry, supervisor; did you mean redis?"],
    ),
    "an unknown key": (
        "leases:\n  ttl_second: 3",
        ["config.yaml:2: leases.ttl_second: unknown key; found ttl_second; "
         "allowed: ttl_seconds, renew_seconds; did you mean ttl_seconds?"],
    ),
    "text for a whole number": (
        "ingestion:\n  batch_size: many",
        ["config.yaml:2: ingestion.batch_size: wrong type; found 'many'; allowed: a whole number from 1 to 2,000"],
    ),
    "a quoted number": (
        'ingestion:\n  batch_size: "100"',
        ["config.yaml:2: ingestion.batch_size: wrong type; found '100'; "
         "allowed: a whole number from 1 to 2,000; remove the quotes"],
    ),
    "a fraction for a whole number": (
        "etl: {compression_level: 2.5}",
        ["config.yaml:1: etl.compression_level: wrong type; found 2.5; allowed: a whole number from 1 to 22"],
    ),
    "a flag for a number": (
        "ingestion: {queue_maxsize: yes}",
        ["config.yaml:1: ingestion.queue_maxsize: wrong type; found true; "
         "allowed: a whole number from 100 to 10,000,000"],
    ),
    "a number for a flag": (
        "ingestion: {auto_reconnect: 1}",
        ["config.yaml:1: ingestion.auto_reconnect: wrong type; found 1; allowed: true or false"],
    ),
    "an unquoted number for text": (
        "redis:\n  username: 42",
        ["config.yaml:2: redis.username: wrong type; found 42; allowed: text, or null; put it in quotes"],
    ),
    "a list for a section": (
        "redis: [a]",
        ["config.yaml:1: redis: wrong type; found a list: ['a']; allowed: a section with url, cluster, username, "
         "password, password_file, socket_timeout_seconds"],
    ),
    "a number out of range": (
        "writer:\n  upload_threads: 0",
        ["config.yaml:2: writer.upload_threads: out of range; found 0; allowed: a whole number from 1 to 64"],
    ),
    "a number that is not finite": (
        "leases: {ttl_seconds: .inf}",
        ["config.yaml:1: leases.ttl_seconds: out of range; found inf; allowed: a number from 0.2 to 300"],
    ),
    "rows that would vanish before live readers see them": (
        "featurizer: {keep_rows_seconds: 10}",
        ["config.yaml:1: featurizer.keep_rows_seconds: out of range; found 10; allowed: a number from 600 to 86,400"],
    ),
    "an unknown choice": (
        "log_level: info",
        ["config.yaml:1: log_level: unknown value; found 'info'; "
         "allowed: DEBUG, INFO, WARNING, ERROR, CRITICAL; did you mean INFO?"],
    ),
    "an unknown exchange": (
        "ccxt:\n  exchanges:\n    binancus:\n      channels: {watchTrades: [BTC/USDT]}",
        ["config.yaml:3: ccxt.exchanges.binancus: unknown exchange; found 'binancus'; allowed: an exchange id of "
         "ccxt.pro, such as binance, binanceus, coinbase, kraken or okx; did you mean binanceus?"],
    ),
    "an unknown channel of an exchange": (
        "ccxt:\n  exchanges:\n    kraken:\n      channels:\n        watchTrades: [A/B]\n        watchOrderbooks: [A/B]",
        ["config.yaml:6: ccxt.exchanges.kraken.channels.watchOrderbooks: unknown channel; found watchOrderbooks; "
         "allowed: watchOrderBook, watchTrades, watchTicker; did you mean watchOrderBook?"],
    ),
    "an unknown channel of etl": (
        "etl: {channels: {trade: {}}}",
        ["config.yaml:1: etl.channels.trade: unknown channel; found trade; allowed: orderbook, trades, ticker; "
         "did you mean trades?"],
    ),
    "an empty symbol list": (
        "ccxt: {exchanges: {kraken: {channels: {watchTrades: []}}}}",
        ["config.yaml:1: ccxt.exchanges.kraken.channels.watchTrades: empty; found a list: []; allowed: a list of at "
         "least one item, each a symbol as ccxt writes it, such as BTC/USDT or BTC/USDT:USDT, or null"],
    ),
    "an exchange without channels": (
        "ccxt: {exchanges: {kraken: {max_orderbook_depth: 10}}}",
        ["config.yaml:1: ccxt.exchanges.kraken.channels: missing key; "
         "allowed: a section with watchOrderBook, watchTrades, watchTicker"],
    ),
    "an exchange whose channels are all left out": (
        "ccxt:\n  exchanges:\n    kraken:\n      channels:",
        ["config.yaml:4: ccxt.exchanges.kraken.channels: no symbols; "
         "allowed: at least one of watchOrderBook, watchTrades, watchTicker with symbols"],
    ),
    "one symbol where a list belongs": (
        "ccxt: {exchanges: {kraken: {channels: {watchTrades: BTC/USD}}}}",
        ["config.yaml:1: ccxt.exchanges.kraken.channels.watchTrades: wrong type; found 'BTC/USD'; allowed: a list of "
         "at least one item, each a symbol as ccxt writes it, such as BTC/USDT or BTC/USDT:USDT, or null"],
    ),
    "a symbol as exchanges write it": (
        "ccxt: {exchanges: {kraken: {channels: {watchTrades: [A/B,\n btc-usd]}}}}",
        ["config.yaml:2: ccxt.exchanges.kraken.channels.watchTrades[1]: no symbol; found 'btc-usd'; allowed: a symbol "
         "as ccxt writes it, such as BTC/USDT or BTC/USDT:USDT; did you mean BTC/USD?"],
    ),
    "a symbol that would leave its directory": (
        "ccxt: {exchanges: {kraken: {channels: {watchTrades: [../../etc]}}}}",
        ["config.yaml:1: ccxt.exchanges.kraken.channels.watchTrades[0]: no symbol; found '../../etc'; "
         "allowed: a symbol as ccxt writes it, such as BTC/USDT or BTC/USDT:USDT"],
    ),
    "a symbol twice": (
        "ccxt: {exchanges: {kraken: {channels: {watchTicker: [A/B, C/D, A/B]}}}}",
        ["config.yaml:1: ccxt.exchanges.kraken.channels.watchTicker: listed more than once: A/B; "
         "found a list: ['A/B', 'C/D', 'A/B']; allowed: a list of at least one item, each a symbol as ccxt writes it, "
         "such as BTC/USDT or BTC/USDT:USDT, or null"],
    ),
    "two symbols with one path": (
        "ccxt: {exchanges: {kraken: {channels: {watchTrades: [A-B/C], watchTicker: [A/B-C]}}}}",
        ["config.yaml:1: ccxt.exchanges.kraken.channels: these symbols share the path A-B-C; "
         "found A-B/C, A/B-C; allowed: one of them"],
    ),
    "a bucket that is missing": (
        "storage:\n  etl_storage_output:\n    backend: s3",
        ["config.yaml:3: storage.etl_storage_output.backend: backend s3 needs a section s3; "
         "allowed: s3: {bucket: NAME}"],
    ),
    "a bucket without a name": (
        "storage:\n  etl_storage_output:\n    backend: s3\n    s3: {region: eu-west-1}",
        ["config.yaml:4: storage.etl_storage_output.s3.bucket: missing key; "
         "allowed: a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens"],
    ),
    "an access key without its secret": (
        "storage: {ingestion_storage: {s3: {bucket: lake, access_key: AKIA}}}",
        ["config.yaml:1: storage.ingestion_storage.s3.access_key: access_key without secret_key; "
         "allowed: both, or neither for boto3's own search"],
    ),
    "a level that the codec lacks": (
        "etl: {compression: gzip, compression_level: 12}",
        ["config.yaml:1: etl.compression_level: out of range for gzip; found 12; allowed: a whole number from 1 to 9"],
    ),
    "a lease that one lost renewal ends": (
        "leases: {renew_seconds: 6}",
        ["config.yaml:1: leases.renew_seconds: a lease must survive one lost renewal; "
         "found renew_seconds 6, ttl_seconds 10; allowed: renew_seconds up to half of ttl_seconds"],
    ),
    "a first delay above the last": (
        "ingestion: {reconnect_delay: 61}",
        ["config.yaml:1: ingestion.reconnect_delay: reconnect_delay is above max_reconnect_delay; "
         "found 61 and 60; allowed: reconnect_delay up to max_reconnect_delay"],
    ),
    "a port for two services": (
        "telemetry:\n  ports:\n    writer: 9101",
        ["config.yaml:3: telemetry.ports.writer: one port for several services; "
         "found 9101 for ingestor, writer; allowed: a port each"],
    ),
    "a URL of another scheme": (
        "redis: {url: 'http://user:hidden@cache'}",
        ["config.yaml:1: redis.url: no redis:// or rediss:// or unix:// URL; found 'http://user:***@cache'; "
         "allowed: redis://HOST:PORT/DB, rediss://… or unix:///PATH"],
    ),
    "a URL whose password is not encoded": (
        "redis: {url: 'redis://:pa/ss@cache:6379/0'}",
        ["config.yaml:1: redis.url: no usable URL; found 'redis://:***@cache:6379/0'; "
         "allowed: redis://HOST:PORT/DB, rediss://… or unix:///PATH; "
         "its port is no number, or its password needs percent-encoding"],
    ),
    "a password in two places": (
        "redis: {url: 'redis://:a@cache', password: b}",
        ["config.yaml:1: redis.password: given twice; found a password here and in redis.url; allowed: one of the two"],
    ),
    "a key of the older layout": (
        "storage:\n  paths:\n    ready_subdir: ready",
        ["config.yaml:3: storage.paths.ready_subdir: no longer a key; removed: objects are created once, "
         "under bronze/, silver/, gold/ and quality/ below base_dir"],
    ),
    "partitions of the older layout": (
        "etl:\n  channels:\n    ticker:\n      partition_cols: [date]",
        ["config.yaml:4: etl.channels.ticker.partition_cols: no longer a key; removed: the partitions are fixed, "
         "exchange/symbol/year/month/day, so that every reader and the compactor can rely on them"],
    ),
    "a key twice": (
        "log_level: INFO\nredis:\n  url: redis://a\n  url: redis://b",
        ["config.yaml:4: redis.url: duplicate key; found url; it stands on line 3 already; remove one of the two"],
    ),
    "a key that YAML takes for a flag": (
        "redis: {on: 1}",
        ['config.yaml:1: redis.on: a key that is no text; found on; put it in quotes: "on"'],
    ),
    "a value that contains itself": (
        "ccxt: &a\n  exchanges: *a",
        ["config.yaml:1: ccxt.exchanges: contains itself; remove the YAML alias"],
    ),
    "broken YAML": (
        "redis:\n  url: [redis://a\nlog_level: INFO",
        ["config.yaml:3: YAML syntax: while parsing a flow sequence, expected ',' or ']', but got ':' (column 10)"],
    ),
    "a tab": ("redis:\n\turl: x", ["config.yaml:2: YAML syntax: while scanning for the next token, "
                                   "found character '\\t' that cannot start any token (column 1)"]),
    "a date that does not exist": ("log_level: 2026-13-01", ["config.yaml: YAML syntax: month must be in 1..12"]),
    "an empty file": ("", ["config.yaml: the file is empty; allowed: a YAML mapping of sections"]),
    "only comments": ("# later", ["config.yaml: the file is empty; allowed: a YAML mapping of sections"]),
    "a list": ("- a", ["config.yaml:1: not a mapping; found a list; allowed: a YAML mapping of sections"]),
    "one word": ("hello", ["config.yaml:1: not a mapping; found a single value; allowed: a YAML mapping of sections"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_is_explained(name: str, tmp_path: Path) -> None:
    text, expected = BROKEN[name]
    assert lines_of(text, tmp_path) == expected


def test_bytes_that_are_no_utf8_are_told_with_their_line(tmp_path: Path) -> None:
    assert lines_of(b"log_level: INFO\nredis: {username: M\xfcller}", tmp_path) == ["config.yaml:2: not UTF-8 text"]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "is a directory; allowed: a YAML file")):
        with pytest.raises(ConfigError) as caught:
            load_config(path, {})
        assert str(caught.value) == f"1 problem in the configuration:\n  {path}: {reason}"


def test_deep_nesting_ends_in_a_problem_not_in_a_crash(tmp_path: Path) -> None:
    assert lines_of("a: " + "[" * 5000, tmp_path) == ["config.yaml: nested too deeply"]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
log_level: loud
ccxt:
  exchanges:
    binancus:
      max_orderbook_depth: deep
      channels: {watchOrderBook: [A/B, A/B, nothing]}
    kraken:
      channels: {watchTrades: [C/D]}
ingestion: {reconnect_delay: 100, batch_size: 0}
storage: {ingestion_storage: {backend: s3, s3: {bucket: Not A Bucket}}}
features:
  depth_levels: 60
  markets: {"kraken:C/E": {kyle_window: "1"}}
"""
    problems = problems_of(text, tmp_path)
    assert [(problem.line, problem.path, problem.message) for problem in problems] == [
        (1, "log_level", "unknown value"),
        (4, "ccxt.exchanges.binancus", "unknown exchange"),
        (5, "ccxt.exchanges.binancus.max_orderbook_depth", "wrong type"),
        (6, "ccxt.exchanges.binancus.channels.watchOrderBook[2]", "no symbol"),
        (6, "ccxt.exchanges.binancus.channels.watchOrderBook", "listed more than once: A/B"),
        (9, "ingestion.batch_size", "out of range"),
        (9, "ingestion.reconnect_delay", "reconnect_delay is above max_reconnect_delay"),
        (10, "storage.ingestion_storage.s3.bucket", "wrong form"),
        (12, "features.depth_levels", "more depth_levels than book_levels"),
        (13, "features.markets.kraken:C/E.kyle_window", "wrong type"),
    ]


def test_a_value_that_is_wrong_by_itself_causes_no_second_complaint(tmp_path: Path) -> None:
    # Without depth_levels the default of 20 would exceed the 10 recorded levels.
    problems = problems_of("features: {book_levels: 10, depth_levels: few}", tmp_path)
    assert [problem.path for problem in problems] == ["features.depth_levels"]


def test_secrets_do_not_appear_in_messages(tmp_path: Path) -> None:
    text = """\
redis: {password: [hunter2]}
ccxt: {exchanges: {kraken: {api_secret: 31337, options: [{apiKey: hunter2}], channels: {watchTrades: [A/B]}}}}
storage: {ingestion_storage: {s3: {bucket: lake, secret_key: {a: hunter2}}}}
"""
    told = "\n".join(lines_of(text, tmp_path))
    assert len(told.splitlines()) == 4
    assert "hunter2" not in told
    assert "31337" not in told


def test_the_problems_can_be_had_as_json(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("log_level: loud")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    assert json.loads(caught.value.to_json()) == {
        "ok": False,
        "problems": [
            {
                "message": "unknown value",
                "path": "log_level",
                "file": str(file),
                "line": 1,
                "variable": None,
                "found": "'loud'",
                "allowed": "DEBUG, INFO, WARNING, ERROR, CRITICAL",
                "nearest": None,
                "hint": None,
            }
        ],
    }


@pytest.mark.parametrize("data", [{1: 2}, {"redis": {None: 1}}, {"ccxt": {"exchanges": {7: {}}}}, {"redis": object()}])
def test_plain_values_of_any_shape_end_in_a_problem(data: dict[Any, Any]) -> None:
    with pytest.raises(ConfigError):
        parse_config(data)
