"""The bucket and its lifecycle."""

from collections.abc import Iterator

from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, Expiration, LifecycleConfig, Rule

# A part of an upload that was never finished: nobody sees it, and it takes room.
_ABORT_AFTER_DAYS = 1
_KEPT = "lifecycle: nothing is deleted by age"


class LifecycleRefused(Exception):
    """What was asked for is not to be had of this server; the text says what to change."""


def prepare_bucket(client: Minio, bucket: str, region: str, expire_bronze_days: int) -> Iterator[str]:
    """Makes what is missing and tells each thing that was, or was not, done.

    Raises LifecycleRefused, S3Error and urllib3's errors.
    """
    if client.bucket_exists(bucket):
        yield f"bucket {bucket}: was there"
    else:
        client.make_bucket(bucket, location=region)
        yield f"bucket {bucket}: made"
    yield from _set_lifecycle(client, bucket, expire_bronze_days)


def _set_lifecycle(client: Minio, bucket: str, expire_bronze_days: int) -> Iterator[str]:
    expire = [_expire_bronze(expire_bronze_days)] if expire_bronze_days else []
    try:
        client.set_bucket_lifecycle(bucket, LifecycleConfig([_abort_uploads(), *expire]))
    except S3Error as error:
        # MinIO does not take this rule; it removes such parts after a day by itself.
        yield f"lifecycle: not set, unfinished uploads after a day (the server refuses the rule: {error.code})"
        if not expire:
            yield from _keep_all(client, bucket)
            return
        _set_alone(client, bucket, expire)
    else:
        yield "lifecycle: unfinished uploads are removed after a day"
    yield f"lifecycle: raw events are deleted after {expire_bronze_days} days" if expire else _KEPT


def _set_alone(client: Minio, bucket: str, expire: list[Rule]) -> None:
    try:
        client.set_bucket_lifecycle(bucket, LifecycleConfig(expire))
    except S3Error as error:
        reason = f"{error.code}: {error.message}"
        raise LifecycleRefused(
            f"the server does not delete by age ({reason}); EXPIRE_BRONZE_DAYS=0 in .env keeps everything"
        ) from error


def _keep_all(client: Minio, bucket: str) -> Iterator[str]:
    """Removes what an earlier run may have set. Raises S3Error where there is something that stays."""
    try:
        before = client.get_bucket_lifecycle(bucket)
    except S3Error as error:
        if error.code != "NotImplemented":
            yield f"lifecycle: the server does not say whether it deletes by age ({error.code}): look at its settings"
            return
        before = None
    # Only then: to a server that overlooks the word `lifecycle` it would mean to delete the bucket.
    if before is not None and before.rules:
        client.delete_bucket_lifecycle(bucket)
    yield _KEPT


def _abort_uploads() -> Rule:
    return Rule(
        status=ENABLED,
        rule_filter=Filter(prefix=""),
        rule_id="unfinished-uploads",
        abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(_ABORT_AFTER_DAYS),
    )


def _expire_bronze(days: int) -> Rule:
    return Rule(
        status=ENABLED, rule_filter=Filter(prefix="bronze/"), rule_id="bronze", expiration=Expiration(days=days)
    )
