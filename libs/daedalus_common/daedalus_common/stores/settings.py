"""What a store is opened with."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from daedalus_common.config import StoreSettings as StoreSection


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where one role keeps its objects. `base_dir` and `fsync` are for `local`, the rest for `s3`."""

    backend: Literal["local", "s3"] = "local"
    base_dir: Path = Path("data")
    fsync: bool = True
    bucket: str = ""
    prefix: str = ""
    """Before every key, joined by `/`; may be empty."""
    endpoint_url: str | None = None
    """None: AWS, or what AWS_ENDPOINT_URL says."""
    region: str = "us-east-1"
    path_style: bool = False
    access_key: str = field(default="", repr=False)
    """Empty, together with `secret_key`: the default chain (environment, profile, instance role)."""
    secret_key: str = field(default="", repr=False)
    role: str = "storage"
    """The configuration section that these come from, for error texts: `storage.ingestion_storage`."""


def store_settings(role: str, section: StoreSection, *, fsync: bool = True) -> StoreSettings:
    """What the section `role` of a configuration says, such as `storage.ingestion_storage`."""
    if section.backend == "local" or section.s3 is None:
        return StoreSettings(section.backend, base_dir=section.base_dir, fsync=fsync, role=role)
    s3 = section.s3
    return StoreSettings(
        section.backend,
        bucket=s3.bucket,
        prefix=s3.prefix,
        endpoint_url=s3.endpoint_url,
        region=s3.region,
        path_style=s3.path_style,
        access_key=s3.access_key.get_secret_value(),
        secret_key=s3.secret_key.get_secret_value(),
        role=role,
    )
