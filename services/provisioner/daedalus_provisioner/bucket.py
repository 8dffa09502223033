"""The bucket and its lifecycle."""

from collections.abc import Iterator

from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, Expiration, LifecycleConfig, Rule

# A part of an upload that was never finished: nobody sees it, and it takes room.
_ABORT_AFTER_DAYS = 1


def prepare_bucket(client: Minio, bucket: str, region: str, expire_bronze_days: int) -> Iterator[str]:
    """Makes what is missing and tells each thing that was, or was not, done. Raises S3Error and urllib3's errors."""
    if client.bucket_exists(bucket):
        yield f"bucket {bucket}: was there"
    else:
        client.make_bucket(bucket, location=region)
        yield f"bucket {bucket}: made"
    yield from _set_lifecycle(client, bucket, expire_bronze_days)


def _set_lifecycle(client: Minio, bucket: str, expire_bronze_days: int) -> Iterator[str]:
    expire = [_expire_bronze(expire_bronze_days)] if expire_bronze_days else []
    kept = f"raw events are deleted after {expire_bronze_days} days" if expire else "nothing is deleted by age"
    try:
        client.set_bucket_lifecycle(bucket, LifecycleConfig([_abort_uploads(), *expire]))
    except S3Error as error:
        # MinIO does not take this rule; it removes such parts after a day by itself.
        yield f"lifecycle: not set, unfinished uploads after a day (the server refuses the rule: {error.code})"
        if expire:
            client.set_bucket_lifecycle(bucket, LifecycleConfig(expire))
        else:
            client.delete_bucket_lifecycle(bucket)
    else:
        yield "lifecycle: unfinished uploads are removed after a day"
    yield f"lifecycle: {kept}"


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
