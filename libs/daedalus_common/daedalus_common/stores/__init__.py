"""Where objects are kept: `open_store(settings)` gives an `ObjectStore`, on a disk or in a bucket."""

from daedalus_common.stores.disk import LocalDisk
from daedalus_common.stores.object_store import (
    CreateResult,
    ObjectInfo,
    ObjectMissing,
    ObjectStore,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreReport,
    StoreUnavailable,
)
from daedalus_common.stores.settings import StoreSettings, store_settings

__all__ = [
    "CreateResult",
    "LocalDisk",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectStore",
    "StoreDenied",
    "StoreError",
    "StoreFull",
    "StoreMisconfigured",
    "StoreReport",
    "StoreSettings",
    "StoreUnavailable",
    "open_store",
    "store_settings",
]


def open_store(settings: StoreSettings) -> ObjectStore:
    """The store that the settings name. Touches neither disk nor network: call its `probe` at startup.

    Raises StoreMisconfigured or StoreDenied for settings that cannot work as they are.
    """
    if settings.backend == "local":
        return LocalDisk(settings.base_dir, fsync=settings.fsync, role=settings.role)
    if settings.backend != "s3":
        raise StoreMisconfigured(f"{settings.role}.backend is {settings.backend!r}; allowed are 'local' and 's3'")
    if not settings.bucket:
        raise StoreMisconfigured(f"{settings.role}.s3.bucket is missing: name the bucket")
    # Not at the top: boto3 costs 40 MiB and 0.25 s, which a service on a local disk need not pay.
    from daedalus_common.stores.s3 import S3Store

    return S3Store(settings)
