"""Leaderboards, comparisons and searches of sequential models, beside general ones."""

import json
from pathlib import Path

import pytest

from recbole_bd.cli.main import main
from recbole_bd.leaderboard.command import run_leaderboard
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.runs.records import read_result
from tests.helpers.forked import forked_children
from tests.helpers.histories import SHORT, write_chains

PAIR = {"teacher_model": "SASRec", "student_model": "GRU4Rec"}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A leaderboard of models of both kinds: its settings, what it shows, and its runs by method."""
    folder = tmp_path_factory.mktemp("board")
    settings = {key: value for key, value in SHORT.items() if key != "seed"} | PAIR
    settings |= {"data_path": str(write_chains(folder)), "checkpoint_dir": str(folder / "saved")}
    given = {**settings, "models": "BPR,SASRec,GRU4Rec,BD", "seeds": "1", "controls": []}
    with forked_children():
        shown = run_leaderboard(given)
    return given, shown, {run.result["method"]: run for run in runs_below(folder / "saved")}


def test_models_of_both_kinds_are_in_one_table(board):
    given, shown, runs = board
    assert runs.keys() == {"BPR", "SASRec", "GRU4Rec", "BD"}
    assert len({run.result["data"]["fingerprint"] for run in runs.values()}) == 1
    assert all(run.result["data"]["split"] == {"train": 437, "valid": 60, "test": 60} for run in runs.values())
    assert "failed" not in shown
    for row in ("teacher, separate", "teacher, BD", "student, separate", "student, BD", "SASRec", "GRU4Rec", "BPR"):
        assert f"\n{row} " in shown
    teacher, baseline = runs["BD"].result["teacher"]["separate"], runs["SASRec"].result["model"]["separate"]
    assert teacher["test"] == baseline["test"]
    assert run_leaderboard(given) == shown, "no run is trained again"
    assert "repeatable: true" in (runs["BPR"].folder / "config.yaml").read_text()
    assert "MAX_ITEM_LIST_LENGTH" not in (runs["BPR"].folder / "run.log").read_text()


def test_a_sequential_run_is_compared_with_a_general_one(board, capsys):
    runs = board[2]
    words = [f"{runs['BD'].folder}:student/distilled", f"{runs['BPR'].folder}:model/separate"]
    assert main(["compare", *words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert row["metric"] == "ndcg@5"
    assert row["mean_a"] == pytest.approx(runs["BD"].result["student"]["distilled"]["test"]["ndcg@5"], abs=1e-6)
    assert row["mean_b"] == pytest.approx(runs["BPR"].result["model"]["separate"]["test"]["ndcg@5"], abs=1e-6)


@pytest.mark.usefixtures("forked")
def test_settings_of_a_sequential_student_are_searched(tmp_path, capsys):
    pytest.importorskip("optuna", reason="searches need optuna")
    space = "student.learning_rate: {loguniform: [0.001, 0.1]}\nstudent.dropout_prob: 0.1\n"
    (tmp_path / "space.yaml").write_text(space)
    settings = {**SHORT, **PAIR, "epochs": 1, "data_path": str(write_chains(tmp_path))}
    settings |= {"checkpoint_dir": str(tmp_path / "saved"), "space": str(tmp_path / "space.yaml"), "trials": 2}
    assert main(["tune", *(f"--{key}={json.dumps(value)}" for key, value in settings.items())]) == 0
    assert "2 trials: 2 finished" in capsys.readouterr().out
    runs = [read_result(folder) for folder in (tmp_path / "saved").glob("BD-chains-*")]
    assert len(runs) == 2
    assert {run["status"] for run in runs} == {"finished"}
    assert Path(tmp_path / "saved" / "tune-BD-chains" / "best.yaml").is_file()
