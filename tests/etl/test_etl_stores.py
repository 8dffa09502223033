"""A run reads from and writes to any store, and says clearly what a store refuses."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.batch import etl
from support.etl_runs import History, assert_holds, history, parts, write_history
from support.seaweedfs import ADMIN, SeaweedServer


@pytest.fixture(scope="module")
def recorded() -> History:
    return history(days=2, count=800)


@pytest.fixture
def lake(tmp_path: Path, recorded: History) -> Path:
    write_history(tmp_path / "lake", recorded)
    return tmp_path / "lake"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_space(
    tmp_path: Path, lake: Path, recorded: History, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    places = ("--input", lake, "--output", small_disk, "--state-dir", tmp_path / "state")
    full = etl("run", "all", *places)
    assert full.returncode == 1
    said = " ".join(full.stderr.split())
    assert "No space left on device" in said
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    done = etl("run", "all", *places)
    assert done.returncode == 0, done.stderr
    assert_holds(small_disk, recorded)


def test_a_full_disk_for_checkpoints_is_told(tmp_path: Path, lake: Path, recorded: History, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(2_000_000))
    places = ("--input", lake, "--output", tmp_path / "out", "--state-dir", small_disk / "state")
    full = etl("run", "all", *places)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr
    assert "--state-dir" in full.stderr
    ballast.unlink()
    assert etl("run", "all", *places).returncode == 0
    assert_holds(tmp_path / "out", recorded)


def test_bronze_and_tables_may_lie_in_buckets(
    tmp_path: Path, lake: Path, recorded: History, seaweedfs: SeaweedServer
) -> None:
    client = seaweedfs.client()
    for key in parts(lake):
        client.put_object(Bucket="lake", Key=f"etl/in/{key}", Body=(lake / key).read_bytes())
    config = tmp_path / "daedalus.yaml"
    s3 = (
        f"{{bucket: lake, endpoint_url: '{seaweedfs.endpoint_url}', path_style: true, "
        f"access_key: {ADMIN.access_key}, secret_key: {ADMIN.secret_key}}}"
    )
    config.write_text(
        f"storage: {{etl_storage_input: {{backend: s3, s3: {s3}}}, etl_storage_output: {{backend: s3, s3: {s3}}}}}\n"
    )
    places = ("--input", "s3://lake/etl/in", "--output", "s3://lake/etl/out", "--state-dir", tmp_path / "state")
    done = etl("run", "all", "--config", config, *places)
    assert done.returncode == 0, done.stderr
    again = etl("run", "all", "--config", config, *places)
    assert again.stdout.startswith("nothing to do")
    for each in client.list_objects_v2(Bucket="lake", Prefix="etl/out/")["Contents"]:
        path = tmp_path / "out" / each["Key"].removeprefix("etl/out/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(client.get_object(Bucket="lake", Key=each["Key"])["Body"].read())
    assert_holds(tmp_path / "out", recorded)
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            assert ADMIN.secret_key.encode() not in path.read_bytes()


def test_a_store_that_is_away_is_told(tmp_path: Path, lake: Path) -> None:
    config = tmp_path / "daedalus.yaml"
    s3 = "{bucket: lake, endpoint_url: 'http://127.0.0.1:9', path_style: true, access_key: a, secret_key: b}"
    config.write_text(f"storage: {{etl_storage_output: {{backend: s3, s3: {s3}}}}}\n")
    done = etl("run", "all", "--config", config, "--input", lake, "--state-dir", tmp_path / "state")
    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
