"""NDJSON event files: every well-formed line is an event of its market, every other one is counted and named."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from daedalus.etl import ndjson_files
from daedalus.etl.ndjson import NdjsonInput, NdjsonPosition
from daedalus_common.events import Book, Heartbeat
from daedalus_common.markets import Market
from daedalus_features import Kind
from daedalus_features.validity import only_valid
from support.bronze import as_published, told
from support.market_events import START
from support.ndjson_lines import BTC, ETH, contents, events_of, line, write


@pytest.mark.parametrize("name", ["a.ndjson", "a.jsonl", "a.ndjson.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("chunk_rows", [1, 300, 10_000])
def test_every_event_of_a_market_is_read_in_its_place(tmp_path: Path, name: str, chunk_rows: int) -> None:
    btc, eth = events_of(1, 700), events_of(2, 700)
    pairs = [text for one, other in zip(btc, eth, strict=True) for text in (line(one), line(other, ETH))]
    events = write(tmp_path / name, pairs)
    assert contents(list(events.read(BTC, chunk_rows=chunk_rows))) == as_published(btc)
    assert contents(list(events.read(ETH, chunk_rows=chunk_rows))) == as_published(eth)
    scan = events.scan()
    assert scan.events == {BTC: len(btc), ETH: len(eth)}
    assert scan.markets == (BTC, ETH)
    assert scan.bad.total == 0


def test_time_never_goes_back_over_all_channels_of_a_market(tmp_path: Path) -> None:
    times = [(Heartbeat, 5, BTC), (Heartbeat, 99, ETH), (Heartbeat, 3, BTC), (Heartbeat, 8, BTC), (Heartbeat, 7, BTC)]
    events = write(tmp_path / "a.ndjson", [line(kind(ts), market) for kind, ts, market in times])
    for chunk_rows in (1, 2, 10):
        chunks = list(events.read(BTC, chunk_rows=chunk_rows))
        assert [ts for chunk in chunks for ts in chunk.events.ts.tolist()] == [5, 5, 8, 8]
    after = NdjsonPosition(0, 0, 0, ts=1_000)
    assert [chunk.events.ts.tolist() for chunk in events.read(BTC, after=after)] == [[1_000] * 4]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reading_goes_on_behind_any_chunk(tmp_path: Path, suffix: str) -> None:
    btc = events_of(3, 300)
    for name, part in (("1", btc[:120]), ("2", btc[120:])):
        lines = [text for event in part for text in (line(event), line(event, ETH), "rubbish")]
        write(tmp_path / "in" / f"{name}.jsonl{suffix}", lines)
    events = NdjsonInput([tmp_path / "in"])
    for chunk in events.read(BTC, chunk_rows=70):
        end = msgspec.json.decode(msgspec.json.encode(chunk.end), type=NdjsonPosition)
        assert contents(list(events.read(BTC, after=end))) == as_published(btc)[end.events :]


@pytest.mark.parametrize("limit", [0, 1, 50, 51, 200, 1_000])
def test_a_limit_counts_events_of_the_market(tmp_path: Path, limit: int) -> None:
    btc = events_of(4, 200)
    events = write(tmp_path / "a.ndjson", [text for event in btc for text in (line(event, ETH), line(event))])
    chunks = list(events.read(BTC, limit=limit, chunk_rows=50))
    assert contents(chunks) == as_published(btc)[:limit]
    if chunks:
        more = list(events.read(BTC, after=chunks[-1].end, limit=3))
        assert contents(more) == as_published(btc)[limit : limit + 3]


def test_of_tables_that_are_not_needed_only_kind_and_time_are_read(tmp_path: Path) -> None:
    btc = events_of(5, 200)
    events = write(tmp_path / "a.ndjson", [line(event) for event in btc])
    (whole,), (books,) = (list(events.read(BTC, tables_needed=frozenset(need))) for need in (
        {"orderbook", "trades", "ticker"}, {"orderbook"},
    ))  # fmt: skip
    assert books.events.kind.tolist() == whole.events.kind.tolist()
    assert len(books.events.books) == len(whole.events.books) > 0
    assert (len(books.events.trades), len(books.events.tickers)) == (0, 0)


MALFORMED = {
    "no JSON": ("{", "not JSON"),
    "two": (line(Heartbeat(1)) + "{}", "not JSON"),
    "NaN": (line(Heartbeat(1)).replace(": 1}", ": NaN}").replace('"capture_ts": 1', '"capture_ts": NaN'), "not JSON"),
    "no object": ("[1, 2]", "not an event"),
    "no symbol": ('{"channel":"gap","exchange":"a","capture_ts":1}', "missing required field `symbol`"),
    "no exchange": ('{"channel":"gap","symbol":"a","capture_ts":1}', "missing required field `exchange`"),
    "empty exchange": ('{"channel":"gap","exchange":"","symbol":"A/B","capture_ts":1}', "names no market"),
    "path": ('{"channel":"gap","exchange":"a/../b","symbol":"A/B","capture_ts":1}', "names no market"),
    "control": ('{"channel":"gap","exchange":"a","symbol":"A\\u0000B","capture_ts":1}', "names no market"),
    "symbol null": ('{"channel":"gap","exchange":"a","symbol":null,"capture_ts":1}', "got `null` - at `$.symbol`"),
    "genesis": ('{"channel":"genesis","exchange":"a","symbol":"A/B","capture_ts":1}', "its channel is none of"),
    "no time": ('{"channel":"gap","exchange":"a","symbol":"A/B"}', "missing required field `capture_ts`"),
    "time as text": ('{"channel":"gap","exchange":"a","symbol":"A/B","capture_ts":"1"}', "Expected `int`"),
    "time with point": ('{"channel":"gap","exchange":"a","symbol":"A/B","capture_ts":1.5}', "Expected `int`"),
    "true": ('{"channel":"gap","exchange":"a","symbol":"A/B","capture_ts":true}', "Expected `int`"),
    "negative": ('{"channel":"gap","exchange":"a","symbol":"A/B","capture_ts":-1}', "its capture_ts is not within"),
    "late": (f'{{"channel":"gap","exchange":"a","symbol":"A/B","capture_ts":{2**62}}}', "not within [0, 2^62)"),
    "long name": (
        '{"channel":"gap","exchange":"a","symbol":"%s","capture_ts":1}' % ("\u00e9" * 40),
        "takes more than 200 bytes in paths",
    ),
    "deep": ('{"x":' + "[" * 100_000, "not JSON"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_line_is_counted_named_and_no_event(tmp_path: Path, name: str) -> None:
    text, reason = MALFORMED[name]
    events = write(tmp_path / "a.ndjson", [line(Heartbeat(1)), "", text, line(Heartbeat(2))])
    bad = events.scan().bad
    assert (bad.total, len(bad.first)) == (1, 1)
    assert (bad.first[0].file, bad.first[0].line) == (str(tmp_path / "a.ndjson"), 3)
    assert reason in bad.first[0].reason
    assert str(bad.first[0]).startswith(f"{tmp_path / 'a.ndjson'}, line 3: ")
    assert [chunk.events.ts.tolist() for chunk in events.read(BTC)] == [[1, 2]]


def test_bytes_that_are_no_text_are_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"channel":"g\xff"}\n' + b"\x00\x01\n" + line(Heartbeat(1)).encode())
    events = NdjsonInput([path])
    assert events.scan().bad.total == 2
    assert sum(chunk.recorded for chunk in events.read(BTC)) == 1


def test_the_bounds_of_time_belong_to_it(tmp_path: Path) -> None:
    events = write(tmp_path / "a.ndjson", [line(Heartbeat(0)), line(Heartbeat(2**62 - 1))])
    assert [chunk.events.ts.tolist() for chunk in events.read(BTC)] == [[0, 2**62 - 1]]


def test_of_many_bad_lines_the_first_are_kept_and_none_is_quoted(tmp_path: Path) -> None:
    events = write(tmp_path / "a.ndjson", ['{"secret": "hunter2"}', *["rubbish"] * 100])
    bad = events.scan().bad
    assert bad.total == 101
    assert [each.line for each in bad.first] == list(range(1, 21))
    assert "hunter2" not in str(bad)
    assert "rubbish" not in str(bad)


BOOK = '{"channel":"orderbook","exchange":"binanceus","symbol":"BTC/USDT","capture_ts":1,"bids":%s,"asks":%s}'
GOOD = "[[9.5,1]]"
BOOKS = {
    "text price": ('[["9.5",1]]', GOOD, "non_finite"),
    "null size": ("[[9.5,null]]", GOOD, "non_finite"),
    "true": ("[[true,1]]", GOOD, "non_finite"),
    "one number": ("[[9.5]]", GOOD, "non_finite"),
    "level null": ("[null]", GOOD, "non_finite"),
    "huge": ("[[1e400,1]]", GOOD, "non_finite"),
    "huge whole": ("[[1" + "0" * 400 + ",1]]", GOOD, "non_finite"),
    "digits": ("[[1" + "0" * 5000 + ",1]]", GOOD, "empty"),
    "null": ("null", GOOD, "empty"),
    "none": ("[]", "[[10,1]]", "empty"),
    "text": ('"x"', "[[10,1]]", "empty"),
    "crossed": ("[[11,1]]", "[[10,1]]", "crossed"),
}


@pytest.mark.parametrize("name", BOOKS)
def test_a_book_of_strange_content_is_an_event_and_invalid(tmp_path: Path, name: str) -> None:
    bids, asks, reason = BOOKS[name]
    events = write(tmp_path / "a.ndjson", [BOOK % (bids, asks), BOOK % ("[[9,1]]", "[[10,2]]")])
    assert events.scan().bad.total == 0
    (chunk,) = events.read(BTC)
    valid, invalid = only_valid(chunk.events, 50)
    assert invalid == {reason: 1}
    assert chunk.events.kind.tolist() == [Kind.BOOK] * 2
    assert valid.books.position.tolist() == [1]


def test_levels_may_have_more_than_price_and_size(tmp_path: Path) -> None:
    events = write(tmp_path / "a.ndjson", [BOOK % ("[[9,1,1700000000]]", "[[10,2,3]]")])
    (chunk,) = events.read(BTC)
    assert only_valid(chunk.events, 50)[1] == {}
    assert (chunk.events.books.bid_price.item(), chunk.events.books.ask_size.item()) == (9.0, 2.0)


def test_a_book_without_sides_is_an_empty_book(tmp_path: Path) -> None:
    events = write(tmp_path / "a.ndjson", [line(Heartbeat(1)).replace("heartbeat", "orderbook")])
    (chunk,) = events.read(BTC)
    assert only_valid(chunk.events, 50)[1] == {"empty": 1}


def test_books_deeper_than_needed_are_cut(tmp_path: Path) -> None:
    btc = [event for event in events_of(6, 400) if isinstance(event, Book)]
    events = write(tmp_path / "a.ndjson", [line(event) for event in btc])
    (chunk,) = events.read(BTC, book_levels=2)
    assert told(chunk.events) == [(kind, ts, bids[:2], asks[:2]) for kind, ts, bids, asks in as_published(btc)]


TRADE = '{"channel":"trades","exchange":"binanceus","symbol":"BTC/USDT","capture_ts":1,%s}'


@pytest.mark.parametrize(
    ("content", "price", "amount", "side"),
    [
        ('"price":1,"amount":2.5,"side":"sell"', 1.0, 2.5, -1),
        ('"price":1,"amount":2.5,"side":"BUY"', 1.0, 2.5, 0),
        ('"price":1,"amount":2.5,"side":7', 1.0, 2.5, 0),
        ('"price":1,"amount":2.5,"side":null', 1.0, 2.5, 0),
        ('"price":1,"amount":2.5', 1.0, 2.5, 0),
        ('"price":"1","amount":2.5,"side":"buy"', np.nan, 2.5, 1),
        ('"amount":2.5,"side":"buy"', np.nan, 2.5, 1),
        ('"price":1,"amount":-1e999,"side":"buy"', 1.0, -np.inf, 1),
        ('"price":1,"amount":2.5,"side":"buy","id":{"a":[1]}', 1.0, 2.5, 1),
    ],
)
def test_a_trade_of_strange_content_is_an_event(
    tmp_path: Path, content: str, price: float, amount: float, side: int
) -> None:
    events = write(tmp_path / "a.ndjson", [TRADE % content])
    (chunk,) = events.read(BTC)
    trades = chunk.events.trades
    np.testing.assert_array_equal([trades.price.item(), trades.amount.item()], [price, amount])
    assert trades.side.tolist() == [side]


def test_a_ticker_has_the_fields_that_are_numbers(tmp_path: Path) -> None:
    text = line(Heartbeat(1)).replace('"heartbeat"', '"ticker","bid":1,"ask":"2","vwap":null')
    (chunk,) = write(tmp_path / "a.ndjson", [text]).read(BTC)
    np.testing.assert_array_equal(chunk.events.tickers.values[:, 0], [1.0, *[np.nan] * 10])


def test_escaped_names_are_the_same_market(tmp_path: Path) -> None:
    plain = line(Heartbeat(START))
    escaped = plain.replace("BTC/USDT", "\\u0042TC\\/USDT").replace("binanceus", "binance\\u0075s")
    events = write(tmp_path / "a.ndjson", [plain, escaped])
    assert events.scan().events == {BTC: 2}
    assert sum(chunk.recorded for chunk in events.read(BTC)) == 2


def test_a_market_whose_name_occurs_in_another_line_stays_apart(tmp_path: Path) -> None:
    other = Market("kraken", "BTC/USDT")
    contract = Market("binanceus", "BTC/USDT:USDT")
    events = write(tmp_path / "a.ndjson", [line(Heartbeat(START), market) for market in (BTC, other, contract, BTC)])
    assert events.scan().events == {BTC: 2, contract: 1, other: 1}
    assert [sum(chunk.recorded for chunk in events.read(market)) for market in (BTC, other, contract)] == [2, 1, 1]


def test_a_last_line_without_an_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text(f"{line(Heartbeat(1))}\r\n{line(Heartbeat(2))}")
    assert sum(chunk.recorded for chunk in NdjsonInput([path]).read(BTC)) == 2


def test_an_overlong_line_is_bad_and_the_next_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson_files, "LINE_LIMIT_BYTES", 1_000)
    events = write(tmp_path / "a.ndjson", ["x" * 5_000, line(Heartbeat(1)), "y" * 999, line(Heartbeat(2))])
    bad = events.scan().bad
    assert [(each.line, each.reason.partition(":")[0]) for each in bad.first] == [
        (1, "the line is longer than 0 MiB"),
        (3, "not JSON"),
    ]
    assert [chunk.events.ts.tolist() for chunk in events.read(BTC)] == [[1, 2]]
