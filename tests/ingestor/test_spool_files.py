"""One market's spool on disk: first in, first out, whatever the process, the machine and the disk do meanwhile."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daedalus_ingestor.spool_files import MarketFiles, Resumed
from daedalus_ingestor.spool_records import Record, encode_record

MARKET = "binanceus:BTC-USDT"
EVERYTHING = 10**9


def opened(folder: Path, segment_bytes: int = 300, *, fsync: bool = False) -> MarketFiles:
    return MarketFiles(folder, MARKET, segment_bytes, fsync=fsync)


def record(position: int, epoch: int = 1, number: int | None = None) -> Record:
    payload = random.Random(position).randbytes(position * 7 % 90)
    return Record(position, epoch, position + 1 if number is None else number, position * 10, payload)


def fill(files: MarketFiles, count: int) -> None:
    for _ in range(count):
        files.write([record(files.end)])


def read_all(files: MarketFiles) -> list[Record | int]:
    """Records, and losses as numbers."""
    found: list[Record | int] = []
    while True:
        records, lost = files.read(3, EVERYTHING)
        found += records
        if lost:
            found.append(lost)
        elif not records:
            return found


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def positions(found: list[Record | int]) -> list[int]:
    return [item.position for item in found if isinstance(item, Record)]


def test_what_is_written_is_read_in_order_over_many_segments(tmp_path):
    files = opened(tmp_path, fsync=True)
    files.write([record(0), record(1)])
    fill(files, 38)
    files.sync()
    assert len(segments(tmp_path)) > 5
    assert read_all(files) == [record(position) for position in range(40)]
    assert files.unread == 0


def test_reading_is_bounded_in_records_and_bytes(tmp_path):
    files = opened(tmp_path, 10_000)
    files.write([Record(position, 1, position, 0, b"x" * 100) for position in range(20)])
    assert len(files.read(5, EVERYTHING)[0]) == 5
    assert len(files.read(100, 250)[0]) == 3
    assert len(files.read(100, 1)[0]) == 1
    assert len(files.read(100, EVERYTHING)[0]) == 11


def test_a_payload_larger_than_a_read_is_read(tmp_path):
    files = opened(tmp_path)
    large = Record(0, 1, 1, 0, os.urandom(3_000_000))
    files.write([large, record(1)])
    assert read_all(files) == [large, record(1)]


def test_segments_go_as_soon_as_all_in_them_is_confirmed(tmp_path):
    files = opened(tmp_path)
    fill(files, 40)
    before = files.size_bytes
    files.read(40, EVERYTHING)
    files.confirm(20)
    assert 0 < files.size_bytes < before
    assert files.size_bytes == sum(path.stat().st_size for path in segments(tmp_path))
    files.confirm(40)
    assert segments(tmp_path) == []
    fill(files, 1)
    assert positions(read_all(files)) == [40], "positions go on"


def test_a_process_that_dies_leaves_what_it_wrote(tmp_path):
    first = opened(tmp_path)
    fill(first, 40)
    first.confirm(17)
    second = opened(tmp_path)
    assert (second.next, second.end, second.unread, second.torn) == (17, 40, 23, 0)
    fill(second, 3)
    assert positions(read_all(second)) == list(range(17, 43))


def test_a_tail_torn_at_any_byte_is_cut_there(tmp_path):
    files = opened(tmp_path, 10_000)
    fill(files, 4)
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    ends, end = [], len(whole) - sum(len(encode_record(record(position))) for position in range(4))
    ends.append(end)
    for position in range(4):
        end += len(encode_record(record(position)))
        ends.append(end)
    for size in range(len(whole)):
        for path in segments(tmp_path):
            path.unlink()
        segment.write_bytes(whole[:size])
        again = opened(tmp_path, 10_000)
        kept = max(sum(end <= size for end in ends) - 1, 0)
        assert again.torn == (size not in ends)
        assert (again.end, again.damaged) == (kept, 0)
        again.write([record(kept)])
        assert read_all(again) == [record(position) for position in range(kept + 1)]
        again.close()


def test_a_tail_of_zeros_is_a_torn_one(tmp_path):
    files = opened(tmp_path, 10_000)
    fill(files, 4)
    (segment,) = segments(tmp_path)
    with segment.open("ab") as file:
        file.write(bytes(4096))
    again = opened(tmp_path, 10_000)
    assert (again.end, again.torn, again.damaged) == (4, 1, 0)


def test_damage_in_the_middle_costs_the_rest_of_its_segment_and_says_how_much(tmp_path):
    files = opened(tmp_path)
    fill(files, 40)
    target = segments(tmp_path)[2]
    first, following = int(target.stem), int(segments(tmp_path)[3].stem)
    data = bytearray(target.read_bytes())
    place = data.index(encode_record(record(first + 1)))
    data[place + 20] ^= 4
    target.write_bytes(data)
    for reader in (files, opened(tmp_path)):
        found = read_all(reader)
        assert found == [
            *(record(position) for position in range(first + 1)),
            following - first - 1,
            *(record(position) for position in range(following, 40)),
        ]
    assert files.damaged == 1
    (aside,) = tmp_path.glob("*.damaged")
    assert aside.read_bytes() == data[place:]
    files.confirm(40)
    assert files.size_bytes == aside.stat().st_size, "it stays, and counts"


def test_damage_in_the_last_segment_is_no_torn_tail(tmp_path):
    files = opened(tmp_path, 10_000)
    fill(files, 10)
    (segment,) = segments(tmp_path)
    data = bytearray(segment.read_bytes())
    place = data.index(encode_record(record(4)))
    data[place + 8] ^= 255
    segment.write_bytes(data)
    again = opened(tmp_path, 10_000)
    assert (again.end, again.torn, again.damaged) == (10, 0, 1)
    fill(again, 2)
    assert read_all(again) == [*map(record, range(4)), 6, record(10), record(11)]
    assert again.damaged == 1


def test_a_damaged_header_costs_the_segment(tmp_path):
    files = opened(tmp_path)
    fill(files, 40)
    target = segments(tmp_path)[1]
    following = int(segments(tmp_path)[2].stem)
    target.write_bytes(b"?" + target.read_bytes()[1:])
    found = read_all(opened(tmp_path))
    assert found[: int(target.stem) + 2] == [
        *map(record, range(int(target.stem))),
        following - int(target.stem),
        record(following),
    ]


def test_a_missing_segment_is_a_loss(tmp_path):
    files = opened(tmp_path)
    fill(files, 40)
    first, second = segments(tmp_path)[0], segments(tmp_path)[1]
    first.unlink()
    found = read_all(opened(tmp_path))
    assert found[0] == int(second.stem)
    assert positions(found) == list(range(int(second.stem), 40))


class TestADiskThatRefuses:
    @pytest.fixture
    def full(self):
        """Everything but the first bytes is refused, as on a full disk."""
        with Path("/dev/full").open("wb", buffering=0) as file:
            yield file.fileno()

    def test_a_full_disk_leaves_the_spool_as_it_was(self, tmp_path, full):
        files = opened(tmp_path, 10_000)
        fill(files, 3)
        own = files._file
        files._file = full
        with pytest.raises(OSError, match="No space left"):
            files.write([record(3)])
        files._file = own
        assert files.end == 3
        fill(files, 1)
        assert read_all(files) == [record(position) for position in range(4)]
        files.close()

    def test_a_half_written_record_is_overwritten_by_the_next(self, tmp_path):
        files = opened(tmp_path, 10_000)
        fill(files, 3)
        (segment,) = segments(tmp_path)
        with segment.open("ab") as file:
            file.write(encode_record(record(3))[:30])
        files.write([record(3)])
        assert read_all(opened(tmp_path, 10_000)) == [record(position) for position in range(4)]


class TestResuming:
    """A new process asks the stream how far the old one came."""

    def left(self, folder: Path, numbers: list[int], epoch: int = 1) -> MarketFiles:
        files = opened(folder)
        files.write([record(position, epoch, number) for position, number in enumerate(numbers)])
        return opened(folder)

    @pytest.mark.parametrize(
        ("stream", "expected"),
        [
            pytest.param((0, 0), Resumed(0, 10, is_late=False), id="nothing was published at all"),
            pytest.param((1, 0), Resumed(0, 10, is_late=False), id="nothing of this epoch"),
            pytest.param((1, 7), Resumed(0, 3, is_late=False), id="memory went with the process"),
            pytest.param((1, 10), Resumed(0, 0, is_late=False), id="everything before the spool"),
            pytest.param((1, 12), Resumed(2, 0, is_late=False), id="two more than the cursor knows"),
            pytest.param((1, 15), Resumed(5, 0, is_late=False), id="all of it"),
            pytest.param((2, 1), Resumed(0, 0, is_late=True), id="another published since"),
        ],
    )
    def test_goes_on_with_the_first_record_that_the_stream_lacks(self, tmp_path, stream, expected):
        assert self.left(tmp_path, [11, 12, 13, 14, 15]).resume(*stream) == expected

    def test_renumbered_records_are_recognised_after_the_next_crash(self, tmp_path):
        second = self.left(tmp_path, [11, 12, 13, 14, 15])
        resumed = second.resume(1, 12)
        second.anchor_at(resumed.position, epoch=2, number=1)
        second.write([record(5, 2, 4), record(6, 2, 5)])
        assert opened(tmp_path).resume(2, 2) == Resumed(4, 0, is_late=False)
        assert opened(tmp_path).resume(2, 4) == Resumed(6, 0, is_late=False)
        assert opened(tmp_path).resume(1, 12) == Resumed(2, 0, is_late=False), "it published nothing itself"

    def test_what_stood_in_memory_between_two_records_is_a_loss_in_its_place(self, tmp_path):
        files = self.left(tmp_path, [11, 12, 20, 21])
        assert files.resume(1, 10) == Resumed(0, 0, is_late=False)
        assert [item if isinstance(item, int) else item.number for item in read_all(files)] == [11, 12, 7, 20, 21]

    def test_the_same_process_knows_better(self, tmp_path):
        files = opened(tmp_path)
        files.write([record(0, 1, 1), record(1, 1, 9)])
        assert positions(read_all(files)) == [0, 1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(1, 8)),
            st.tuples(st.just("read"), st.integers(1, 8)),
            st.tuples(st.just("confirm"), st.integers(0, 8)),
            st.tuples(st.just("die"), st.integers(0, 200)),
        ),
        max_size=40,
    )
)
def test_nothing_is_lost_doubled_or_disordered_by_any_sequence_of_steps(tmp_path_factory, steps):
    """`die`: the process ends, so many bytes of the last segment were never written, and the next one opens."""
    folder = tmp_path_factory.mktemp("spool")
    files = opened(folder)
    read = confirmed = 0
    for step, amount in steps:
        if step == "write":
            files.write([record(files.end + index) for index in range(amount)])
        elif step == "read":
            records, lost = files.read(amount, EVERYTHING)
            assert lost == 0
            assert records == [record(position) for position in range(read, min(read + amount, files.end))]
            read += len(records)
        elif step == "confirm":
            confirmed = min(confirmed + amount, read)
            files.confirm(confirmed)
        else:
            before = files.end
            files.close()
            if segments(folder):
                last = segments(folder)[-1]
                os.truncate(last, max(0, last.stat().st_size - amount))
            files = opened(folder)
            assert confirmed <= files.end <= before
            assert files.damaged == 0
            read = confirmed
            assert files.next == confirmed
    assert positions(read_all(files)) == list(range(read, files.end))
    files.confirm(files.end)
    assert files.size_bytes == 0
    files.close()
