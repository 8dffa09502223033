"""Objects in a bucket of any S3-compatible server."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError, ResponseStreamingError
from botocore.parsers import ResponseParserError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from daedalus_common.stores.keys import (
    check_folder,
    check_key,
    check_listing,
    decode_metadata,
    encode_metadata,
    is_reserved,
    reserved_name,
)
from daedalus_common.stores.object_store import (
    CreateResult,
    ObjectInfo,
    StoreDenied,
    StoreError,
    StoreMisconfigured,
    StoreReport,
)
from daedalus_common.stores.range_input import open_range_input
from daedalus_common.stores.s3_cut_answers import CutBody, refuse_cut_bodies, refuse_cut_headers
from daedalus_common.stores.s3_errors import Place, http_status, mask, translate
from daedalus_common.stores.s3_expect import mend_expect
from daedalus_common.stores.settings import StoreSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ListObjectsV2RequestTypeDef

_T = TypeVar("_T")

_INPUT_BUFFER_BYTES = 64 * 1024  # what pyarrow asks for first when it looks for a Parquet footer
_OUTPUT_BUFFER_BYTES = 1024 * 1024
_PROBE_WRITERS = 2  # on SeaweedFS whoever comes second waits for a second
_CHAIN_WITH_FIXED_KEYS = frozenset({"env", "shared-credentials-file", "config-file"})


mend_expect()
refuse_cut_headers()


class S3Store:
    """`ObjectStore` in one bucket, under an optional prefix, on any S3-compatible server.

    A create is one PUT with `If-None-Match: *`, never an upload in parts, whose completion not every server makes
    conditional (docs/object-stores.md); 412 means that the object exists. botocore repeats requests
    whose answer is lost, late or 5xx (mode `standard`, `attempts` in all); a repeated create then finds the
    object of the first attempt and returns EXISTS. Repeated here: 409, which AWS answers while another create
    of the same key is under way, and answers cut off in the middle of the body, which botocore leaves alone.

    Raises StoreError at once for settings that cannot work; nothing is sent before the first call.
    """

    def __init__(
        self,
        settings: StoreSettings,
        *,
        attempts: int = 3,
        connect_timeout: timedelta = timedelta(seconds=5),
        read_timeout: timedelta = timedelta(seconds=30),
        list_page_size: int = 1000,
    ) -> None:
        self._bucket = settings.bucket
        self._prefix = _checked_prefix(settings)
        self._addressing: Literal["path", "auto"] = "path" if settings.path_style else "auto"
        self._list_page_size = list_page_size
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=connect_timeout.total_seconds(),
            read_timeout=read_timeout.total_seconds(),
            max_pool_connections=32,
            s3={"addressing_style": self._addressing},
            # Integrity comes from the SHA-256 of the body in the signature, which every server checks. The
            # checksum trailers that boto3 sends by default are refused or ignored by many that are not AWS.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._client, credentials, secrets = _connect(settings, config)
        refuse_cut_bodies(self._client)
        self._place = Place(
            location=f"s3://{self._bucket}/{self._prefix} at {self._client.meta.endpoint_url}",
            endpoint_url=self._client.meta.endpoint_url,
            bucket=self._bucket,
            region=settings.region,
            role=settings.role,
            credentials=credentials,
            secrets=secrets,
        )
        self._patiently = Retrying(
            retry=retry_if_exception(_is_passing),
            stop=stop_after_attempt(attempts),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            reraise=True,
        )

    def __repr__(self) -> str:
        return f"S3Store({self.describe()!r})"

    def describe(self) -> str:
        return self._place.location

    def create(self, key: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        name, encoded = self._name(key), encode_metadata(metadata)
        return self._do(f"create {key}", lambda: self._put(name, data, encoded))

    def read(self, key: str) -> bytes:
        name = self._name(key)

        def fetch() -> bytes:
            return self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read()

        return self._do(f"read {key}", fetch)

    def open_input(self, key: str) -> BinaryIO:
        name = self._name(key)
        found = self._do(f"read {key}", lambda: self._client.head_object(Bucket=self._bucket, Key=name))

        def fetch(start: int, stop: int) -> bytes:
            where = f"bytes={start}-{stop - 1}"
            return self._client.get_object(Bucket=self._bucket, Key=name, Range=where)["Body"].read()

        def read_range(start: int, stop: int) -> bytes:
            return self._do(f"read {key}", lambda: fetch(start, stop))

        return open_range_input(read_range, found["ContentLength"], _INPUT_BUFFER_BYTES)

    def head(self, key: str) -> ObjectInfo | None:
        name = self._name(key)

        def look() -> ObjectInfo | None:
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=name)
            except ClientError as error:
                if http_status(error) == 404:
                    return None
                raise
            modified = found["LastModified"].astimezone(UTC)
            return ObjectInfo(key, found["ContentLength"], modified, decode_metadata(found["Metadata"]))

        return self._do(f"look at {key}", look)

    def list(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        check_listing(prefix, start_after)
        where: ListObjectsV2RequestTypeDef = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        if start_after is not None:
            where["StartAfter"] = self._prefix + start_after
        for page in self._pages(where, f"list {prefix or 'everything'}"):
            for entry in page.get("Contents", []):
                key = entry["Key"].removeprefix(self._prefix)
                if not is_reserved(key.rpartition("/")[2]):
                    yield ObjectInfo(key, entry["Size"], entry["LastModified"].astimezone(UTC))

    def folders(self, prefix: str = "") -> Iterator[str]:
        check_folder(prefix)
        parent = self._prefix + prefix
        where: ListObjectsV2RequestTypeDef = {"Bucket": self._bucket, "Prefix": parent, "Delimiter": "/"}
        names = [
            folder["Prefix"].removeprefix(parent).rstrip("/")
            for page in self._pages(where, f"list {prefix or 'everything'}")
            for folder in page.get("CommonPrefixes", [])
        ]
        yield from sorted(names)

    def delete(self, key: str) -> None:
        name = self._name(key)
        self._do(f"delete {key}", lambda: self._client.delete_object(Bucket=self._bucket, Key=name))

    def _pages(self, where: "ListObjectsV2RequestTypeDef", doing: str) -> "Iterator[ListObjectsV2OutputTypeDef]":
        # A later page begins after the last key of the one before, by its token. (Not boto3's paginator: its
        # iterator ends at an error, so that a retry would see a listing that is short without a sign of it.)
        where["MaxKeys"] = self._list_page_size
        while True:
            page = self._do(doing, lambda: self._client.list_objects_v2(**where))
            yield page
            if not page.get("IsTruncated"):
                return
            token = page.get("NextContinuationToken")
            if not token:
                raise self._unfit("the server cuts listings short without a token to go on with")
            where["ContinuationToken"] = token

    def probe(self) -> StoreReport:
        # Listing comes first: unlike HEAD it tells a wrong key, a wrong secret and a missing bucket apart, and
        # unlike PUT it never makes SeaweedFS create a bucket whose name was mistyped.
        found = self._do(
            "list the bucket",
            lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1),
        )
        name = self._prefix + reserved_name("probe")
        try:
            create_seconds = self._do("create objects", lambda: self._try_out(name))
        finally:
            notes = self._remove_probe(name)
        return StoreReport(
            "s3",
            self.describe(),
            create_seconds,
            endpoint_url=self._place.endpoint_url,
            bucket=self._bucket,
            addressing=self._addressing,
            server=found["ResponseMetadata"]["HTTPHeaders"].get("server"),
            notes=notes,
        )

    def _name(self, key: str) -> str:
        return check_key(self._prefix + check_key(key))

    def _put(self, name: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        # A view goes as a file over it: a copy could cost as much memory again as the largest segment, 100 MB.
        body = data if isinstance(data, bytes) else _input_over(data)
        try:
            self._client.put_object(Bucket=self._bucket, Key=name, Body=body, Metadata=metadata, IfNoneMatch="*")
        except ClientError as error:
            if http_status(error) == 412:
                return CreateResult.EXISTS
            raise
        return CreateResult.CREATED

    def _do(self, doing: str, call: Callable[[], _T]) -> _T:
        try:
            return self._patiently(call)
        except (ClientError, BotoCoreError, ResponseParserError, ValueError) as error:
            raise translate(error, doing, self._place) from error

    def _try_out(self, name: str) -> float:
        """Race creates of one object, as a writer and its successor might. Returns the seconds of the fastest."""
        metadata = encode_metadata({"check": "a=b c%d"})

        def create(writer: int) -> tuple[CreateResult, float]:
            started = time.perf_counter()
            result = self._put(name, b"%d" % writer, metadata)
            return result, time.perf_counter() - started

        with ThreadPoolExecutor(_PROBE_WRITERS) as pool:
            results = list(pool.map(create, range(_PROBE_WRITERS)))
        kept = self._client.head_object(Bucket=self._bucket, Key=name)["Metadata"]
        created = sum(result is CreateResult.CREATED for result, _ in results)
        if created > 1:
            cause = f"{created} of {_PROBE_WRITERS} simultaneous creates of one object succeeded"
            raise self._unfit(f"the server does not keep If-None-Match: {cause}")
        if decode_metadata(kept) != decode_metadata(metadata):
            raise self._unfit(f"the server changes user metadata: sent {metadata}, found {kept}")
        return min(seconds for _, seconds in results)

    def _unfit(self, cause: str) -> StoreError:
        fix = "exactly-once storage needs it: use a newer version of the server, or another one"
        return StoreMisconfigured(f"{self.describe()}: {cause}; {fix}")

    def _remove_probe(self, name: str) -> tuple[str, ...]:
        try:
            self._do("delete the probe object", lambda: self._client.delete_object(Bucket=self._bucket, Key=name))
        except StoreError as error:
            return (f"the probe object {name} stays behind: {error}",)
        return ()


def _input_over(data: memoryview) -> BinaryIO:
    view = data.cast("B")
    return open_range_input(lambda start, stop: view[start:stop], len(view), _OUTPUT_BUFFER_BYTES)


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, ClientError):
        return http_status(error) == 409
    return isinstance(error, (CutBody, IncompleteReadError, ResponseStreamingError))


def _checked_prefix(settings: StoreSettings) -> str:
    prefix = settings.prefix.strip("/")
    try:
        return check_key(prefix) + "/" if prefix else ""
    except ValueError as error:
        raise StoreMisconfigured(f"{settings.role}.s3.prefix cannot begin a key: {error}") from error


def _connect(settings: StoreSettings, config: Config) -> "tuple[S3Client, str, tuple[str, ...]]":
    """The client, how error texts call its credentials, and what no text may contain."""
    where = f"{settings.role}.s3"
    if bool(settings.access_key) != bool(settings.secret_key):
        missing = "secret_key" if settings.access_key else "access_key"
        fix = "set both keys, or neither for the default chain (AWS_* variables, profile, instance role)"
        raise StoreMisconfigured(f"{where}.{missing} is missing: {fix}")
    try:
        session = boto3.session.Session(
            aws_access_key_id=settings.access_key or None,
            aws_secret_access_key=settings.secret_key or None,
            region_name=settings.region,
        )
        client = session.client("s3", endpoint_url=settings.endpoint_url, config=config)
        credentials = session.get_credentials()
    except (BotoCoreError, ValueError) as error:
        fix = "check endpoint_url, region and the AWS profile"
        raise StoreMisconfigured(f"{where}: {error}; {fix}") from error
    if credentials is None:
        fix = f"set {where}.access_key and {where}.secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise StoreDenied(f"{where}: no credentials for bucket {settings.bucket}; {fix}")
    if settings.access_key:
        return client, f"access key {mask(settings.access_key)}", (settings.secret_key,)
    if credentials.method in _CHAIN_WITH_FIXED_KEYS:
        label = f"access key {mask(credentials.access_key)} (from {credentials.method})"
        return client, label, (credentials.secret_key,)
    return client, f"the credentials from {credentials.method}", ()
