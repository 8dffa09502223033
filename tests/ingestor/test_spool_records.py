"""The spool's bytes: whatever is damaged or cut is noticed, and never read as something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daedalus_ingestor.spool_records import (
    HEADER_BYTES,
    SLOT_BYTES,
    Anchor,
    Cursor,
    Flaw,
    Record,
    decode_cursor,
    encode_cursor,
    encode_record,
    encode_segment_header,
    is_segment_header,
    last_record_after,
    lost_between,
    published_as,
    record_at,
)

NOWHERE = Anchor(0, 0, 0, 0)
RECORD = Record(7, 3, 41, -5, b"payload")


def slots(*cursors: Cursor) -> bytes:
    data = bytearray(2 * SLOT_BYTES)
    for cursor in cursors:
        start = cursor.turn % 2 * SLOT_BYTES
        data[start : start + SLOT_BYTES] = encode_cursor(cursor)
    return bytes(data)


@given(
    st.builds(
        Record,
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.binary(max_size=300),
    )
)
def test_a_record_is_read_as_it_was_written(record):
    data = encode_record(record)
    assert len(data) == HEADER_BYTES + len(record.payload)
    assert record_at(data, 0) == record
    assert record_at(data, len(data)) is Flaw.END


def test_every_cut_is_seen_as_one():
    data = encode_record(RECORD)
    assert {record_at(data[:end], 0) for end in range(1, len(data))} == {Flaw.CUT}


def test_every_changed_bit_is_noticed():
    data = encode_record(RECORD)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert isinstance(record_at(bytes(changed), 0), Flaw)


def test_sound_records_behind_a_damage_are_found():
    first, second, third = (encode_record(RECORD._replace(position=number)) for number in (1, 2, 3))
    data = first[:-1] + b"?" + second + third[:-1]
    assert last_record_after(data, 0) == RECORD._replace(position=2)
    assert last_record_after(first[:-1] + bytes(5000), 0) is None


def test_a_segment_header_is_of_one_market_and_position():
    header = encode_segment_header("binanceus:BTC-USDT", 12)
    assert is_segment_header(header + b"record", "binanceus:BTC-USDT", 12)
    assert not is_segment_header(header, "binanceus:BTC-USD", 12)
    assert not is_segment_header(header, "binanceus:BTC-USDT", 13)
    assert not is_segment_header(header[:-1], "binanceus:BTC-USDT", 12)


def test_the_newer_cursor_counts_and_a_torn_one_leaves_the_older():
    older, newer = Cursor(4, 100, Anchor(90, 120, 2, 1)), Cursor(5, 110, Anchor(90, 120, 2, 1))
    data = slots(older, newer)
    assert decode_cursor(data) == newer
    for end in range(SLOT_BYTES, 2 * SLOT_BYTES):
        assert decode_cursor(data[:end]) == older
    assert decode_cursor(bytes(2 * SLOT_BYTES)) is None
    assert decode_cursor(b"") is None


@pytest.mark.parametrize(("position", "expected"), [(9, (1, 59)), (10, (2, 5)), (14, (2, 9)), (15, (1, 65))])
def test_an_anchor_says_under_which_number_a_record_goes_out(position, expected):
    assert published_as(Record(position, 1, 50 + position, 0, b""), Anchor(10, 15, 2, 5)) == expected


@pytest.mark.parametrize(
    ("earlier", "later", "anchor", "lost"),
    [
        pytest.param((1, 5), (1, 6), NOWHERE, 0, id="neighbours"),
        pytest.param((1, 5), (1, 9), NOWHERE, 3, id="a jump"),
        pytest.param((1, 5), (1, 9), Anchor(0, 2, 2, 1), 3, id="a jump inside of the anchor"),
        pytest.param((1, 5), (2, 2), Anchor(0, 1, 2, 1), 0, id="across the anchor's end"),
        pytest.param((1, 5), (2, 4), Anchor(0, 1, 2, 1), 2, id="a jump across the anchor's end"),
        pytest.param((1, 50), (1, 41), Anchor(0, 1, 1, 40), 0, id="numbers moved down at the anchor's end"),
        pytest.param((1, 5), (2, 4), NOWHERE, 0, id="epochs that nothing connects"),
    ],
)
def test_a_jump_between_neighbours_is_a_loss(earlier, later, anchor, lost):
    first, second = (Record(i, epoch, number, 0, b"") for i, (epoch, number) in enumerate((earlier, later)))
    assert lost_between(first, second, anchor) == lost
