"""The files that events are read from: which, in which order, and whether they are still what they were."""

import gzip
from pathlib import Path

import pytest

from daedalus.etl.ndjson import NdjsonInput, check_unchanged
from daedalus.etl.ndjson_files import LineFile, input_files
from daedalus.etl.problems import UsageError
from daedalus_common.events import Heartbeat
from support.bronze import as_published
from support.ndjson_lines import BTC, contents, events_of, line, write


@pytest.mark.parametrize("damage", ["cut", "text", "tail"])
def test_of_a_damaged_gzip_file_the_beginning_is_read(tmp_path: Path, damage: str) -> None:
    lines = [line(event) for event in events_of(7, 3_000)]
    write(tmp_path / "a.ndjson.gz", lines)
    write(tmp_path / "b.ndjson", [line(Heartbeat(2**61))])
    path = tmp_path / "a.ndjson.gz"
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"no gzip\n", "tail": content + b"tail"}[damage])
    events = NdjsonInput([tmp_path])
    bad = events.scan().bad
    assert bad.first[-1].reason.startswith("the rest of the file cannot be read: ")
    assert bad.first[-1].file == str(path)
    recorded = sum(chunk.recorded for chunk in events.read(BTC))  # with the one in the other file
    expected = {"cut": range(1_200, 1_800), "text": range(1, 2), "tail": range(3_000, 3_001)}[damage]
    assert recorded in expected
    assert recorded == events.scan().events[BTC]


def test_a_folder_gives_its_event_files_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/2.ndjson.gz", "a/1.ndjson", "notes.txt", "c.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [path.relative_to(tmp_path).as_posix() for path in input_files([tmp_path])]
    assert found == ["a/1.ndjson", "a/2.ndjson.gz", "b.jsonl"]
    assert input_files([tmp_path / "b.jsonl", tmp_path / "a"])[0].name == "b.jsonl"


def test_what_is_no_event_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"missing\.ndjson: there is no such file"):
        input_files([tmp_path / "missing.ndjson"])
    with pytest.raises(UsageError, match=r"x\.csv: event files are named \*\.ndjson"):
        input_files([tmp_path / "x.csv"])
    with pytest.raises(UsageError, match=r"empty: the folder holds no file named"):
        input_files([tmp_path / "empty"])


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("cut", [b"", b'{"channel":"heart', b"\n\n"])
def test_a_planned_read_sees_nothing_of_what_came_later(tmp_path: Path, suffix: str, cut: bytes) -> None:
    btc = events_of(8, 200)
    path = tmp_path / f"a.ndjson{suffix}"
    compress = gzip.compress if suffix else bytes
    path.write_bytes(compress("\n".join(map(line, btc)).encode() + cut))
    planned = NdjsonInput([path]).scan()
    with path.open("ab") as file:
        file.write(compress(b"beat and so on\n" + line(Heartbeat(2**61)).encode() + b"\n"))
    chunks = list(NdjsonInput.as_planned(planned.files).read(BTC))
    assert sum(chunk.recorded for chunk in chunks) == planned.events[BTC]
    assert contents(chunks) == as_published(btc)[: planned.events[BTC]]


def test_a_planned_read_refuses_other_files_than_it_was_planned_for(tmp_path: Path) -> None:
    events = write(tmp_path / "a.ndjson", [line(event) for event in events_of(9, 50)])
    planned = NdjsonInput.as_planned(events.scan().files)
    whole = (tmp_path / "a.ndjson").read_bytes()
    (tmp_path / "a.ndjson").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"a\.ndjson holds something else than when its task began; give --restart"):
        list(planned.read(BTC))
    (tmp_path / "a.ndjson").write_bytes(whole.replace(b"binanceus", b"BINANCEUS", 1))
    with pytest.raises(UsageError, match=r"a\.ndjson holds something else"):
        list(planned.read(BTC))
    long = write(tmp_path / "b.ndjson", [line(event) for event in events_of(9, 2000)]).scan().files
    whole = (tmp_path / "b.ndjson").read_bytes()
    (tmp_path / "b.ndjson").write_bytes(whole[:-1000])
    with pytest.raises(UsageError, match=r"b\.ndjson is shorter than when its task began"):
        list(NdjsonInput.as_planned(long).read(BTC))


def reached(folder: Path) -> tuple[LineFile, ...]:
    """The files as a market's position behind their last event tells them."""
    return list(NdjsonInput([folder]).read(BTC))[-1].end.files


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_that_were_read_may_be_followed_by_more(tmp_path: Path, suffix: str) -> None:
    for name in "bd":
        write(tmp_path / f"{name}.ndjson{suffix}", [line(event) for event in events_of(3, 40)])
    read = reached(tmp_path)
    assert [Path(file.path).name[0] for file in read] == ["b", "d"]
    check_unchanged(read, NdjsonInput([tmp_path]).scan().files)
    last = tmp_path / f"d.ndjson{suffix}"
    last.write_bytes(last.read_bytes() * 2)  # also as gzip: what it holds is that twice
    write(tmp_path / f"e.ndjson{suffix}", [line(Heartbeat(1))])
    check_unchanged(read, NdjsonInput([tmp_path]).scan().files)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("earlier", r"a\.ndjson is new, and comes before \S*b\.ndjson"),
        ("between", r"c\.ndjson is new, and comes before \S*d\.ndjson"),
        ("gone", r"b\.ndjson was read, and is no longer there"),
        ("first grown", r"b\.ndjson has grown, and files behind it were read already"),
        ("other", r"d\.ndjson holds something else than when it was read"),
        ("shorter", r"d\.ndjson is shorter than what was read of it"),
    ],
)
def test_other_files_than_were_read_are_refused(tmp_path: Path, change: str, said: str) -> None:
    lines = [line(event) for event in events_of(3, 40)]
    for name in "bd":
        write(tmp_path / f"{name}.ndjson", lines)
    read = reached(tmp_path)
    match change:
        case "earlier":
            write(tmp_path / "a.ndjson", lines)
        case "between":
            write(tmp_path / "c.ndjson", [])
        case "gone":
            (tmp_path / "b.ndjson").unlink()
        case "first grown":
            write(tmp_path / "b.ndjson", [*lines, lines[0]])
        case "other":
            write(tmp_path / "d.ndjson", [line(event) for event in events_of(4, 80)])
        case "shorter":
            write(tmp_path / "d.ndjson", lines[:-1])
    with pytest.raises(UsageError, match=said + r".*--restart \(with --replace\)"):
        check_unchanged(read, NdjsonInput([tmp_path]).scan().files)


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    events = write(tmp_path / "a.ndjson", [])
    assert events.scan().markets == ()
    assert list(events.read(BTC)) == []
