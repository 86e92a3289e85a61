"""Disks that fail: at every point at which a run writes, the error is one line, and what was kept goes on.

One kind of fault at every second point; every kind at every point in the long mode, RECBOLE_BD_LONG=1.
"""

import errno
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from recbole_bd import run_bd
from recbole_bd.errors import CheckpointError, RunFolderError
from recbole_bd.runs.progress import PROGRESS_FILE, Progress
from recbole_bd.system import atomic_write
from tests.helpers.bounds import LONG
from tests.helpers.counts import tally
from tests.helpers.damage import damaged
from tests.helpers.resuming import Killed, run_differences, writes_counted

KINDS = ("write error", "short write", "fsync error", "rename error", "no space")


@pytest.fixture
def settings(quick) -> dict:
    return {**quick, "epochs": 1, "distill_epochs": 1, "refresh_period": 1}


class _Disk:
    """Stands for the file layer: counts what is written, and fails at one point.

    Args:
        point: number of the file, from 1, at which it fails; 0 never.
        kind: how.
    """

    def __init__(self, point: int = 0, kind: str = ""):
        self.point, self.kind, self.count = point, kind, 0

    def install(self, patch: pytest.MonkeyPatch) -> "_Disk":
        opened, fsync, replace = tempfile.NamedTemporaryFile, os.fsync, Path.replace

        def open_counted(*arguments, **named):
            self.count += 1
            stream = opened(*arguments, **named)
            if self._is_here("write error", "no space", "short write"):
                stream.file = self._faulty(stream.file)
            return stream

        def fsync_counted(descriptor):
            if self._is_here("fsync error"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            fsync(descriptor)

        def replace_counted(path, target):
            if self._is_here("rename error"):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            return replace(path, target)

        patch.setattr(atomic_write.tempfile, "NamedTemporaryFile", open_counted)
        patch.setattr(atomic_write.os, "fsync", fsync_counted)
        patch.setattr(Path, "replace", replace_counted)
        return self

    def _is_here(self, *kinds: str) -> bool:
        return self.count == self.point and self.kind in kinds

    def _faulty(self, stream) -> io.BufferedRandom:
        kind = self.kind

        class Raw(io.FileIO):
            written = 0

            def write(self, data):
                # Half of what is asked for, as systems may; then, but for short writes, nothing more.
                if kind != "short write" and self.written:
                    number = errno.ENOSPC if kind == "no space" else errno.EIO
                    raise OSError(number, os.strerror(number))
                done = super().write(bytes(data)[: max(1, len(data) // 2)])
                self.written += done
                return done

            def close(self):
                super().close()

        raw = Raw(os.dup(stream.fileno()), "r+b")
        stream.close()
        return io.BufferedRandom(raw, buffer_size=64)


def points(settings: dict) -> int:
    with pytest.MonkeyPatch.context() as patch:
        disk = _Disk().install(patch)
        run_bd(config_dict=settings)
    return disk.count


def in_folder(settings: dict, folder: Path) -> dict:
    return {**settings, "checkpoint_dir": str(folder)}


def test_a_fault_at_every_point_at_which_a_run_writes(settings, tmp_path, request):
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    total = points(in_folder(settings, tmp_path / "count"))
    assert total > 15
    for point in range(1, total + 1, 1 if LONG else 2):
        for kind in KINDS if LONG else (KINDS[point % len(KINDS)],):
            mine = in_folder(settings, tmp_path / f"{point}-{kind}")
            with pytest.MonkeyPatch.context() as patch:
                _Disk(point, kind).install(patch)
                if kind == "short write":  # the rest is written afterwards
                    result = run_bd(config_dict=mine)
                else:
                    with pytest.raises(CheckpointError, match="cannot be written") as caught:
                        run_bd(config_dict=mine)
                    assert "\n" not in str(caught.value)
                    assert str(tmp_path) in str(caught.value)
            if kind != "short write":
                left = [path for path in Path(mine["checkpoint_dir"]).rglob(".*") if path.name != ".lock"]
                assert left == [], "a temporary file was left"
                for path in Path(mine["checkpoint_dir"]).glob(f"*/{PROGRESS_FILE}"):
                    Progress.load(path.parent)  # the one before is whole
                result = run_bd(config_dict=mine, resume="auto")
            assert run_differences(whole, result) == [], f"{kind} at point {point}"
            tally(request.config, f"faults of the file layer: {kind}")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of a size to be set; None where the system does not let us have one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")

    def change(options: str) -> Path:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
        return folder

    yield change
    subprocess.run(["umount", str(folder)], check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="needs tmpfs")
def test_a_full_disk(settings, tmp_path, small_disk, request):
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    size = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*")) // 1024
    count = 12 if LONG else 4
    for step in range(1, count + 1):
        folder = small_disk(f"size={max(24, size * step // (count + 1))}k")
        mine = in_folder(settings, folder / str(step))
        with pytest.raises(CheckpointError, match="No space left on device"):
            run_bd(config_dict=mine)
        folder = small_disk("size=256m")
        assert run_differences(whole, run_bd(config_dict=mine, resume="auto")) == []
        subprocess.run(["rm", "-rf", *map(str, folder.iterdir())], check=True)
        tally(request.config, "faults of the file layer: full disk")


@pytest.mark.skipif(sys.platform != "linux", reason="needs tmpfs")
def test_a_folder_that_cannot_be_written(settings, tmp_path, small_disk, request):
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    folder = small_disk("size=64m")
    mine = in_folder(settings, folder)
    refused = CheckpointError(f"{PROGRESS_FILE} cannot be written: {os.strerror(errno.EROFS)}")
    with writes_counted(4, refused, instead=True), pytest.raises(CheckpointError, match="Read-only"):
        run_bd(config_dict=mine)
    (run_folder,) = {path.parent for path in folder.glob(f"*/{PROGRESS_FILE}")}
    small_disk("ro")
    with pytest.raises(CheckpointError, match=r"cannot be written: .*Read-only file system"):
        run_bd(resume=run_folder)
    small_disk("rw")
    assert run_differences(whole, run_bd(resume=run_folder)) == []
    tally(request.config, "faults of the file layer: read-only folder")


def test_a_log_that_cannot_be_written_stops_nothing(settings, tmp_path, capfd):
    from recbole_bd.runs import folder

    with pytest.MonkeyPatch.context() as patch:
        original = folder._LogFile.emit

        def full(self, record):
            try:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                self.handleError(record)

        patch.setattr(folder._LogFile, "emit", full)
        result = run_bd(config_dict=settings)
        patch.setattr(folder._LogFile, "emit", original)
    assert result["status"] == "finished"
    assert capfd.readouterr().err.count("run.log cannot be written") == 1


def test_tensorboard_files_that_cannot_be_written_end_no_training(settings, caplog):
    from torch.utils.tensorboard import SummaryWriter

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SummaryWriter, "add_scalar", full)
        assert run_bd(config_dict=settings)["status"] == "finished"
    told = "tensorboard fails and gets no more numbers of this run: No space left on device"
    assert [message for message in caplog.messages if message.startswith("tensorboard")] == [told]


def test_a_damaged_checkpoint_is_refused_and_nothing_is_lost(settings, tmp_path, request):
    """Cut at 20 lengths and with 50 bytes changed: a line that says so, never other numbers."""
    with writes_counted(6, Killed()), pytest.raises(Killed):
        run_bd(config_dict=settings)
    (path,) = Path(settings["checkpoint_dir"]).glob(f"*/{PROGRESS_FILE}")
    good = path.read_bytes()
    for kind, content in damaged(good):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=PROGRESS_FILE) as caught:
            run_bd(resume=path.parent)
        assert "\n" not in str(caught.value)
        tally(request.config, f"last.ckpt damaged: {kind} refused")
    path.write_bytes(good)
    assert run_bd(resume=path.parent)["status"] == "finished"


def test_a_checkpoint_of_another_kind_is_refused(settings):
    result = run_bd(config_dict=settings)
    folder = Path(result["run_folder"])
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**record, "status": "running"}))
    (folder / PROGRESS_FILE).write_bytes((folder / "teacher.pth").read_bytes())
    with pytest.raises(CheckpointError, match=f"{PROGRESS_FILE} is not the progress of a run"):
        run_bd(resume=folder)
    (folder / PROGRESS_FILE).unlink()
    with pytest.raises(RunFolderError, match=f"cannot be resumed: it has no {PROGRESS_FILE}"):
        run_bd(resume=folder)
