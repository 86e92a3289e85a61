"""The folder of a run: its name, its log, and what is recorded of the machine."""

import errno
import logging
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from recbole_bd.errors import ConfigError
from recbole_bd.runs import folder
from recbole_bd.runs.folder import logging_to, machine, new_run_folder, peak_memory, versions


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Settings that name a run folder, and a clock that stands still."""
    monkeypatch.setattr(folder.time, "strftime", lambda form: "20200101-000000")
    return {"model": "BD", "dataset": "toys", "checkpoint_dir": str(tmp_path / "saved")}


def test_a_name_that_is_taken_gets_a_number(named, tmp_path):
    stem = tmp_path / "saved" / "BD-toys-20200101-000000"
    assert [new_run_folder(named) for _ in range(3)] == [stem, Path(f"{stem}-1"), Path(f"{stem}-2")]


def test_a_folder_without_a_free_name_is_refused(named, monkeypatch):
    def taken(*_, **__):
        raise FileExistsError

    monkeypatch.setattr(Path, "mkdir", taken)
    with pytest.raises(ConfigError) as error:
        new_run_folder(named)
    assert str(error.value) == f"checkpoint_dir={named['checkpoint_dir']!r}: no free name for a run folder"


def test_a_folder_that_cannot_be_made_is_refused(named, tmp_path):
    (tmp_path / "saved").write_text("a file")
    with pytest.raises(ConfigError) as error:
        new_run_folder(named)
    assert str(error.value) == f"checkpoint_dir={named['checkpoint_dir']!r}: cannot be written (Not a directory)"


@pytest.mark.parametrize("redirect", [True, False])
def test_lines_of_the_level_are_logged_to_the_file_and_the_terminal(redirect, tmp_path, capsys):
    logger, root = logging.getLogger("recbole_bd"), logging.getLogger()
    before = root.level, list(root.handlers)
    with logging_to(tmp_path / "run.log", {"state": "warning"}, redirect):
        logger.info("unseen")
        logger.warning("seen")
    logger.warning("after the run")
    assert [line.split(" ", 2)[2] for line in (tmp_path / "run.log").read_text().splitlines()] == ["WARNING seen"]
    assert [line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines()[:1]] == ["WARNING seen"]
    assert (root.level, root.handlers) == before


@pytest.mark.parametrize("lines", [0, 2])
def test_a_log_whose_last_lines_cannot_be_written_is_named_once(lines, tmp_path, monkeypatch, caplog):
    """Closing flushes what is left, which fails on a full disk, also after a line has failed."""
    path, full = tmp_path / "run.log", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fails(*_):
        raise full

    monkeypatch.setattr(logging.FileHandler, "close", fails)
    log = folder._LogFile(path, encoding="utf-8")
    stream, log.stream = log.stream, SimpleNamespace(write=fails, flush=fails)
    for _ in range(lines):
        log.handle(logging.makeLogRecord({"msg": "a line", "levelno": logging.INFO}))
    log.close()
    stream.close()
    assert caplog.messages == [f"{path} cannot be written: [Errno {errno.ENOSPC}] {full.strerror}"]


@pytest.mark.parametrize(
    ("platform", "peak", "expected"), [("linux", 2048, 2.0), ("darwin", 3 * 2**20, 3.0), ("win32", 5 * 2**20, 5.0)]
)
def test_the_peak_of_memory_is_in_mebibytes_on_every_system(platform, peak, expected, monkeypatch):
    monkeypatch.setattr(folder, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=peak))
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=peak))
    monkeypatch.setattr(folder.psutil, "Process", lambda: process)
    assert peak_memory() == expected


def test_the_device_is_recorded_with_its_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    assert machine({"device": torch.device("cuda:1")})["device"] == "cuda:1 (Some GPU)"
    assert machine({"device": torch.device("cpu")})["device"] == "cpu"
    assert machine({"device": torch.device("cpu")})["threads"] == torch.get_num_threads()


def test_versions_are_those_of_what_was_imported():
    assert versions()["torch"] == torch.__version__
    assert versions().keys() == {"recbole_bd", "python", "torch", "numpy", "scipy", "pandas", "recbole"}
