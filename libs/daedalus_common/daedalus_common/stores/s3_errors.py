"""From what boto3 raises to a `StoreError` that names the cause and the fix. Pure: no I/O."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointResolutionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from daedalus_common.stores.object_store import (
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
)

Failure = ClientError | BotoCoreError | ResponseParserError | ValueError
"""What calls of a boto3 client raise; ValueError for an answer with, say, a date that is none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which server, bucket and key id an error text speaks of."""

    location: str
    """As `ObjectStore.describe`."""
    endpoint_url: str
    bucket: str
    region: str
    role: str
    """Configuration section, such as `storage.ingestion_storage`."""
    credentials: str
    """How to call the credentials: `access key AKIA…1234`."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Blotted out of whatever a server answers."""


def mask(key_id: str) -> str:
    """Enough of an access key id to recognise it: `AKIA…1234`."""
    return f"{key_id[:4]}…{key_id[-4:]}" if len(key_id) >= 12 else f"{key_id[:2]}…"


def error_code(error: ClientError) -> str:
    """The code of an S3 answer; where it has no body (HEAD) the HTTP status as text."""
    return str(error.response.get("Error", {}).get("Code", ""))


def http_status(error: ClientError) -> int:
    """The HTTP status of an S3 answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def translate(error: Failure, doing: str, place: Place) -> StoreError:
    """The StoreError for what boto3 raised while `doing` ("create KEY", "list PREFIX")."""
    found = _of_answer(error, place) if isinstance(error, ClientError) else _of_client(error, place)
    kind, cause, fix = found
    return kind(_blot(f"{place.location}: cannot {doing}: {cause}; {fix}", place.secrets))


_SHORTEST_SECRET = 8  # MinIO's limit; AWS's have 40 characters
_PASSING = frozenset({408, 409, 425, 429})

_Finding = tuple[type[StoreError], str, str]


def _of_answer(error: ClientError, place: Place) -> _Finding:
    code, status = error_code(error), http_status(error)
    explain = _BY_CODE.get(code)
    if explain is not None:
        return explain(place, error.response)
    message = error.response.get("Error", {}).get("Message", "")
    if code.isdecimal():
        return _without_body(error.operation_name, status, message, place)
    said = f"the server answers {status} {code}: {message}".rstrip(": ")
    if status == 507:
        return StoreFull, said, "free some space on the server or raise its quota"
    if status in _PASSING or (status >= 500 and status != 501):
        return StoreUnavailable, said, "it may pass by itself; otherwise see the server's log"
    if status in (401, 403):
        return StoreDenied, said, f"check access_key and secret_key of {place.role}.s3, and their rights"
    return StoreMisconfigured, said, f"check {place.role}.s3 against what this server supports"


def _without_body(operation: str, status: int, message: str, place: Place) -> _Finding:
    """An answer without an S3 error in it: to HEAD, which has no body, or from what is not an S3 server."""
    said = f"the server answers {status} {message}".strip()
    if operation == "HeadObject" and status == 404:
        return _missing(place, {})
    if operation == "HeadObject" and status in (401, 403):
        return StoreDenied, said, f"check access_key and secret_key of {place.role}.s3, and their rights"
    # botocore makes a 500 of a 200 with a web page in it.
    kind = StoreUnavailable if status in _PASSING or status >= 500 else StoreMisconfigured
    fix = f"check that {place.endpoint_url} is an S3 server's, in {place.role}.s3.endpoint_url"
    return kind, f"{said}, without an S3 error", fix


def _of_client(error: BotoCoreError | ResponseParserError | ValueError, place: Place) -> _Finding:
    said = " ".join(str(error).split())
    setting = f"{place.role}.s3"
    match error:
        case NoCredentialsError():
            return StoreDenied, "there are no credentials", f"set access_key and secret_key of {setting}"
        case PartialCredentialsError() | CredentialRetrievalError():
            return StoreDenied, said, f"set access_key and secret_key of {setting}"
        case SSLError():
            fix = f"check http/https and the certificate of {setting}.endpoint_url"
            return StoreMisconfigured, f"no TLS with {place.endpoint_url}: {said}", fix
        case ParamValidationError() | EndpointResolutionError():
            return StoreMisconfigured, said, f"check {setting}.bucket, .region and .endpoint_url"
        case ResponseParserError() | ValueError():
            fix = f"check host and port of {setting}.endpoint_url"
            return StoreMisconfigured, f"{place.endpoint_url} does not speak S3: {said}", fix
        case _:
            fix = f"check that the server runs and that {setting}.endpoint_url is right"
            return StoreUnavailable, f"{place.endpoint_url} does not answer: {said}", fix


def _unknown_key(place: Place, _: Any) -> _Finding:
    return StoreDenied, f"{place.credentials} is unknown to the server", f"check {place.role}.s3.access_key"


def _wrong_secret(place: Place, _: Any) -> _Finding:
    cause = f"the secret does not match {place.credentials}"
    return StoreDenied, cause, f"check {place.role}.s3.secret_key"


def _no_right(place: Place, _: Any) -> _Finding:
    cause = f"{place.credentials} has no permission for it on bucket {place.bucket}"
    return StoreDenied, cause, "grant it list, read, write and delete there, or use other credentials"


def _expired(place: Place, _: Any) -> _Finding:
    return StoreDenied, f"the session token of {place.credentials} is not valid any more", "renew it"


def _no_bucket(place: Place, _: Any) -> _Finding:
    cause = f"there is no bucket {place.bucket} at {place.endpoint_url}"
    return StoreMisconfigured, cause, f"create it, or correct {place.role}.s3.bucket"


def _bad_bucket_name(place: Place, _: Any) -> _Finding:
    cause = f"the server does not accept {place.bucket!r} as a bucket name"
    return StoreMisconfigured, cause, f"correct {place.role}.s3.bucket"


def _other_region(place: Place, answer: Any) -> _Finding:
    said = answer.get("Error", {}).get("Message", "")
    cause = f"bucket {place.bucket} is not in region {place.region}: {said}"
    return StoreMisconfigured, cause, f"correct {place.role}.s3.region or .endpoint_url"


def _clocks_differ(place: Place, _: Any) -> _Finding:
    # Retryable: a machine without a clock of its own (Raspberry Pi) starts before NTP has set the time.
    cause = f"the clocks of this machine and of {place.endpoint_url} differ too much"
    return StoreUnavailable, cause, "set this machine's clock (NTP)"


def _full(place: Place, answer: Any) -> _Finding:
    said = answer.get("Error", {}).get("Message", "")
    return StoreFull, f"no space or quota left: {said}", "free some space on the server or raise its quota"


def _missing(place: Place, _: Any) -> _Finding:
    return ObjectMissing, f"there is no such object in bucket {place.bucket}", "check that it was written"


_BY_CODE: dict[str, Callable[[Place, Any], _Finding]] = {
    "InvalidAccessKeyId": _unknown_key,
    "SignatureDoesNotMatch": _wrong_secret,
    "AccessDenied": _no_right,
    "AllAccessDisabled": _no_right,
    "ExpiredToken": _expired,
    "InvalidToken": _expired,
    "NoSuchBucket": _no_bucket,
    "InvalidBucketName": _bad_bucket_name,
    "PermanentRedirect": _other_region,
    "AuthorizationHeaderMalformed": _other_region,
    "IllegalLocationConstraintException": _other_region,
    "RequestTimeTooSkewed": _clocks_differ,
    "QuotaExceeded": _full,
    "XMinioStorageFull": _full,
    "XMinioAdminBucketQuotaExceeded": _full,
    "NoSuchKey": _missing,
}


def _blot(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        # A secret such as `test` is none, and blotting it out would make the text unreadable.
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text
