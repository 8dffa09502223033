"""The rules for keys and metadata, apart from any store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daedalus_common.stores.keys import (
    check_key,
    check_listing,
    decode_metadata,
    encode_metadata,
    is_reserved,
    reserved_name,
)

METADATA = st.dictionaries(st.text("abcxyz019-", min_size=1, max_size=20), st.text(min_size=1, max_size=10), max_size=5)


@given(METADATA)
def test_metadata_survives_the_headers_it_travels_in(metadata: dict[str, str]) -> None:
    encoded = encode_metadata(metadata)
    assert all(value.isascii() and value.isprintable() and " " not in value for value in encoded.values())
    assert decode_metadata(encoded) == metadata


def test_ordinary_metadata_stays_readable() -> None:
    metadata = {"market": "binanceus:BTC/USDT", "first-id": "1770127200000-0", "rows": "512"}
    assert encode_metadata(metadata) == metadata


def test_metadata_keys_return_in_lower_case_as_they_were_sent() -> None:
    assert decode_metadata({"First-Id": "1-0"}) == {"first-id": "1-0"}


@given(st.text(max_size=300))
def test_an_accepted_key_stays_within_its_folder(text: str) -> None:
    try:
        key = check_key(text)
    except ValueError:
        return
    assert key == text
    assert not set(key.split("/")) & {"", ".", ".."}
    assert len(key.encode()) <= 1024


def test_a_key_may_be_as_long_as_the_limits_and_no_longer() -> None:
    longest = "/".join(["x" * 255] * 4)
    assert len(check_key(longest)) == 1023
    for key in (longest + "/y", "x" * 256, "é" * 128):
        with pytest.raises(ValueError, match="longer than"):
            check_key(key)


def test_reserved_names_are_unique_and_known() -> None:
    names = {reserved_name("new") for _ in range(100)}
    assert len(names) == 100
    assert all(is_reserved(name) for name in names)
    assert not is_reserved("segment_20260203T14_00042.parquet")
    assert not is_reserved(".somebody-elses.tmp")


def test_a_listing_starts_after_a_key_of_its_own_folder_only() -> None:
    check_listing("a/b/", "a/b/c")
    check_listing("a/b/part_", "a/b/c")
    check_listing("", "a")
    for prefix, start_after in (("a/b/", "a/c"), ("a/", "a/b/c"), ("", "a/b")):
        with pytest.raises(ValueError, match="not in the folder"):
            check_listing(prefix, start_after)
