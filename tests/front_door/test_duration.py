"""Durations as people type and read them."""

from datetime import timedelta

import pytest

from daedalus.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60),
        ("60", 60),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("500ms", 0.5),
        (" 8S ", 8),
    ],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "0", "0s", "-5s", "5x", "1h30", "5 m 3", "1m1m", "9" * 400 + "d", "nan"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the texts differ by case
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59, "59s"), (185, "3m 05s"), (3725, "1h 02m"), (183_600, "2d 03h")]
)
def test_durations_are_written_with_two_units_at_most(seconds, text):
    assert format_duration(timedelta(seconds=seconds)) == text
