"""Runs read from folders and from one file."""

import subprocess
import sys

import pytest

from recbole_bd.errors import LeaderboardError
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from tests.helpers.boards import by_name, write_run


def test_folders_that_are_no_runs_are_passed_over(folder):
    (folder / "notes").mkdir()
    for name, text in (("torn", "{"), ("foreign", "[]"), ("old", '{"schema": 1, "status": "finished"}')):
        (folder / name).mkdir()
        (folder / name / "result.json").write_text(text)
    write_run(folder, "Slow", 1, None, status="running")
    assert "Slow" not in by_name(build(runs_below(folder)))
    with pytest.raises(LeaderboardError, match="no run has ended"):
        build([])


def test_reading_needs_neither_torch_nor_recbole():
    code = "import sys; from recbole_bd.leaderboard import page, figure, schedule, verdicts;"
    code += "sys.exit('torch' in sys.modules or 'recbole' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
