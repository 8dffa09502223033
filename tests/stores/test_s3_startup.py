"""S3: what a service is told at startup when its settings, its credentials or its server are wrong."""

import logging
import socket
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from daedalus_common.stores import (
    CreateResult,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreMisconfigured,
    StoreSettings,
    StoreUnavailable,
    open_store,
)
from daedalus_common.stores.s3 import S3Store
from support.s3_gateway import Answer, S3Gateway, answer
from support.seaweedfs import ADMIN, READER, STRANGER, S3Keys, SeaweedServer

WRONG_SECRET = "not-the-secret-4f0e"


def signed_by(settings: StoreSettings, keys: S3Keys) -> StoreSettings:
    return replace(settings, access_key=keys.access_key, secret_key=keys.secret_key)


def impatient(settings: StoreSettings) -> S3Store:
    second = timedelta(seconds=1)
    return S3Store(settings, attempts=1, connect_timeout=second, read_timeout=second)


@pytest.fixture
def gateway(seaweedfs: SeaweedServer) -> Iterator[S3Gateway]:
    with S3Gateway(seaweedfs.endpoint_url) as gateway:
        yield gateway


def test_a_good_server_is_reported(s3_settings: StoreSettings) -> None:
    report = open_store(s3_settings).probe()
    assert report.backend == "s3"
    assert report.location == f"s3://lake/{s3_settings.prefix}/ at {s3_settings.endpoint_url}"
    assert (report.endpoint_url, report.bucket) == (s3_settings.endpoint_url, "lake")
    assert report.addressing == "path"
    assert report.server is not None
    assert "SeaweedFS" in report.server
    assert report.free_bytes is None


def test_a_key_without_the_right_to_write_is_told(s3_settings: StoreSettings) -> None:
    store = S3Store(signed_by(s3_settings, READER))
    with pytest.raises(StoreDenied, match="cannot create objects: access key READ…5678 has no permission for it"):
        store.probe()
    assert list(store.list()) == []


def test_a_key_without_any_right_on_the_bucket_is_told(s3_settings: StoreSettings) -> None:
    store = S3Store(signed_by(s3_settings, STRANGER))
    with pytest.raises(StoreDenied, match="STRA…9999 has no permission for it on bucket lake; grant it"):
        store.probe()


def test_a_server_that_is_down_is_told_and_worth_waiting_for(s3_settings: StoreSettings) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        store = S3Store(replace(s3_settings, endpoint_url=url))
        with pytest.raises(StoreUnavailable, match=rf"{url} does not answer.*endpoint_url is right") as down:
            store.probe()
    assert down.value.retryable


def test_a_server_that_never_answers_is_told(s3_settings: StoreSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match="does not answer: Read timeout"):
            impatient(replace(s3_settings, endpoint_url=url)).probe()


def test_a_host_without_an_address_is_told(s3_settings: StoreSettings) -> None:
    with pytest.raises(StoreUnavailable, match=r"nowhere\.invalid:9000 does not answer"):
        impatient(replace(s3_settings, endpoint_url="http://nowhere.invalid:9000")).probe()


def test_https_to_a_server_of_http_is_told(s3_settings: StoreSettings, seaweedfs: SeaweedServer) -> None:
    url = f"https://127.0.0.1:{seaweedfs.port}"
    with pytest.raises(StoreMisconfigured, match=r"no TLS with https.*check http/https"):
        impatient(replace(s3_settings, endpoint_url=url)).probe()


@pytest.mark.parametrize(
    ("status", "kind"), [(200, StoreUnavailable), (404, StoreMisconfigured), (502, StoreUnavailable)]
)
def test_a_web_server_that_is_not_s3_is_told(s3_settings: StoreSettings, status: int, kind: type[StoreError]) -> None:
    with S3Gateway("http://127.0.0.1:9") as web:
        web.plan("GET", lambda _: Answer(status, (("Content-Type", "text/html"),), b"<!doctype html><p>Welcome<br>"))
        with pytest.raises(kind, match=f"without an S3 error; check that {web.url} is an S3 server's"):
            impatient(replace(s3_settings, endpoint_url=web.url)).probe()


def test_an_answer_that_is_not_understood_is_told(s3_settings: StoreSettings) -> None:
    odd = b"<ListBucketResult><Contents><LastModified>never</LastModified></Contents></ListBucketResult>"
    with S3Gateway("http://127.0.0.1:9") as web:
        web.plan("GET", lambda _: Answer(200, (), odd))
        with pytest.raises(StoreMisconfigured, match=r"does not speak S3: Invalid timestamp.*check host and port"):
            impatient(replace(s3_settings, endpoint_url=web.url)).probe()


def test_a_wrong_region_is_told(s3_settings: StoreSettings, gateway: S3Gateway) -> None:
    moved = b"<Error><Code>PermanentRedirect</Code><Message>Use the other endpoint</Message></Error>"
    gateway.plan("GET", lambda _: Answer(301, (), moved))
    # botocore asks where the bucket is; with an answer it would go there by itself.
    gateway.plan("HEAD", lambda _: Answer(301))
    with pytest.raises(StoreMisconfigured, match=r"bucket lake is not in region us-east-1: Use the other.*s3\.region"):
        S3Store(replace(s3_settings, endpoint_url=gateway.url)).probe()


@pytest.mark.parametrize(
    ("status", "code", "kind", "told"),
    [
        (403, "RequestTimeTooSkewed", StoreUnavailable, "clocks of this machine and of http.*NTP"),
        (403, "ExpiredToken", StoreDenied, "session token of access key ADMI…1234 is not valid any more"),
        (403, "SomethingElse", StoreDenied, "the server answers 403 SomethingElse: on command"),
        (403, "QuotaExceeded", StoreError, "no space or quota left"),
        (507, "InsufficientStorage", StoreError, "answers 507.*free some space"),
        (503, "SlowDown", StoreUnavailable, "answers 503 SlowDown"),
        (501, "NotImplemented", StoreMisconfigured, "answers 501 NotImplemented.*what this server supports"),
        (400, "InvalidBucketName", StoreMisconfigured, "does not accept 'lake' as a bucket name"),
        (404, "NoSuchKey", ObjectMissing, "no such object in bucket lake"),
    ],
)
def test_what_a_server_refuses_with_is_told(
    s3_settings: StoreSettings, gateway: S3Gateway, status: int, code: str, kind: type[StoreError], told: str
) -> None:
    gateway.plan("GET", answer(status, code))
    with pytest.raises(kind, match=told) as refused:
        impatient(replace(s3_settings, endpoint_url=gateway.url)).read("a")
    assert refused.value.retryable == (code in ("RequestTimeTooSkewed", "QuotaExceeded", "SlowDown") or status == 507)


class Overwriting(BaseHTTPRequestHandler):
    """A server of the old kind: it takes `If-None-Match` for a header that does not concern it."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(b"")

    def do_GET(self) -> None:
        self._say(b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")

    def do_HEAD(self) -> None:
        self._say(b"")

    def do_DELETE(self) -> None:
        self._say(b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test looks at the outcome."""

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_server_that_overwrites_is_refused(s3_settings: StoreSettings) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Overwriting) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(StoreMisconfigured, match=r"does not keep If-None-Match: 2 of 2 simultaneous creates"):
            S3Store(replace(s3_settings, endpoint_url=url)).probe()
        server.shutdown()


def test_a_server_that_refuses_conditional_creates_is_refused(s3_settings: StoreSettings, gateway: S3Gateway) -> None:
    gateway.plan("PUT", answer(501, "NotImplemented"), answer(501, "NotImplemented"))
    told = "cannot create objects: the server answers 501 NotImplemented.*what this server supports"
    with pytest.raises(StoreMisconfigured, match=told) as refused:
        S3Store(replace(s3_settings, endpoint_url=gateway.url)).probe()
    assert not refused.value.retryable


def test_a_server_that_drops_metadata_is_refused(s3_settings: StoreSettings, gateway: S3Gateway) -> None:
    gateway.plan(
        "HEAD", lambda ask: Answer(200, tuple(pair for pair in ask().headers if "x-amz-meta" not in pair[0].lower()))
    )
    with pytest.raises(StoreMisconfigured, match=r"changes user metadata: sent .*, found {}"):
        S3Store(replace(s3_settings, endpoint_url=gateway.url)).probe()
    assert [method for method, _ in gateway.requests][-1] == "DELETE"


def test_a_probe_object_that_must_stay_is_noted(s3_settings: StoreSettings, gateway: S3Gateway) -> None:
    gateway.plan("DELETE", answer(403, "AccessDenied"))
    store = S3Store(replace(s3_settings, endpoint_url=gateway.url))
    (note,) = store.probe().notes
    assert "stays behind" in note
    assert "has no permission" in note
    assert list(store.list()) == [], "and is not taken for an object"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bucket": ""}, "storage.ingestion_storage.s3.bucket is missing"),
        ({"access_key": ""}, "storage.ingestion_storage.s3.access_key is missing"),
        ({"secret_key": ""}, "storage.ingestion_storage.s3.secret_key is missing"),
        ({"endpoint_url": "localhost:9000"}, "storage.ingestion_storage.s3: .*endpoint.*check endpoint_url"),
        ({"prefix": "a/../b"}, "storage.ingestion_storage.s3.prefix cannot begin a key"),
        ({"backend": "ftp"}, "storage.ingestion_storage.backend is 'ftp'; allowed are 'local' and 's3'"),
    ],
)
def test_settings_that_cannot_work_are_told_before_anything_is_sent(
    s3_settings: StoreSettings, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(StoreMisconfigured, match=told):
        open_store(replace(s3_settings, **change))


@pytest.mark.parametrize("bucket", ["Bad Bucket", "x" * 300])
def test_a_bucket_name_that_cannot_exist_is_told(s3_settings: StoreSettings, bucket: str) -> None:
    with pytest.raises(StoreMisconfigured, match=r"Invalid bucket name.*check .*bucket"):
        open_store(replace(s3_settings, bucket=bucket)).probe()


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any AWS credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("no_aws")
def test_no_credentials_anywhere_is_told(s3_settings: StoreSettings) -> None:
    with pytest.raises(StoreDenied, match=r"no credentials for bucket lake; set .*s3\.access_key.*AWS_ACCESS_KEY_ID"):
        open_store(replace(s3_settings, access_key="", secret_key=""))


@pytest.mark.usefixtures("no_aws")
def test_without_keys_the_environment_gives_them(s3_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(s3_settings, access_key="", secret_key="")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ADMIN.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ADMIN.secret_key)
    assert open_store(bare).probe().notes == ()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRONG_SECRET)
    with pytest.raises(StoreDenied, match=r"does not match access key ADMI…1234 \(from env\)"):
        open_store(bare).probe()


def test_no_secret_is_ever_shown(
    s3_settings: StoreSettings, gateway: S3Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "TopSecret/abc+123=="
    settings = replace(s3_settings, secret_key=secret, endpoint_url=gateway.url)
    store = S3Store(settings, attempts=1)
    shown = [repr(settings), str(settings), repr(store), str(store), store.describe(), repr(vars(store))]
    gateway.plan("GET", answer(403, "SignatureDoesNotMatch"), answer(400, "Odd", f"you sent {secret}"))
    gateway.plan("GET", answer(403, "InvalidAccessKeyId"), answer(503, "SlowDown"))
    for _ in range(4):
        with pytest.raises(StoreError) as refused:
            store.read("a")
        shown.append(str(refused.value))
    assert "you sent ***" in "".join(shown)
    caplog.clear()  # it holds that answer, as the gateway gave it
    with pytest.raises(StoreDenied) as denied:
        S3Store(replace(settings, endpoint_url=s3_settings.endpoint_url)).probe()
    assert S3Store(s3_settings).create("a", b"", {"rows": "1"}) is CreateResult.CREATED
    assert len(caplog.text) > 1000
    shown += ["".join(traceback.format_exception(denied.value)), caplog.text]
    assert all(secret not in text and ADMIN.secret_key not in text for text in shown)
    assert all(settings.access_key not in text for text in shown[:-2])
