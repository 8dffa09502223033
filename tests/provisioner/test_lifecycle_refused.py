"""The job that prepares the object store, before servers that take less of a lifecycle than Amazon's S3.

moto keeps the bucket; a gateway before it refuses what such a server refuses, in its words.
"""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from daedalus_provisioner.__main__ import main
from support.s3_gateway import Answer, Request, S3Gateway, answer
from support.s3_servers import MotoServer, S3Server
from support.seaweedfs import ADMIN

NUMBERS = count()
Refusal = Callable[[Request], bool]


class Refusing(S3Gateway):
    """Passes on all but what is asked about lifecycles and refused."""

    def __init__(self, upstream_url: str, refused: Refusal, status: int, code: str) -> None:
        super().__init__(upstream_url)
        self._refused = refused
        self._refusal = answer(status, code)
        self.asked: list[str] = []
        """The methods of all requests about lifecycles."""

    def respond(self, request: Request) -> Answer | None:
        if "lifecycle" not in parse_qs(urlsplit(request.path).query, keep_blank_values=True):
            return super().respond(request)
        self.asked.append(request.method)
        if self._refused(request):
            return self._refusal(lambda: Answer(500))
        return super().respond(request)


def as_minio(upstream_url: str) -> Refusing:
    """Expiry is all that it takes."""
    return Refusing(upstream_url, lambda request: b"AbortIncomplete" in request.body, 400, "InvalidArgument")


def without_lifecycles(upstream_url: str) -> Refusing:
    """As s3rver 3.7 answers."""
    return Refusing(upstream_url, lambda _: True, 501, "NotImplemented")


def not_for_this_key(upstream_url: str) -> Refusing:
    """A bucket that somebody else administers."""
    return Refusing(upstream_url, lambda _: True, 403, "AccessDenied")


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with MotoServer(tmp_path_factory.mktemp("moto")) as running:
        yield running.server


@pytest.fixture
def bucket() -> str:
    return f"refused-{next(NUMBERS)}"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    (tmp_path / "root_user").write_text(ADMIN.access_key)
    (tmp_path / "root_password").write_text(ADMIN.secret_key)
    return tmp_path


def prepare(gateway: S3Gateway, bucket: str, secrets: Path, *options: str) -> int:
    return main(
        ["--endpoint", gateway.url, "--bucket", bucket, "--secrets", str(secrets), "--keys", "shared", *options]
    )


def rules(server: S3Server, bucket: str) -> dict[str, int]:
    """Prefix -> days after which the server deletes objects."""
    found = server.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    return {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in found}


def test_a_server_that_takes_only_expiry_gets_only_that_and_loses_it_when_it_is_no_longer_asked_for(
    moto: S3Server, bucket: str, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with as_minio(moto.endpoint_url) as gateway:
        assert prepare(gateway, bucket, secrets, "--expire-bronze-days", "30") == 0
        told = capsys.readouterr().out
        assert "not set, unfinished uploads after a day (the server refuses the rule: InvalidArgument)" in told
        assert "raw events are deleted after 30 days" in told
        assert rules(moto, bucket) == {"bronze/": 30}
        assert prepare(gateway, bucket, secrets) == 0
        assert "nothing is deleted by age" in capsys.readouterr().out
        with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
            rules(moto, bucket)


def test_where_there_is_no_lifecycle_none_is_deleted(moto: S3Server, bucket: str, secrets: Path) -> None:
    """A server that overlooks the word in `DELETE /bucket?lifecycle` deletes the bucket."""
    with as_minio(moto.endpoint_url) as gateway:
        assert prepare(gateway, bucket, secrets) == 0
        assert gateway.asked == ["PUT", "GET"]


def test_a_server_without_lifecycles_keeps_all_and_is_prepared(
    moto: S3Server, bucket: str, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with without_lifecycles(moto.endpoint_url) as gateway:
        assert prepare(gateway, bucket, secrets) == 0
        told = capsys.readouterr().out
        assert "the server refuses the rule: NotImplemented" in told
        assert "nothing is deleted by age" in told
        assert told.splitlines()[-1] == f"{gateway.url}: prepared"


def test_an_expiry_that_a_server_does_not_take_is_no_success(
    moto: S3Server, bucket: str, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with without_lifecycles(moto.endpoint_url) as gateway:
        assert prepare(gateway, bucket, secrets, "--expire-bronze-days", "30") == 1
        told = capsys.readouterr()
        assert "NotImplemented" in told.err
        assert "EXPIRE_BRONZE_DAYS=0" in told.err
        assert "are deleted after" not in told.out
        assert "prepared" not in told.out


def test_a_key_that_may_not_see_the_lifecycle_is_told_that_it_is_unknown(
    moto: S3Server, bucket: str, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with not_for_this_key(moto.endpoint_url) as gateway:
        assert prepare(gateway, bucket, secrets) == 0
        told = capsys.readouterr().out
        assert "does not say whether it deletes by age (AccessDenied)" in told
        assert "nothing is deleted by age" not in told
