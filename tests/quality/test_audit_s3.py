"""The same two commands on a real S3 server."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from daedalus_common.config import parse_config
from daedalus_common.markets import Market
from daedalus_common.stores import ObjectStore, open_store, store_settings
from support.bronze import BronzeBuilder, varied_events
from support.seaweedfs import ADMIN, SeaweedServer


@pytest.fixture
def config(seaweedfs: SeaweedServer) -> dict[str, Any]:
    s3 = {"bucket": "lake", "prefix": uuid4().hex, "endpoint_url": seaweedfs.endpoint_url, "path_style": True}
    keys = {"access_key": ADMIN.access_key, "secret_key": ADMIN.secret_key}
    store = {"backend": "s3", "s3": s3 | keys}
    return {"storage": {"ingestion_storage": store, "etl_storage_output": store}}


def test_a_recording_on_s3_is_audited_and_a_missing_segment_named(
    config: dict[str, Any], tmp_path: Path, daedalus: Callable[..., Any]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    section = parse_config(config).storage.ingestion_storage
    store: ObjectStore = open_store(store_settings("storage.ingestion_storage", section))
    builder = BronzeBuilder(store, Market("binanceus", "BTC/USDT"), flush=timedelta(minutes=1))
    builder.write(varied_events(1, 2_000))
    options = ("--config", str(file), "--offline", "--json")
    assert '"published": 2000' in daedalus("audit", *options).stdout
    assert '"reason": "resync"' in daedalus("gaps", "--config", str(file), "--json").stdout
    gone = next(key for key in builder.keys if "/trades/" in key)
    store.delete(gone)
    assert "in no row and in no gap" in daedalus("audit", *options, code=1).stdout
