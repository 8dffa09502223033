"""S3: lost answers, conflicts and cut connections, through a gateway in front of every server."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daedalus_common.stores import CreateResult, StoreSettings, StoreUnavailable
from daedalus_common.stores.s3 import S3Store
from support.s3_gateway import Answer, Ask, S3Gateway, answer, cut_at_once, cut_the_body, lose_the_answer
from support.s3_servers import S3Server

CREATED, EXISTS = CreateResult.CREATED, CreateResult.EXISTS


@pytest.fixture
def store(server_settings: StoreSettings, gateway: S3Gateway) -> S3Store:
    return S3Store(replace(server_settings, endpoint_url=gateway.url), list_page_size=2)


def test_a_create_whose_answer_was_lost_says_exists_and_the_object_is_there(store: S3Store, gateway: S3Gateway) -> None:
    gateway.plan("PUT", lose_the_answer)
    assert store.create("a/b", b"body", {"rows": "1"}) is EXISTS
    assert store.read("a/b") == b"body"
    found = store.head("a/b")
    assert found is not None
    assert found.metadata == {"rows": "1"}


def test_a_create_that_was_answered_too_late_says_exists(server_settings: StoreSettings, gateway: S3Gateway) -> None:
    late = threading.Event()

    def answer_late(ask: Ask) -> Answer:
        found = ask()
        late.wait(10)
        return found

    gateway.plan("PUT", answer_late)
    patience = timedelta(milliseconds=500)
    store = S3Store(replace(server_settings, endpoint_url=gateway.url), read_timeout=patience)
    assert store.create("a/b", memoryview(b"body"), {}) is EXISTS
    assert store.read("a/b") == b"body"
    late.set()


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_conflict_with_another_create_is_tried_again(store: S3Store, gateway: S3Gateway, code: str) -> None:
    gateway.plan("PUT", answer(409, code), answer(409, code))
    assert store.create("a/b", memoryview(b"body" * 100_000), {}) is CREATED
    assert store.read("a/b") == b"body" * 100_000
    assert gateway.pending() == 0


def test_a_conflict_that_does_not_end_is_a_reason_to_wait(store: S3Store, gateway: S3Gateway) -> None:
    gateway.plan("PUT", *[answer(409, "ConditionalRequestConflict")] * 3)
    with pytest.raises(StoreUnavailable, match="answers 409 ConditionalRequestConflict"):
        store.create("a/b", b"", {})


def test_an_overloaded_server_is_tried_again(store: S3Store, gateway: S3Gateway) -> None:
    gateway.plan("PUT", answer(503, "SlowDown"), answer(500, "InternalError"))
    assert store.create("a/b", memoryview(b"body"), {}) is CREATED
    gateway.plan("PUT", *[answer(503, "SlowDown")] * 3)
    with pytest.raises(StoreUnavailable, match="503 SlowDown"):
        store.create("a/c", b"", {})
    assert gateway.pending() == 0


@pytest.mark.parametrize(
    ("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")], ids=["503", "500", "429"]
)
def test_every_call_is_made_again_where_the_server_is_overloaded(
    store: S3Store, gateway: S3Gateway, status: int, code: str
) -> None:
    fault = answer(status, code)
    gateway.plan("PUT", fault)
    assert store.create("a/b", b"body", {}) is CREATED
    gateway.plan("HEAD", fault)
    assert store.head("a/b") is not None
    gateway.plan("GET", fault)
    assert store.read("a/b") == b"body"
    gateway.plan("GET", fault)
    assert [info.key for info in store.list("a/")] == ["a/b"]
    gateway.plan("GET", fault)
    assert list(store.folders()) == ["a"]
    gateway.plan("DELETE", fault)
    store.delete("a/b")
    assert store.head("a/b") is None
    assert gateway.pending() == 0


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (429, "TooManyRequests")], ids=["500", "429"])
def test_an_overload_that_does_not_end_is_a_reason_to_wait(
    store: S3Store, gateway: S3Gateway, status: int, code: str
) -> None:
    gateway.plan("PUT", *[answer(status, code)] * 3)
    with pytest.raises(StoreUnavailable, match=f"answers {status} {code}"):
        store.create("a/b", b"body", {})
    assert gateway.pending() == 0
    assert store.create("a/b", b"body", {}) is CREATED


def test_a_delete_whose_answer_was_lost_is_done(store: S3Store, gateway: S3Gateway) -> None:
    store.create("a/b", b"body", {})
    gateway.plan("DELETE", lose_the_answer)
    store.delete("a/b")
    assert store.head("a/b") is None
    assert gateway.pending() == 0


def test_a_read_that_is_cut_is_read_again(store: S3Store, gateway: S3Gateway) -> None:
    body = random.Random(1).randbytes(300_000)
    store.create("a/b", body, {})
    gateway.plan("GET", cut_the_body)
    assert store.read("a/b") == body
    with store.open_input("a/b") as file:
        gateway.plan("GET", cut_the_body, cut_the_body)
        assert file.read() == body
    assert gateway.pending() == 0


def test_a_listing_with_lost_answers_is_complete(store: S3Store, gateway: S3Gateway) -> None:
    for number in range(7):
        store.create(f"a/{number}", b"", {})
    gateway.plan("GET", lambda ask: ask(), lose_the_answer, lose_the_answer, lambda ask: ask(), answer(503, "SlowDown"))
    assert [info.key for info in store.list("a/")] == [f"a/{number}" for number in range(7)]
    assert gateway.pending() == 0


def test_a_listing_that_cannot_go_on_raises_and_does_not_end_early(store: S3Store, gateway: S3Gateway) -> None:
    for number in range(5):
        store.create(f"a/{number}", b"", {})
    gateway.plan("GET", lambda ask: ask(), *[answer(503, "SlowDown")] * 3)
    listing = store.list("a/")
    assert [next(listing).key, next(listing).key] == ["a/0", "a/1"]
    with pytest.raises(StoreUnavailable, match="cannot list a/"):
        next(listing)


def test_the_metadata_of_a_large_parquet_file_costs_two_small_requests(store: S3Store, gateway: S3Gateway) -> None:
    sink = pa.BufferOutputStream()
    chance = random.Random(3)
    table = pa.table({"price": [chance.random() for _ in range(300_000)]})
    pq.write_table(table.replace_schema_metadata({"last_seq": "299999"}), sink)
    body = memoryview(sink.getvalue())
    assert len(body) > 2_000_000
    store.create("a.parquet", body, {})
    gateway.requests.clear()
    with store.open_input("a.parquet") as file:
        metadata = pq.read_metadata(file).metadata
    assert metadata[b"last_seq"] == b"299999"
    assert [method for method, _ in gateway.requests] == ["HEAD", "GET"]
    assert sum(size_bytes for _, size_bytes in gateway.requests) <= 65536


def test_many_threads_share_one_store(store: S3Store) -> None:
    bodies = {f"t/{number:03}": random.Random(number).randbytes(50_000) for number in range(60)}
    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(lambda item: store.create(item[0], memoryview(item[1]), {}), bodies.items()))
    assert results == [CREATED] * len(bodies)
    assert all(store.read(key) == body for key, body in bodies.items())


def test_metadata_returns_from_head_as_it_was_given(store: S3Store) -> None:
    metadata = {
        "market": "binanceus:BTC/USDT",
        "first-id": "1770127200000-0",
        "note": "  spaces, 100% ünïcödé 币安人生\nand a line  ",
        "hash": "q+/=~!*'()",
    }
    store.create("a/b", b"", metadata)
    found = store.head("a/b")
    assert found is not None
    assert found.metadata == metadata
    (listed,) = store.list()
    assert listed.metadata == {}


def test_two_prefixes_of_one_bucket_do_not_meet(server_settings: StoreSettings) -> None:
    prefixes = (f"/{server_settings.prefix}/{name}/" for name in ("one", "one-two"))
    one, two = (S3Store(replace(server_settings, prefix=prefix)) for prefix in prefixes)
    one.create("a", b"one", {})
    assert two.create("a", b"two", {}) is CREATED
    assert [info.key for info in one.list()] == ["a"]
    assert one.read("a") == b"one"


def test_a_store_without_a_prefix_keeps_keys_as_they_are(server: S3Server) -> None:
    bare = replace(server, bucket="lake-without-prefix").with_bucket()
    store = S3Store(bare.settings(""))
    assert list(store.list()) == []
    assert list(store.folders()) == []
    store.create("bronze/a.parquet", b"x", {})
    found = bare.client().list_objects_v2(Bucket=bare.bucket)
    assert [entry["Key"] for entry in found["Contents"]] == ["bronze/a.parquet"]
    assert [info.key for info in store.list()] == ["bronze/a.parquet"]


def test_a_server_that_was_away_is_used_again(store: S3Store, gateway: S3Gateway) -> None:
    gateway.plan("PUT", *[cut_at_once] * 3)
    with pytest.raises(StoreUnavailable, match="does not answer: Connection was closed"):
        store.create("a/b", b"body", {})
    assert store.create("a/b", b"body", {}) is CREATED
