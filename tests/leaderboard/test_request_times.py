"""Milliseconds of a leaderboard's rows."""

import json

import pytest

from recbole_bd.errors import LeaderboardError, RunFolderError
from recbole_bd.leaderboard.formats import markdown
from recbole_bd.leaderboard.page import page
from recbole_bd.leaderboard.request_times import milliseconds, notes_on_times
from recbole_bd.leaderboard.run_reader import read_runs, runs_below, runs_jsonl
from recbole_bd.leaderboard.tables import build
from tests.helpers.boards import write_serving

SHARED = "Milliseconds: median time of a request in serve-bench; rows with the same model share it"


def times_of(board):
    return dict(zip([row.name for row in board.rows], milliseconds(board), strict=True))


def test_rows_with_the_same_model_share_the_mean_of_its_runs(folder):
    assert set(map(str, times_of(build(runs_below(folder))).values())) == {"{}"}
    write_serving(folder / "BD-1", teacher=2.0, student=0.5)
    write_serving(folder / "RD-2", teacher=4.0, student=0.7)
    board = build(runs_below(folder))
    times = times_of(board)
    for name in ("teacher, separate", "teacher, continued", "teacher, BD"):
        assert times[name] == {1: 3.0, 64: 192.0}
    assert times["student, RD"] == times["student, separate"] == {1: pytest.approx(0.6), 64: pytest.approx(38.4)}
    assert times["Pop"] == times["student, DE"] == {}
    assert notes_on_times(board) == [f"{SHARED} (top 10, cpu, x86_64, 2 threads)."]
    assert "Milliseconds" in page(board)
    assert "Milliseconds" not in markdown(board)


def test_runs_that_were_measured_in_different_ways_are_told(folder):
    write_serving(folder / "Pop-1", model=0.1)
    write_serving(folder / "BPR-2", model=0.2)
    path = folder / "BPR-2" / "serving.json"
    path.write_text(path.read_text().replace('"threads": 2', '"threads": 8'))
    assert notes_on_times(build(runs_below(folder))) == [
        f"{SHARED}. Runs were measured in different ways, so their times do not compare: top 10, cpu, x86_64, "
        "8 threads; top 10, cpu, x86_64, 2 threads."
    ]


def test_a_record_of_runs_keeps_the_times(folder, tmp_path):
    write_serving(folder / "BD-1", teacher=2.0, student=0.5)
    path = tmp_path / "runs.jsonl"
    path.write_text(runs_jsonl(runs_below(folder)))
    assert path.read_text().count('"serving"') == 1
    assert times_of(build(read_runs(path))) == times_of(build(runs_below(folder)))
    path.write_text(path.read_text().replace('"p50_ms": 2.0', '"p50_ms": "2"'))
    with pytest.raises(LeaderboardError, match=r"runs.jsonl line \d+: serving is damaged: batches of teacher are "):
        read_runs(path)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({}, "it has no models: {}"),
        ({"models": {}}, "machine is None"),
        ({"models": {"student": {}}, "machine": {}}, "batches of student are None"),
        ({"models": {"student": {"batches": {"x": {"p50_ms": 1}}}}, "machine": {}},
         "batches of student are {'x': {'p50_ms': 1}}"),
        ({"models": {"student": {"batches": {"1": {"p50_ms": float("inf")}}}}, "machine": {}},
         "batches of student are {'1': {'p50_ms': inf}}"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_with_the_way_out(record, problem, folder):
    path = folder / "BD-1" / "serving.json"
    path.write_text(json.dumps(record))
    with pytest.raises(RunFolderError) as error:
        milliseconds(build(runs_below(folder)))
    way_out = f"Run recbole-bd serve-bench {path.parent} again, or remove it"
    assert str(error.value) == f"{path} is damaged: {problem}. {way_out}"
