"""The data directory: made, locked, and refused where it cannot be used."""

import os
import subprocess
import sys

import pytest

from daedalus.embedded.layout import DataDir, DataDirError, Layout, write_private


def test_a_data_directory_is_made_with_its_folders(tmp_path):
    with DataDir(tmp_path / "new" / "data") as data_dir:
        layout = data_dir.layout
        assert all(folder.is_dir() for folder in (layout.redis, layout.run, layout.logs))
        assert layout.lock.read_text() == f"{os.getpid()}\n"
        assert layout.run.stat().st_mode & 0o777 == 0o700


def test_a_data_directory_in_use_is_refused_and_its_user_named(tmp_path):
    with (
        DataDir(tmp_path),
        pytest.raises(DataDirError, match=rf"in use by .* \(pid {os.getpid()}\)"),
        DataDir(tmp_path),
    ):
        pass
    with DataDir(tmp_path):
        pass


def test_a_child_that_inherited_the_lock_keeps_it_after_its_parent_let_go(tmp_path):
    with DataDir(tmp_path) as data_dir:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(data_dir.lock_fd,), text=True
        )
    with pytest.raises(DataDirError, match="left behind"), DataDir(tmp_path):
        pass
    child.communicate("\n")
    with DataDir(tmp_path):
        pass


@pytest.mark.parametrize("inside", [False, True], ids=["a file", "below a file"])
def test_a_place_that_cannot_be_written_is_refused_with_the_reason(tmp_path, inside):
    file = tmp_path / "file"
    file.write_text("")
    with (
        pytest.raises(DataDirError, match=r"cannot write to the data directory .*--data-dir"),
        DataDir(file / "data" if inside else file),
    ):
        pass


def test_private_files_are_readable_by_their_owner_only(tmp_path):
    path = Layout(tmp_path).config.with_name("secret")
    path.parent.mkdir()
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]
