"""Entries as processes: reuse, failures, kills and interruptions, with small programs in the place of runs."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from recbole_bd.errors import Interrupted, LeaderboardError
from recbole_bd.leaderboard import schedule
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.schedule import done, run_entries
from recbole_bd.system import process_pool
from tests.helpers.entries import entries_of, entry, finished
from tests.helpers.paths import ROOT


def test_a_run_that_was_there_has_the_label_of_its_entry(tmp_path):
    entries = entries_of(tmp_path, 2)
    run_entries(entries, tmp_path, tmp_path / "logs", jobs=2)
    named = [replace(one, record={**one.record, "label": f"row {place}"}) for place, one in enumerate(entries)]
    assert [one.name for one in named] == ["row 0 seed 1", "row 1 seed 1"]
    assert [run.result["label"] for run in run_entries(named, tmp_path, tmp_path / "logs", jobs=2)] == [
        "row 0",
        "row 1",
    ]
    assert not any("label" in run.result for run in run_entries(entries, tmp_path, tmp_path / "logs", jobs=2))


def test_every_entry_runs_once_and_is_reused(tmp_path, capfd):
    entries = entries_of(tmp_path, 3)
    runs = run_entries(entries, tmp_path, tmp_path / "logs", jobs=2)
    assert [run.result["config_hash"] for run in runs] == ["m0", "m1", "m2"]
    again = run_entries(entries, tmp_path, tmp_path / "logs", jobs=2)
    assert [run.folder for run in again] == [run.folder for run in runs]
    assert len(done(entries, tmp_path)) == 3
    shown = capfd.readouterr().err
    assert shown.count("ndcg@5 0.5000") == 3
    assert "3 of 3 entries have already finished" in shown
    assert "[1/3]" in shown
    assert " left" in shown
    assert "\r" not in shown  # plain lines, since this is no terminal


def test_as_many_run_at_a_time_as_there_are_jobs(tmp_path):
    runs = run_entries(entries_of(tmp_path, 5, 0.4), tmp_path, tmp_path / "logs", jobs=2)
    spans = [(run.result["started"], run.result["ended"]) for run in runs]
    together = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
    assert max(together) == 2


def test_a_run_that_another_process_has_finished_meanwhile_is_taken(tmp_path):
    """Its own process finds it, has nothing to do and leaves no run folder."""
    (run,) = run_entries([entry(tmp_path, "same", how="was there")], tmp_path, tmp_path / "logs", jobs=1)
    assert (run.result["status"], run.folder.name) == ("finished", "same-of-another")
    assert [one.folder for one in runs_below(tmp_path)] == [run.folder]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("fail", "the loss is not finite"),
        ("crash", "RuntimeError: it broke"),
        ("die", "ended by SIGKILL"),
        ("refuse", "no such thing"),
    ],
)
def test_a_failure_harms_no_other_and_leaves_its_reason_in_a_run_folder(how, reason, tmp_path, capfd):
    entries = [entry(tmp_path, "bad", how=how), *entries_of(tmp_path, 2)]
    runs = run_entries(entries, tmp_path, tmp_path / "logs", jobs=1)
    assert [run.result["status"] for run in runs] == ["failed", "finished", "finished"]
    assert runs[0].result["error"] == reason
    assert json.loads((runs[0].folder / "result.json").read_text())["error"] == reason
    assert f"failed: {reason}" in capfd.readouterr().err
    repaired = [entry(tmp_path, "bad"), *entries[1:]]
    runs = run_entries(repaired, tmp_path, tmp_path / "logs", jobs=1)
    assert [run.result["status"] for run in runs] == ["finished"] * 3
    assert len(finished(tmp_path)) == 3


def test_what_another_leaderboard_does_in_the_same_folder_is_left_alone(tmp_path):
    (run,) = run_entries([entry(tmp_path, "shared", how="beside")], tmp_path, tmp_path / "logs", jobs=1)
    assert run.result["status"] == "finished"
    other = json.loads((tmp_path / "shared-of-another" / "result.json").read_text())
    assert other["status"] == "running"
    assert "error" not in other


PARENT = """
import pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
sys.path.insert(0, sys.argv[2])
from recbole_bd.errors import BDError
from recbole_bd.leaderboard.schedule import run_entries
from tests.helpers.entries import entry
folder = pathlib.Path(sys.argv[1])
try:
    entries = [entry(folder, f"m{number}", .1 if number < 2 else 60) for number in range(6)]
    run_entries(entries, folder, folder / "logs", jobs=2)
except BDError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def start(folder: Path) -> subprocess.Popen:
    """A leaderboard of six entries, two short ones and four that only end when they are ended."""
    return subprocess.Popen([sys.executable, "-c", PARENT, str(folder), str(ROOT)], stderr=subprocess.PIPE, text=True)


def wait_for(condition, limit: float = 60.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not end children with their parent")
def test_killed_midway_and_started_again_it_repeats_no_finished_entry(tmp_path):
    process = start(tmp_path)
    wait_for(lambda: len(finished(tmp_path)) >= 2 and len(runs_below(tmp_path)) > len(finished(tmp_path)))
    process.kill()
    process.wait()
    before = finished(tmp_path)
    running = [run.result["pid"] for run in runs_below(tmp_path) if run.result["status"] == "running"]
    wait_for(lambda: not any(map(alive, running)), 10)
    assert len(before) == 2
    runs = run_entries(entries_of(tmp_path, 6), tmp_path, tmp_path / "logs", jobs=2)
    assert sorted(finished(tmp_path)) == [f"m{number}" for number in range(6)]  # each of them once
    assert all(run.result["status"] == "finished" for run in runs)


def test_an_interruption_while_a_process_is_started_is_not_lost(tmp_path, monkeypatch):
    """Python passes over what is raised in the hooks of a fork, where a signal's handler may come to run."""
    start_child, begun = process_pool.start, []

    def interrupted(*arguments, **options):
        begun.append(arguments)
        if len(begun) == 1:
            with contextlib.suppress(Interrupted):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0)
        return start_child(*arguments, **options)

    monkeypatch.setattr(process_pool, "start", interrupted)
    with pytest.raises(Interrupted, match="0 of 2 entries have finished"):
        run_entries([entry(tmp_path, f"m{n}", 5) for n in range(2)], tmp_path, tmp_path / "logs", jobs=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_processes_and_says_how_to_go_on(number, tmp_path):
    process = start(tmp_path)
    wait_for(lambda: finished(tmp_path) and len(runs_below(tmp_path)) > len(finished(tmp_path)))
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert Interrupted.__name__ in said
    assert "of 6 entries have finished and are kept. Run the same command again to do the rest" in said
    assert not any(alive(run.result["pid"]) for run in runs_below(tmp_path))


def test_a_program_that_cannot_be_started_is_named(tmp_path):
    gone = replace(entry(tmp_path, "m0"), command=(str(tmp_path / "gone"),))
    with pytest.raises(LeaderboardError) as error:
        run_entries([gone], tmp_path, tmp_path / "logs", jobs=1)
    assert str(error.value) == (
        f"m0 seed 1 cannot be started: [Errno 2] No such file or directory: '{tmp_path / 'gone'}'"
    )


def test_failures_of_one_moment_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule.time, "strftime", lambda form: "20200101-000000")
    entries = [entry(tmp_path, "m", how="refuse"), replace(entry(tmp_path, "m", how="refuse"))]
    entries[1] = replace(entries[1], record={**entries[1].record, "config_hash": "other"})
    runs = run_entries(entries, tmp_path, tmp_path / "logs", jobs=1)
    names = ["m-toys-20200101-000000", "m-toys-20200101-000000-1"]
    assert [run.folder.name for run in runs] == names
    assert [run.result["run_folder"] for run in runs] == [str(tmp_path / name) for name in names]


def test_a_terminal_shows_what_runs_and_how_long_it_takes(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run_entries(entries_of(tmp_path, 2, 0.3), tmp_path, tmp_path / "logs", jobs=1)
    shown = capfd.readouterr().err
    assert "unknown time left; m0 seed 1" in shown
    assert re.search(r"about \d+ s left; m1 seed 1", shown)
    assert "2/2 entries" in shown


@pytest.mark.parametrize(
    ("seconds", "missing", "jobs", "words"),
    [
        ([], 3, 1, ""),
        ([10.0], 0, 1, ""),
        ([10.0, 20.0], 2, 1, "about 30 s"),
        ([10.0, 20.0], 2, 2, "about 15 s"),
        ([10.0, 20.0], 2, 9, "about 15 s"),
        ([60.0], 2, 1, "about 2 min"),
    ],
)
def test_the_time_left_is_estimated_from_what_has_ended(seconds, missing, jobs, words):
    progress = schedule._Progress([], {}, jobs)
    progress.seconds = seconds
    assert progress._left(missing) == words
    progress.close()
