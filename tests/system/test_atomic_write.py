"""Files written whole or not at all."""

import errno
import os
import stat

import pytest

from recbole_bd.errors import CheckpointError
from recbole_bd.system.atomic_write import remove_torn_files, synchronise_folder, write_atomically, write_whole


@pytest.mark.parametrize(("content", "expected"), [("é\n", b"\xc3\xa9\n"), (b"\x00\xff", b"\x00\xff"), ("", b"")])
def test_text_and_bytes_replace_the_old_file_in_a_folder_that_may_be_new(content, expected, tmp_path):
    path = tmp_path / "new" / "file"
    for before in ("", "old and longer"):
        if before:
            path.write_text(before)
        write_whole(path, content)
        assert path.read_bytes() == expected
    assert [one.name for one in path.parent.iterdir()] == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_others_may_read_the_file(tmp_path):
    write_whole(tmp_path / "file", "x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(stream):
        stream.write(b"half of the new")
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="No space left"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("chain", ["cause", "context", "none"])
def test_the_reason_is_the_systems_where_there_is_one(chain, tmp_path):
    """Torch raises an error of its own when it cannot finish a file."""
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(_stream):
        if chain == "none":
            raise RuntimeError("unexpected pos 64 vs 0")
        try:
            raise full
        except OSError as error:
            if chain == "cause":
                raise RuntimeError("unexpected pos 64 vs 0") from error
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904  what torch does

    reason = "unexpected pos 64 vs 0" if chain == "none" else full
    with pytest.raises(CheckpointError) as found:
        write_atomically(tmp_path / "file", fail)
    assert str(found.value) == f"{tmp_path / 'file'} cannot be written: {reason}"


def test_the_exception_of_a_signal_leaves_no_rubbish(tmp_path):
    def stopped(_stream):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", stopped)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    for name in (".result.json.x7dk2", ".lock", "result.json"):
        (tmp_path / name).write_text("")
    remove_torn_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "result.json"]


def test_a_folder_is_synchronised_where_the_system_can(tmp_path, monkeypatch):
    synchronised = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synchronised.append(os.fstat(descriptor).st_ino))
    synchronise_folder(tmp_path)
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    synchronise_folder(tmp_path)
    assert synchronised == [tmp_path.stat().st_ino]
