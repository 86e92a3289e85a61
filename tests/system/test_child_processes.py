"""Child processes: what they inherit, and how they end."""

import ctypes
import os
import signal
import subprocess
import sys

import pytest

from recbole_bd.system import child_processes
from recbole_bd.system.child_processes import cores, end, end_with_parent, environment_of, last_line, start
from tests.helpers.paths import ROOT


def python(code: str, **more) -> subprocess.Popen:
    """A child that runs the code; its output is a pipe."""
    return start((sys.executable, "-S", "-c", code), None, subprocess.DEVNULL, **{"stdout": subprocess.PIPE, **more})


@pytest.mark.parametrize(("before", "path"), [(None, f"{ROOT}"), ("", f"{ROOT}"), ("a", f"{ROOT}{os.pathsep}a")])
def test_a_child_finds_this_package_first_and_has_its_threads(before, path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONPATH", before)
    monkeypatch.setenv("WORD", "kept")
    found = environment_of(3)
    assert (found["PYTHONPATH"], found["OMP_NUM_THREADS"], found["WORD"]) == (path, "3", "kept")


def test_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


def test_a_child_is_in_a_session_of_its_own(monkeypatch):
    with python("import os; print(os.getsid(0), os.getpid())", text=True) as child:
        session, process = child.communicate()[0].split()
    assert session == process == str(child.pid)
    assert session != str(os.getsid(0))


def test_a_child_that_does_not_obey_is_killed():
    stubborn = python(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    obedient = python("import time; print(flush=True); time.sleep(60)")
    for child in (stubborn, obedient):
        assert child.stdout.readline() == b"\n"
    end([stubborn, obedient], 0.2)
    assert [stubborn.returncode, obedient.returncode] == [-signal.SIGKILL, -signal.SIGTERM]
    for child in (stubborn, obedient):
        child.stdout.close()


@pytest.mark.parametrize(
    ("written", "expected"),
    [(b"", ""), (b"\n \n", ""), (b"one\n  two \n\n \n", "two"), (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}")],
)
def test_the_last_line_that_says_something(written, expected, tmp_path):
    (tmp_path / "log").write_bytes(written)
    assert last_line(tmp_path / "log") == expected


@pytest.mark.parametrize(("platform", "asked"), [("linux", [(1, signal.SIGTERM)]), ("darwin", []), ("win32", [])])
def test_the_end_of_the_parent_is_asked_for_on_linux_only(platform, asked, monkeypatch):
    """1 is PR_SET_PDEATHSIG."""
    found = []

    class Library:
        def prctl(self, option, number):
            found.append((option, number))

    monkeypatch.setattr(child_processes.sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    end_with_parent()
    assert found == asked
