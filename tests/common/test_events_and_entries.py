"""An event survives its encoding, alone and in a batch; bytes that are no event of ours are named, never guessed."""

import contextlib
import math
import struct

import msgspec
import numpy as np
import pytest

from daedalus_common.batches import RawEntry, decode_batch
from daedalus_common.entries import ForeignEntry, decode, encode, encode_book
from daedalus_common.events import Book, Event, Gap, Genesis, Heartbeat, Kind, Ticker, Trade

T = 1_770_000_000_123_456_789

EVENTS: list[Event] = [
    Book(T, 1_770_000_000_120, 42, ((100.5, 1.0), (100.4, 2.5)), ((100.6, 0.25),)),
    Book(T, None, None, (), ((100.6, 0.25),)),
    Book(T, None, None, (), ()),
    Trade(T, 1_770_000_000_120, "a-1", 100.5, 0.1, "buy"),
    Trade(T, None, "", 100.5, 0.1, "sell"),
    Trade(T, None, "naïve ✓", 1e-15, 1e15, None),
    Ticker(T, None, 1.0, None, 2.0, None, 1.5, None, None, None, None, None, None),
    Gap(T, "orderbook", "start", last_nonce=7, last_id="9", lost=3),
    Heartbeat(T),
    Genesis(T, "abc-1", b'{"depth_levels":20}'),
]


def entry(payload: bytes, seq: int = 1, id_: bytes = b"1770000000123-0", **fields: bytes) -> RawEntry:
    stored = {b"g": b"0", b"s": str(seq).encode(), b"t": str(T).encode(), b"e": payload}
    return id_, stored | {name.encode(): value for name, value in fields.items()}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_the_same_after_encoding_and_decoding(event: Event) -> None:
    assert decode(encode(event)) == event


def test_a_batch_holds_every_event_in_stream_order_as_columns() -> None:
    batch = decode_batch(entry(encode(event), seq) for seq, event in enumerate(EVENTS, start=1))
    assert not batch.foreign
    assert batch.seq.tolist() == list(range(1, len(EVENTS) + 1))
    assert batch.capture_ts.tolist() == [T] * len(EVENTS)
    assert batch.kind.tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 4, 5]
    assert batch.books.position.tolist() == [0, 1, 2]
    assert batch.books.bid_levels.tolist() == [2, 0, 0]
    assert batch.books.bids[0].tolist() == [[100.5, 1.0], [100.4, 2.5]]
    assert batch.books.asks[1].tolist() == [[100.6, 0.25]]
    assert np.isnan(batch.books.bids[1:]).all()
    assert list(batch.trades.id) == ["a-1", "", "naïve ✓"]
    assert batch.trades.side.tolist() == [1, -1, 0]
    assert batch.trades.amount.tolist() == [0.1, 0.1, 1e15]
    assert [event for _, event in batch.packed] == EVENTS[6:]


def test_a_batch_of_nothing_has_empty_columns() -> None:
    batch = decode_batch([])
    assert len(batch) == 0
    assert batch.books.bids.shape[0] == 0
    assert batch.trades.price.shape == (0,)


def test_not_a_number_in_a_book_is_kept_as_it_came() -> None:
    book = decode(encode_book(T, None, None, [(math.nan, 1.0)], [(math.inf, 2.0)]))
    assert isinstance(book, Book)
    assert math.isnan(book.bids[0][0])
    assert book.asks[0][0] == math.inf


def test_a_book_level_of_three_values_is_refused() -> None:
    with pytest.raises(struct.error):
        encode_book(T, None, None, [(1.0, 2.0, 3.0)], [])


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ((b"1-0", {b"x": b"y"}), "is missing"),
        (entry(b""), "payload of 0 bytes"),
        (entry(b"\x09\x01rest"), "unknown kind 9"),
        (entry(b"\x04\x63rest"), "unknown version 99"),
        (entry(encode(EVENTS[0])[:-1]), "length"),
        (entry(encode(EVENTS[3])[:20]), "shorter than its header"),
        (entry(encode(Heartbeat(-1))), "capture_ts -1"),
        (entry(encode(Heartbeat(2**63))), "capture_ts"),
        (entry(encode_book(2**62, None, None, [], [])), "capture_ts"),
        (entry(b"\x03\x01\xff\xff"), "gap"),
        (entry(b"\x03\x01" + msgspec.msgpack.encode([T, "orderbook", "x", None, None, 2**64 - 1])), "gap: Expected"),
        (entry(b"\x04\x01\x92" + msgspec.msgpack.encode(T) + b"\x91" * 100_000 + b"\xc0"), "recursion"),
        (entry(encode(EVENTS[0]), id_=b"9223372036854775808-0"), "id 9223372036854775808-0 is out of range"),
        (entry(encode(EVENTS[0]), id_=b"1-9223372036854775808"), "is out of range"),
        (entry(encode(EVENTS[0]), s=b"one"), "whole number"),
        (entry(encode(EVENTS[0]), s=b"0"), "out of range"),
        (entry(encode(EVENTS[0]), t=b"-5"), "out of range"),
        (entry(encode(EVENTS[0]), t=str(2**62).encode()), "out of range"),
    ],
)
def test_a_foreign_entry_is_set_apart_with_its_reason(broken: RawEntry, reason: str) -> None:
    good = entry(encode(Heartbeat(T)), seq=5)
    batch = decode_batch([broken, good])
    assert len(batch) == 1
    assert batch.kind[0] == Kind.HEARTBEAT
    assert len(batch.foreign) == 1
    assert reason in batch.foreign[0].reason


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_never_crash_a_decoder(seed: int) -> None:
    rng = np.random.default_rng(seed)
    payloads = [rng.bytes(int(n)) for n in rng.integers(0, 90, 200)]
    payloads += [bytes([k, 1]) + rng.bytes(int(n)) for k in range(6) for n in rng.integers(0, 90, 30)]
    batch = decode_batch(entry(payload, seq) for seq, payload in enumerate(payloads, start=1))
    assert len(batch) + len(batch.foreign) == len(payloads)
    for payload in payloads:
        with contextlib.suppress(ForeignEntry):
            decode(payload)
