"""`storage`: where Parquet goes and comes from, by role."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from daedalus_common.config.sections.base import Allowed, FilePath, HttpUrl, Name, Section, reject

_SEED_LAYOUT = "removed: objects are created once, under bronze/, silver/, gold/ and quality/ below base_dir"


def _relative_prefix(value: str) -> str:
    if value.startswith("/") or "//" in value or ".." in value.split("/"):
        reject("no usable prefix", hint="leave out leading and double slashes and '..'")
    return value


class S3Settings(Section):
    """An S3-compatible bucket. Without keys, boto3's own chain applies (environment, profile, instance role)."""

    bucket: Annotated[
        str,
        Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"),
        Allowed("a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens"),
    ]
    prefix: Annotated[str, AfterValidator(_relative_prefix), Allowed("a key prefix without a leading slash")] = ""
    endpoint_url: HttpUrl | None = None
    region: Name = "us-east-1"
    path_style: bool = False
    access_key: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")
    access_key_file: FilePath | None = None
    secret_key_file: FilePath | None = None


class StoreSettings(Section):
    """One store: a local directory, or a bucket."""

    backend: Literal["local", "s3"] = "local"
    base_dir: FilePath = Path("data")
    s3: S3Settings | None = None


class PathSettings(Section):
    """Local directories that are no store."""

    state_dir: FilePath = Path("temp/state")

    retired_keys = dict.fromkeys(
        ("raw_dir", "active_subdir", "ready_subdir", "processing_subdir", "processed_dir"), _SEED_LAYOUT
    )


class StorageSettings(Section):
    """Bronze and quality go to `ingestion_storage`, Silver and Gold to `etl_storage_output`.

    Batch reads Bronze from `etl_storage_input`.
    """

    ingestion_storage: StoreSettings = StoreSettings()
    etl_storage_input: StoreSettings = StoreSettings()
    etl_storage_output: StoreSettings = StoreSettings()
    paths: PathSettings = PathSettings()
