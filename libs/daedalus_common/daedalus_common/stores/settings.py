"""What a store is opened with."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


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
