"""Names: symbols, ids, streams, and how prices and sizes are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daedalus_simulator.frames import CHANNELS, frame_of, parse_stream, stream_name
from daedalus_simulator.instrument import parse_symbol, split_id

assets = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=20)


@given(assets, assets)
def test_any_symbol_has_a_price_that_eight_decimals_can_write(base, quote):
    if base == quote:
        return
    instrument = parse_symbol(f"{base}/{quote}")
    ticks = round(instrument.initial_price * 10**instrument.price_decimals)
    assert ticks >= 10
    assert 0 <= instrument.price_decimals <= 8
    assert 0 <= instrument.size_decimals <= 8
    assert float(instrument.price_text(ticks)) == pytest.approx(instrument.initial_price, rel=0.05)
    assert parse_symbol(f"{base}/{quote}") == instrument


@given(st.integers(1, 10**9))
def test_prices_are_written_exactly(ticks):
    instrument = parse_symbol("BTC/USDT")
    whole, _, decimals = instrument.price_text(ticks).partition(".")
    assert (int(whole) * 100 + int(decimals[:2]), decimals[2:]) == (ticks, "000000")


@pytest.mark.parametrize("text", ["BTCUSDT", "btc/usdt", "BTC/", "/USDT", "BTC/USDT/X", "BTC USDT", "BTC/BTC", ""])
def test_what_is_no_symbol_is_refused(text):
    with pytest.raises(ValueError, match="is not a symbol"):
        parse_symbol(text)


@pytest.mark.parametrize(
    ("instrument_id", "pair"),
    [
        ("BTCUSDT", ("BTC", "USDT")),
        ("ETHBTC", ("ETH", "BTC")),
        ("BTCFDUSD", ("BTC", "FDUSD")),
        ("SOLUSD", ("SOL", "USD")),
        ("BNBUSD", ("BNB", "USD")),
    ],
)
def test_an_id_is_split_at_its_quote(instrument_id, pair):
    assert split_id(instrument_id) == pair


@pytest.mark.parametrize("instrument_id", ["XYZ", "USDT", ""])
def test_an_id_without_a_known_quote_is_refused(instrument_id):
    with pytest.raises(ValueError, match="cannot tell base from quote"):
        split_id(instrument_id)


@pytest.mark.parametrize("channel", CHANNELS)
def test_stream_names_lead_back_to_their_stream(channel):
    assert parse_stream(stream_name(("BTCUSDT", channel))) == ("BTCUSDT", channel)


@pytest.mark.parametrize(
    "name", ["", "btcusdt", "btcusdt@", "@trade", "BTCUSDT@trade", "btcusdt@depth@200ms", "!ticker@arr"]
)
def test_what_is_no_stream_we_know_is_none(name):
    assert parse_stream(name) is None


def test_a_frame_without_the_ids_of_its_channel_is_refused():
    with pytest.raises(ValueError, match="integers U and u"):
        frame_of("depth", {"U": 1, "u": "2"})
