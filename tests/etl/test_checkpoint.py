"""A checkpoint is whole or refused."""

from pathlib import Path

import pytest

from daedalus.etl.checkpoint import VERSION, Checkpoint, read_checkpoint, write_checkpoint
from daedalus.etl.chunks import BadSegment
from daedalus.etl.problems import EtlError, UsageError
from daedalus.etl.task import Origin, StoredState, Task
from daedalus_common.markets import Market

BTC = Market("binanceus", "BTC/USDT")
TASK = Task(
    owner="job-1",
    number=4,
    market=BTC,
    day="2026-02-03",
    segments={"trades": ("a", "b")},
    place=b"place",
    limit=5,
    sizes={"a": 1, "b": 2},
    last_hour=7,
    last_keys=("b",),
    seqs={"trades": 9},
    origin=Origin("etl-x", b"{}"),
)
FULL = Checkpoint(
    BTC,
    "job-1",
    number=3,
    place=b"place",
    hour=5,
    consumed=("a",),
    last_ts=17,
    state=StoredState(b"hot", b"history"),
    seqs={"trades": 9},
    events=100,
    rows={"silver/trades": 9},
    missing=2,
    bad_count=1,
    bad_segments=(BadSegment("c", "c: it is empty"),),
    pending=TASK,
    deleting=("x",),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "btc.checkpoint"


@pytest.mark.parametrize("checkpoint", [Checkpoint(BTC, "job-1"), FULL], ids=["empty", "full"])
def test_what_is_written_is_read(file: Path, checkpoint: Checkpoint) -> None:
    write_checkpoint(file, checkpoint)
    assert read_checkpoint(file) == checkpoint


def test_no_file_is_no_checkpoint(file: Path) -> None:
    assert read_checkpoint(file) is None


def test_a_later_one_takes_the_place_of_an_earlier(file: Path) -> None:
    write_checkpoint(file, FULL)
    write_checkpoint(file, Checkpoint(BTC, "job-2"))
    assert read_checkpoint(file) == Checkpoint(BTC, "job-2")
    assert list(file.parent.iterdir()) == [file]


def test_an_unfinished_one_beside_it_is_not_read(file: Path) -> None:
    write_checkpoint(file, FULL)
    file.with_name(f".{file.name}.tmp").write_bytes(b"half")
    assert read_checkpoint(file) == FULL


def test_every_damage_is_noticed(file: Path) -> None:
    write_checkpoint(file, FULL)
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UsageError, match=rf"{file.name} .*--restart"):
            read_checkpoint(file)
    for length in (0, 1, 50, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(UsageError, match="--restart"):
            read_checkpoint(file)


def test_a_newer_version_is_refused(file: Path) -> None:
    write_checkpoint(file, FULL)
    newer = file.read_bytes().replace(b'"version":%d' % VERSION, b'"version":%d' % (VERSION + 1), 1)
    file.write_bytes(newer)
    with pytest.raises(UsageError, match=r"is of version 2, and this program knows version 1; .*--restart"):
        read_checkpoint(file)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file")
    with pytest.raises(EtlError, match=r"cannot keep the checkpoint .*--state-dir"):
        write_checkpoint(tmp_path / "state" / "btc.checkpoint", FULL)
