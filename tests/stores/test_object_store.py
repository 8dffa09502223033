"""The contract of `ObjectStore`, on every adapter and every server at hand."""

import io
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daedalus_common.markets import Market
from daedalus_common.stores import CreateResult, ObjectMissing, ObjectStore

CREATED, EXISTS = CreateResult.CREATED, CreateResult.EXISTS

SPECIAL_KEYS = [
    "bronze/exchange=binanceus/symbol=BTC-USDT/segment_20260203T14_00042.parquet",
    "colon:plus+equals=and space/100%.parquet",
    "percent%2Fencoded%20already",
    "question?hash#ampersand&semicolon;",
    "quotes'\"(brackets)[]{}!*~@$,",
    "ünïcödé/☃/币安人生-USDT/𝔘",
    "dots../.hidden/...three",
    "symbol=BTC/USDT:USDT/ spaces before and after /a+b %2B=c",
    "pipe|caret^tick`less<more>",
    "x" * 255 + "/" + "y" * 255,
]
SYMBOLS = ["BTC/USDT", "BTC/USDT:USDT", "BTC/USDT:USDT-260327-C", "1000 CHEEMS/USD", "A+B/C", "A%2FB/C", "A=B/C",
           "币安人生/USDT", "ünï/☃", "a.b/c_d", "A&B?C#D/E"]  # fmt: skip
BAD_KEYS = [
    "",
    "/absolute",
    "a//b",
    "a/",
    "..",
    "a/../b",
    "./a",
    "nul\0",
    "line\nbreak",
    "back\\slash",
    "z" * 256,
    "lone\udc80",
]


def test_what_was_created_reads_back_equal(store: ObjectStore) -> None:
    bodies: dict[str, bytes | memoryview] = {
        "empty": b"",
        "text": b"some bytes",
        "view": memoryview(b"__seen__")[2:-2],
        "large": random.Random(1).randbytes(5_000_000),
        "large view": memoryview(random.Random(2).randbytes(5_000_000)),
        "view of numbers": memoryview(b"12345678").cast("q"),
    }
    for key, body in bodies.items():
        assert store.create(key, body, {}) is CREATED
        assert store.read(key) == bytes(body), key


def test_a_second_create_says_exists_and_leaves_the_first_bytes(
    store: ObjectStore, open_again: Callable[[], ObjectStore]
) -> None:
    assert store.create("a/b", b"first", {}) is CREATED
    assert store.create("a/b", b"first", {}) is EXISTS
    assert open_again().create("a/b", b"second, and longer", {}) is EXISTS
    assert store.read("a/b") == b"first"


def test_of_sixteen_concurrent_creates_exactly_one_creates(open_again: Callable[[], ObjectStore]) -> None:
    stores = [open_again(), open_again()]
    bodies = [bytes([writer]) * 20_000 for writer in range(16)]
    start = threading.Barrier(len(bodies))

    def create(writer: int) -> CreateResult:
        start.wait()
        return stores[writer % 2].create("race/object", bodies[writer], {})

    with ThreadPoolExecutor(len(bodies)) as pool:
        results = list(pool.map(create, range(len(bodies))))
    assert results.count(CREATED) == 1
    assert results.count(EXISTS) == 15
    assert stores[0].read("race/object") == bodies[results.index(CREATED)]


def test_a_reader_sees_an_object_whole_or_not_at_all(open_again: Callable[[], ObjectStore]) -> None:
    body = random.Random(3).randbytes(1_000_000)
    writer, reader = open_again(), open_again()
    done = threading.Event()
    seen: list[bool] = []

    def look() -> None:
        while not done.is_set():
            found = reader.list("parts/")
            seen.extend(info.size_bytes == len(body) and reader.read(info.key) == body for info in found)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for number in range(20):
            writer.create(f"parts/{number}", body, {})
        done.set()
        looking.result()
    assert seen
    assert all(seen)


def test_what_is_missing_is_missing(store: ObjectStore) -> None:
    store.create("there/it/is", b"x", {})
    for key in ("never", "there/it", "there/it/is not"):
        assert store.head(key) is None
        with pytest.raises(ObjectMissing, match="object"):
            store.read(key)
        with pytest.raises(ObjectMissing, match="object"):
            store.open_input(key)


def test_head_tells_size_and_time(store: ObjectStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    store.create("a/b", b"12345", {"rows": "5"})
    info = store.head("a/b")
    assert info is not None
    assert (info.key, info.size_bytes) == ("a/b", 5)
    assert before <= info.modified <= datetime.now(UTC) + timedelta(seconds=2)


@pytest.mark.parametrize("key", SPECIAL_KEYS)
def test_special_characters_in_a_key_pass_unchanged(store: ObjectStore, key: str) -> None:
    assert store.create(key, b"body", {}) is CREATED
    assert store.create(key, b"other", {}) is EXISTS
    assert store.read(key) == b"body"
    found = store.head(key)
    assert found is not None
    assert found.key == key
    assert [info.key for info in store.list()] == [key]
    assert [info.key for info in store.list(key[: key.rfind("/") + 3])] == [key]


def test_a_store_without_objects_lists_nothing(store: ObjectStore) -> None:
    for prefix in ("", "bronze/", "bronze/ccxt/tra"):
        assert list(store.list(prefix)) == []
    assert list(store.list("bronze/", "bronze/part_1")) == []
    assert list(store.folders()) == list(store.folders("bronze/")) == []


def test_markets_with_any_symbol_have_their_own_folders(store: ObjectStore) -> None:
    markets = [Market("binanceus", symbol) for symbol in SYMBOLS]
    keys = {f"bronze/ccxt/trades/{market.partition}/part_1.parquet": market.symbol for market in markets}
    for key, symbol in keys.items():
        assert store.create(key, symbol.encode(), {"symbol": symbol}) is CREATED
    assert {info.key for info in store.list("bronze/")} == set(keys)
    assert {key: store.read(key).decode() for key in keys} == keys
    assert {f"exchange=binanceus/{name}" for name in store.folders("bronze/ccxt/trades/exchange=binanceus/")} == {
        market.partition for market in markets
    }
    for market in markets:
        (found,) = store.list(f"bronze/ccxt/trades/{market.partition}/")
        assert keys[found.key] == market.symbol


@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
def test_a_key_that_breaks_the_rules_is_refused(store: ObjectStore, key: str) -> None:
    for call in (lambda: store.create(key, b"", {}), lambda: store.read(key), lambda: store.head(key)):
        with pytest.raises(ValueError, match="object key"):
            call()


@pytest.mark.parametrize("key", [".daedalus-x.tmp", "folder/.daedalus-probe-1.tmp"])
def test_names_of_unfinished_files_are_not_for_objects(store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="reserved"):
        store.create(key, b"", {})


def test_metadata_that_no_server_would_carry_is_refused(store: ObjectStore) -> None:
    for metadata in (
        {"Upper": "x"},
        {"under_score": "x"},
        {"": "x"},
        {"empty": ""},
        {"long": "x" * 2050},
        {"wide": "☃" * 250},
    ):
        with pytest.raises(ValueError, match="metadata"):
            store.create("a", b"", metadata)
    assert store.head("a") is None


def test_a_listing_ascends_within_a_folder_and_holds_every_object_once(store: ObjectStore) -> None:
    names = ["B", "a-b", "a.b", "ab", "a b", "z", "~", "é", "☃", "a=1", "month=1", "month=10", "month=2"]
    keys = [f"{folder}{name}" for folder in ("", "p/", "p/q/", "p-q/", "p/q/r=1/s/") for name in names]
    random.Random(4).shuffle(keys)
    for key in keys:
        store.create(key, key.encode(), {})
    listed = list(store.list())
    assert sorted(info.key for info in listed) == sorted(keys)
    assert all(info.size_bytes == len(info.key.encode()) for info in listed)
    for folder in ("", "p/", "p/q/", "p-q/", "p/q/r=1/s/"):
        inside = [info.key for info in listed if info.key.rpartition("/")[0] == folder.rstrip("/")]
        assert inside == [folder + name for name in sorted(names)]


def test_a_listing_takes_any_prefix(store: ObjectStore) -> None:
    for key in ("a/1", "a/12", "a/2", "ab/1", "b"):
        store.create(key, b"", {})

    def listed(prefix: str) -> list[str]:
        return sorted(info.key for info in store.list(prefix))

    assert listed("a/") == ["a/1", "a/12", "a/2"]
    assert listed("a/1") == ["a/1", "a/12"]
    assert listed("a") == ["a/1", "a/12", "a/2", "ab/1"]
    assert listed("b") == ["b"]
    assert listed("b/") == []
    assert listed("nothing/here/") == []


def test_a_listing_goes_on_after_a_key(store: ObjectStore) -> None:
    parts = [f"day=3/part_20260203T{hour:02}_{number:05}.parquet" for hour in range(4) for number in range(5)]
    for key in [*parts, "day=2/part_20260202T00_00000.parquet", "day=4/part_20260204T00_00000.parquet"]:
        store.create(key, b"", {})

    def listed(prefix: str, start_after: str) -> list[str]:
        return [info.key for info in store.list(prefix, start_after)]

    assert listed("day=3/", parts[7]) == parts[8:]
    assert listed("day=3/", "day=3/part_20260203T02") == parts[10:]
    assert listed("day=3/part_20260203T01", "day=3/part_20260203T01_00002.parquet") == parts[8:10]
    assert listed("day=3/", parts[-1]) == []
    assert listed("day=3/", "day=3/a") == parts
    with pytest.raises(ValueError, match="not in the folder"):
        listed("day=3/", "day=2/part_20260202T00_00000.parquet")


def test_a_listing_of_many_pages_is_complete(store: ObjectStore) -> None:
    keys = [f"many/{number:04}" for number in range(300)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda key: store.create(key, b"x", {}), keys))
    assert results == [CREATED] * len(keys)
    assert [info.key for info in store.list("many/")] == keys


@pytest.mark.parametrize("prefix", ["/", "/a", "../", "a/../b", "a//b"])
def test_a_listing_never_leaves_the_store(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(ValueError, match=r"prefix|key"):
        list(store.list(prefix))


def test_an_input_seeks_like_a_file(store: ObjectStore) -> None:
    body = random.Random(5).randbytes(300_000)
    store.create("a/b", body, {})
    choose, expected = random.Random(6), io.BytesIO(body)
    with store.open_input("a/b") as file:
        assert file.seekable()
        for _ in range(100):
            whence = choose.choice([io.SEEK_SET, io.SEEK_END])
            offset = choose.randrange(310_000) - (300_000 if whence == io.SEEK_END else 0)
            assert file.seek(offset, whence) == expected.seek(offset, whence)
            size = choose.choice([0, 1, 100, 70_000])
            assert file.read(size) == expected.read(size)
            assert file.tell() == expected.tell()
        file.seek(0)
        assert file.read() == body


def test_parquet_metadata_reads_from_an_input(store: ObjectStore) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"id": list(range(1000))}).replace_schema_metadata({"last_seq": "999"})
    pq.write_table(table, sink)
    store.create("table.parquet", memoryview(sink.getvalue()), {})
    with store.open_input("table.parquet") as file:
        schema = pq.read_schema(file)
    assert schema.metadata[b"last_seq"] == b"999"


def test_a_probe_leaves_nothing_behind(store: ObjectStore) -> None:
    store.create("before", b"", {})
    report = store.probe()
    assert report.location == store.describe()
    assert 0 < report.create_seconds < 30
    assert report.notes == ()
    assert [info.key for info in store.list()] == ["before"]


def test_the_folders_below_a_folder_are_named_once_and_ascending(store: ObjectStore) -> None:
    keys = [f"t/exchange=x/symbol={symbol}/{name}" for symbol in ("B-C", "A b+%", "Z", "é") for name in ("1", "2")]
    for key in [*keys, "t/exchange=y/1", "t/file", "u/v/w"]:
        store.create(key, b"", {})
    assert list(store.folders()) == ["t", "u"]
    assert list(store.folders("t/")) == ["exchange=x", "exchange=y"]
    assert list(store.folders("t/exchange=x/")) == ["symbol=A b+%", "symbol=B-C", "symbol=Z", "symbol=é"]
    assert list(store.folders("t/exchange=x/symbol=Z/")) == []
    assert list(store.folders("t/file/")) == []
    assert list(store.folders("never/")) == []


def test_the_folders_of_many_pages_are_complete(store: ObjectStore) -> None:
    keys = [f"many/{number:03}/object" for number in range(40)]
    for key in keys:
        store.create(key, b"", {})
    assert list(store.folders("many/")) == [f"{number:03}" for number in range(40)]


@pytest.mark.parametrize("prefix", ["a", "/", "/a/", "../", "a/../b/", "a//"])
def test_folders_are_asked_for_by_the_prefix_of_a_folder(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(ValueError, match=r"prefix|key"):
        list(store.folders(prefix))


def test_what_was_deleted_is_missing_and_may_be_created_again(
    store: ObjectStore, open_again: Callable[[], ObjectStore]
) -> None:
    for key in ("a/b", "a/c", "d"):
        store.create(key, b"first", {})
    store.delete("a/b")
    assert open_again().head("a/b") is None
    with pytest.raises(ObjectMissing, match="object"):
        store.read("a/b")
    assert [info.key for info in store.list()] == ["a/c", "d"]
    assert store.create("a/b", b"second", {}) is CREATED
    assert store.read("a/b") == b"second"


def test_what_is_missing_may_be_deleted(store: ObjectStore) -> None:
    store.create("there/it/is", b"x", {})
    for key in ("never", "nor/this", "there/it", "there/it/is/not"):
        store.delete(key)
    assert [info.key for info in store.list()] == ["there/it/is"]
    store.delete("there/it/is")
    store.delete("there/it/is")
    assert list(store.list()) == []


def test_a_delete_refuses_a_key_that_breaks_the_rules(store: ObjectStore) -> None:
    for key in BAD_KEYS:
        with pytest.raises(ValueError, match="object key"):
            store.delete(key)
