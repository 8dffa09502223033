"""What is particular to S3, on each server at hand; what one of them does otherwise is expected of it by name."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from daedalus_common.stores import CreateResult, ObjectMissing, StoreDenied, StoreMisconfigured, StoreSettings
from daedalus_common.stores.s3 import S3Store
from support.s3_gateway import S3Gateway
from support.s3_servers import Flaw, S3Server, own_name

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CompleteMultipartUploadRequestTypeDef

CREATED, EXISTS = CreateResult.CREATED, CreateResult.EXISTS
PART_BYTES = 5 * 2**20
"""The smallest that S3 allows for any part but the last."""
WRONG_SECRET = "not-the-secret-4f0e"
RACES = 20
"""Of them at least one shows the flaw of a server that has it: SeaweedFS showed it in 25 and in 27 of 40."""


class PartsUpload:
    """A multipart upload, as other programs make one: `aws s3 sync`, rclone."""

    def __init__(self, client: "S3Client", settings: StoreSettings, key: str) -> None:
        self._client, self._bucket, self._key = client, settings.bucket, f"{settings.prefix}/{key}"
        begun = client.create_multipart_upload(Bucket=self._bucket, Key=self._key, Metadata={"rows": "7"})
        self._id = begun["UploadId"]
        self._parts: list[CompletedPartTypeDef] = []

    def send(self, *bodies: bytes) -> "PartsUpload":
        for body in bodies:
            number = len(self._parts) + 1
            sent = self._client.upload_part(
                Bucket=self._bucket, Key=self._key, UploadId=self._id, PartNumber=number, Body=body
            )
            self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        return self

    def complete(self, *, replace: bool) -> None:
        """Raises ClientError with PreconditionFailed where there is an object that is not to be replaced."""
        whole: CompleteMultipartUploadRequestTypeDef = {
            "Bucket": self._bucket,
            "Key": self._key,
            "UploadId": self._id,
            "MultipartUpload": {"Parts": self._parts},
        }
        if not replace:
            whole["IfNoneMatch"] = "*"
        self._client.complete_multipart_upload(**whole)

    def abort(self) -> None:
        self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._id)


Upload = Callable[[str], PartsUpload]


@pytest.fixture
def upload(server: S3Server, server_settings: StoreSettings) -> Upload:
    """Begins a multipart upload of a key in the store's folder."""
    client = server.client()
    return lambda key: PartsUpload(client, server_settings, key)


@pytest.fixture
def store(server_settings: StoreSettings) -> S3Store:
    return S3Store(server_settings)


def unfinished(server: S3Server, settings: StoreSettings) -> list[str]:
    """The keys of this test's uploads that are neither completed nor aborted."""
    found = server.client().list_multipart_uploads(Bucket=settings.bucket, Prefix=settings.prefix)
    return [entry["Key"].removeprefix(f"{settings.prefix}/") for entry in found.get("Uploads", [])]


def test_a_server_keeps_the_contract_and_says_who_it_is(server: S3Server, store: S3Store) -> None:
    report = store.probe()
    assert report.notes == ()
    assert own_name(server.endpoint_url) == server.name


def test_an_object_that_others_uploaded_in_parts_is_one_object(store: S3Store, upload: Upload) -> None:
    body = random.Random(1).randbytes(2 * PART_BYTES + 1234)
    upload("a/b").send(body[:PART_BYTES], body[PART_BYTES : 2 * PART_BYTES], body[2 * PART_BYTES :]).complete(
        replace=True
    )
    assert store.read("a/b") == body
    assert [(info.key, info.size_bytes) for info in store.list("a/")] == [("a/b", len(body))]
    found = store.head("a/b")
    assert found is not None
    assert (found.size_bytes, found.metadata) == (len(body), {"rows": "7"})
    with store.open_input("a/b") as file:
        file.seek(PART_BYTES - 100)
        assert file.read(200) == body[PART_BYTES - 100 : PART_BYTES + 100]
    assert store.create("a/b", b"another", {}) is EXISTS
    assert store.read("a/b") == body
    store.delete("a/b")
    assert list(store.list()) == []


def test_an_unfinished_upload_is_no_object_and_aborted_leaves_nothing(
    store: S3Store, upload: Upload, server: S3Server, server_settings: StoreSettings
) -> None:
    begun = upload("a/b").send(bytes(PART_BYTES))
    assert unfinished(server, server_settings) == ["a/b"]
    assert list(store.list()) == []
    assert store.head("a/b") is None
    with pytest.raises(ObjectMissing, match="object"):
        store.read("a/b")
    assert store.create("a/b", b"ours", {}) is CREATED
    begun.abort()
    assert unfinished(server, server_settings) == []
    assert [(info.key, info.size_bytes) for info in store.list()] == [("a/b", 4)]
    assert store.read("a/b") == b"ours"


def test_parts_that_are_too_small_make_no_object(
    store: S3Store, upload: Upload, server: S3Server, server_settings: StoreSettings
) -> None:
    begun = upload("a/b").send(b"small", b"and another")
    with pytest.raises(ClientError, match="EntityTooSmall"):
        begun.complete(replace=True)
    begun.abort()
    assert unfinished(server, server_settings) == []
    assert list(store.list()) == []


def test_an_upload_in_parts_may_be_told_not_to_replace_an_object(store: S3Store, upload: Upload) -> None:
    assert store.create("a/b", b"ours", {}) is CREATED
    late = upload("a/b").send(b"theirs")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        late.complete(replace=False)
    late.abort()
    assert store.read("a/b") == b"ours"


def test_a_create_is_one_request_however_large(
    server: S3Server, server_settings: StoreSettings, gateway: S3Gateway
) -> None:
    body = random.Random(2).randbytes(32 * 2**20)
    store = S3Store(replace(server_settings, endpoint_url=gateway.url))
    assert store.create("a/b", memoryview(body), {"rows": "1"}) is CREATED
    assert [method for method, _ in gateway.requests] == ["PUT"]
    assert unfinished(server, server_settings) == []
    assert store.create("a/b", memoryview(body), {"rows": "1"}) is EXISTS
    assert store.read("a/b") == body


def winners(uploads: list[PartsUpload]) -> int:
    """Completes all at once, on condition that there is no object; how many were told that theirs is the object."""
    start = threading.Barrier(len(uploads))

    def complete(begun: PartsUpload) -> bool:
        start.wait()
        try:
            begun.complete(replace=False)
        except ClientError as error:
            if "PreconditionFailed" not in str(error):
                raise
            begun.abort()
            return False
        return True

    with ThreadPoolExecutor(len(uploads)) as pool:
        return sum(pool.map(complete, uploads))


def test_of_simultaneous_completions_one_succeeds_but_on_some_servers_more(server: S3Server, upload: Upload) -> None:
    """Why `create` never sends parts: where this fails, two writers would both believe that they have stored."""
    flawed = Flaw.SEVERAL_COMPLETE in server.flaws
    counts = []
    for race in range(RACES if flawed else 3):
        counts.append(winners([upload(f"race/{race}").send(b"%d" % number) for number in range(8)]))
        if flawed and counts[-1] > 1:
            break
    assert min(counts) >= 1
    if Flaw.SEVERAL_RARELY_COMPLETE not in server.flaws:
        assert (max(counts) > 1) == flawed, f"{server.name}: {counts} of 8 succeeded; FLAWS says otherwise"


def test_more_objects_than_a_listing_gives_at_once_are_all_listed(server_settings: StoreSettings) -> None:
    store, small_pages = S3Store(server_settings), S3Store(server_settings, list_page_size=90)
    keys = [f"many/{number:04}" for number in range(1050)]
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda key: store.create(key, b"x", {}), keys)) == {CREATED}
    for listing in (store, small_pages):
        assert [info.key for info in listing.list("many/")] == keys
        assert [info.key for info in listing.list("many/", keys[20])] == keys[21:]
        assert list(listing.folders()) == ["many"]


def test_an_unknown_access_key_is_told(server: S3Server, server_settings: StoreSettings) -> None:
    store = S3Store(replace(server_settings, access_key="AKIAUNKNOWN00004321"))
    if Flaw.ANYBODY_MAY in server.flaws:
        assert store.probe().notes == ()
        return
    with pytest.raises(
        StoreDenied, match=r"access key AKIA…4321 is unknown.*storage\.ingestion_storage\.s3\.access_key"
    ):
        store.probe()
    with pytest.raises(StoreDenied, match="unknown"):
        store.create("a", b"", {})


def test_a_wrong_secret_is_told(server: S3Server, server_settings: StoreSettings) -> None:
    store = S3Store(replace(server_settings, secret_key=WRONG_SECRET))
    if Flaw.ANYBODY_MAY in server.flaws:
        assert store.probe().notes == ()
        return
    told = r"secret does not match access key \w{4}….*storage\.ingestion_storage\.s3\.secret_key"
    with pytest.raises(StoreDenied, match=told) as denied:
        store.probe()
    assert WRONG_SECRET not in str(denied.value)
    with pytest.raises(StoreDenied, match=told):
        store.read("a")
    with pytest.raises(
        StoreDenied, match=r"answers 403 Forbidden; check access_key and secret_key of storage\.ingestion_storage\.s3"
    ):
        store.head("a")


def test_a_missing_bucket_is_told(server_settings: StoreSettings) -> None:
    store = S3Store(replace(server_settings, bucket="no-such-lake"))
    told = r"no bucket no-such-lake at http.*create it, or correct storage\.ingestion_storage\.s3\.bucket"
    with pytest.raises(StoreMisconfigured, match=told):
        store.probe()
    with pytest.raises(StoreMisconfigured, match=told):
        store.create("a", b"", {})
