"""Locks held against other processes, and released by the system when one is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_bd.errors import CheckpointError, InUseError
from recbole_bd.system import locks
from recbole_bd.system.locks import claimed, exclusively

HOLD = """
import sys, time
from pathlib import Path
from recbole_bd.system.locks import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has claimed the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_claimed_folder_names_its_owner_to_every_process_that_comes(holder, tmp_path):
    for _ in range(3):
        with (
            pytest.raises(InUseError, match=rf"is in use by process {holder.pid}: wait until it ends"),
            claimed(tmp_path),
        ):
            pass
    assert (tmp_path / ".lock").read_text() == str(holder.pid)


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path, caplog):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock").read_text() == str(holder.pid)
    with caplog.at_level("INFO"), claimed(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    assert f"took over the lock of process {holder.pid}, which has ended" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert (tmp_path / ".lock").read_text() == ""
    caplog.clear()
    with caplog.at_level("INFO"), claimed(tmp_path):
        assert "took over" not in caplog.text


def test_a_lock_is_waited_for_and_its_file_stays(tmp_path, caplog):
    path = tmp_path / "new" / "warmup.lock"
    order = []

    def second():
        with exclusively(path, "warm-up"):
            order.append("second")

    waiter = threading.Thread(target=second)
    with caplog.at_level("INFO"):
        with exclusively(path, "warm-up"):
            waiter.start()
            end = time.monotonic() + 30
            while "waiting for another process: warm-up" not in caplog.text:
                assert time.monotonic() < end
                time.sleep(0.01)
            order.append("first")
        waiter.join()
    assert order == ["first", "second"]
    assert path.read_bytes() == b""


def test_a_lock_is_released_by_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), exclusively(tmp_path / "a.lock", "test"), claimed(tmp_path):
            raise KeyError


def test_a_lock_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CheckpointError, match=r"file/a\.lock cannot be written"),
        exclusively(tmp_path / "file" / "a.lock", ""),
    ):
        pass


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_a_lock_holds_without_an_id_where_none_can_be_written(system, tmp_path, caplog, monkeypatch):
    """Windows locks the content of the file too, so that nothing is said there."""
    whole = Path.open

    def full(path, mode="r", **named):
        if mode == "r+b":
            raise OSError(28, "No space left on device")
        return whole(path, mode, **named)

    monkeypatch.setattr(Path, "open", full)
    monkeypatch.setattr(locks, "os", SimpleNamespace(name=system, getpid=os.getpid))
    with claimed(tmp_path):
        assert (tmp_path / ".lock").read_text() == ""
        with (
            pytest.raises(InUseError, match=r"is in use by another process: wait until it ends"),
            claimed(tmp_path),
        ):
            pass
    said = [record.getMessage() for record in caplog.records if record.name == locks.__name__]
    warning = "the lock file cannot be written: [Errno 28] No space left on device"
    assert said == ([] if system == "nt" else [warning, warning])  # at its beginning and at its end
