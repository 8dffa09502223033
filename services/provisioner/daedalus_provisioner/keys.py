"""A key for each service, with no more rights than it needs."""

from collections.abc import Iterator, Mapping

from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException, S3Error
from urllib3 import PoolManager

from daedalus_provisioner.rights import policy
from daedalus_provisioner.settings import Key, Settings


class KeysRefused(Exception):
    """The services would not get in; the text says why and what to change."""


def make_keys(settings: Settings, root: Key, keys: Mapping[str, Key], http: PoolManager) -> Iterator[str]:
    """Makes the key of each role and tells it. A key that already works (SeaweedFS has its own file of them) is left.

    Raises KeysRefused, and urllib3's errors.
    """
    missing = {role: key for role, key in keys.items() if not _works(settings, key, http)}
    for role in keys.keys() - missing.keys():
        yield f"key of {role}: works"
    if not missing:
        return
    admin = MinioAdmin(
        endpoint=settings.host,
        credentials=StaticProvider(root.access, root.secret),
        secure=settings.secure,
        http_client=http,
    )
    for role, key in missing.items():
        try:
            admin.policy_add(f"daedalus-{role}", policy=policy(role, settings.bucket))
            admin.user_add(key.access, key.secret)
            admin.policy_set(f"daedalus-{role}", user=key.access)
        except MinioAdminException as error:
            raise KeysRefused(_no_admin_api(role, settings.url, error)) from error
        if not _works(settings, key, http):
            raise KeysRefused(f"the key of {role} was made at {settings.url}, and does not let in")
        yield f"key of {role}: made, with policy daedalus-{role}"


def _works(settings: Settings, key: Key, http: PoolManager) -> bool:
    client = client_of(settings, key, http)
    try:
        return client.bucket_exists(settings.bucket)
    except S3Error as error:
        if error.code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"):
            return False
        raise


def client_of(settings: Settings, key: Key, http: PoolManager) -> Minio:
    """A client for this key."""
    return Minio(
        settings.host,
        access_key=key.access,
        secret_key=key.secret,
        secure=settings.secure,
        region=settings.region,
        http_client=http,
    )


def _no_admin_api(role: str, url: str, error: MinioAdminException) -> str:
    reason = " ".join(str(error).split())[:200]
    return (
        f"no key was made for {role}: the server at {url} does not take MinIO's admin API ({reason}). Make the keys by "
        "the server's own means, or let all services use the administrator's: OBJECT_STORE_KEYS=shared in .env"
    )
