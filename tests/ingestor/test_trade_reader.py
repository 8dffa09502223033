"""Every trade of ccxt's cache is read once: not twice after a snapshot, and none is passed over."""

from itertools import count

from ccxt.async_support.base.ws.cache import ArrayCache, ArrayCacheBySymbolById
from hypothesis import given
from hypothesis import strategies as st

from daedalus_ingestor.trades import TradeReader


def trade(id_):
    return {"id": id_, "symbol": "BTC/USDT", "price": 1.0, "amount": 1.0}


def ids(new):
    return [trade["id"] for trade in new.trades]


def recorded(reader, cache):
    """Reads, and remembers what was read, as the recorder does."""
    new = reader.read(cache)
    for item in new.trades:
        reader.remember(item["id"] or "")
    return ids(new)


def test_the_first_read_takes_all_and_the_next_only_what_was_added():
    reader, cache = TradeReader(), ArrayCache(1000)
    cache.append(trade("1"))
    cache.append(trade("2"))
    assert recorded(reader, cache) == ["1", "2"]
    assert recorded(reader, cache) == []
    cache.append(trade("3"))
    assert recorded(reader, cache) == ["3"]


def test_a_snapshot_that_repeats_trades_adds_only_the_new_ones():
    reader, cache = TradeReader(), ArrayCache(1000)
    for id_ in "123":
        cache.append(trade(id_))
    assert recorded(reader, cache) == ["1", "2", "3"]
    for id_ in "2345":  # what an exchange sends after a resubscription
        cache.append(trade(id_))
    new = reader.read(cache)
    assert ids(new) == ["4", "5"]
    assert new.repeated == 2


def test_a_new_cache_of_a_new_client_is_read_as_the_old_one_went_on():
    reader, before, after = TradeReader(), ArrayCache(1000), ArrayCache(1000)
    for id_ in "12":
        before.append(trade(id_))
    recorded(reader, before)
    for id_ in "123":
        after.append(trade(id_))
    new = reader.read(after)
    assert ids(new) == ["3"]
    assert new.complete


def test_trades_recorded_by_the_former_owner_are_known():
    reader, cache = TradeReader(["1", "2"]), ArrayCache(1000)
    for id_ in "123":
        cache.append(trade(id_))
    assert recorded(reader, cache) == ["3"]


def test_trades_without_an_id_are_told_apart_by_nothing_and_all_kept():
    reader, cache = TradeReader(), ArrayCache(1000)
    for _ in range(3):
        cache.append(trade(None))
    assert recorded(reader, cache) == [None, None, None]
    cache.append(trade(None))
    assert recorded(reader, cache) == [None]


def test_more_trades_at_once_than_the_cache_holds_are_reported_as_incomplete():
    reader, cache = TradeReader(), ArrayCache(3)
    cache.append(trade("1"))
    recorded(reader, cache)
    for id_ in "2345":
        cache.append(trade(id_))
    new = reader.read(cache)
    assert ids(new) == ["3", "4", "5"]
    assert not new.complete


def test_a_cache_that_moves_repeated_trades_to_its_end_does_not_double_them():
    """coinbase's cache is by id: an id that comes again replaces the old one and moves."""
    reader, cache = TradeReader(), ArrayCacheBySymbolById(1000)
    for id_ in "123":
        cache.append(trade(id_))
    recorded(reader, cache)
    for id_ in "324":
        cache.append(trade(id_))
    assert recorded(reader, cache) == ["4"]


def test_memory_of_ids_is_bounded():
    reader, cache = TradeReader(memory=10), ArrayCache(1000)
    for number in range(100):
        cache.append(trade(str(number)))
    recorded(reader, cache)
    for number in (5, 95):
        cache.append(trade(str(number)))
    assert recorded(reader, cache) == ["5"]


@given(frames=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=30))
def test_whatever_is_repeated_every_trade_comes_once_and_in_order(frames):
    """Each frame repeats some of the latest trades and brings some new ones."""
    reader, cache, numbers = TradeReader(), ArrayCache(1000), count()
    sent: list[str] = []
    got: list[str] = []
    for repeats, fresh in frames:
        for id_ in sent[len(sent) - min(repeats, len(sent)) :]:
            cache.append(trade(id_))
        for _ in range(fresh):
            sent.append(str(next(numbers)))
            cache.append(trade(sent[-1]))
        got += recorded(reader, cache)
    assert got == sent


def test_what_is_older_than_the_predecessors_newest_trade_is_passed_over_at_first():
    reader, cache = TradeReader(["7"], 1700), ArrayCache(1000)
    for id_, ts in (("3", 1500), ("4", 1600), ("7", 1700), ("8", 1700), ("9", 1800), ("", None)):
        cache.append({**trade(id_), "timestamp": ts})
    new = reader.read(cache)
    assert ids(new) == ["8", "9", ""]
    assert (new.repeated, new.complete) == (3, True)
    cache.append({**trade("10"), "timestamp": 1650})
    assert ids(reader.read(cache)) == ["10"], "late, but not of the time before"
