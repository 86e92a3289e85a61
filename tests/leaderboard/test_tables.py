"""The rows and cells of a leaderboard from run folders."""

import json

import numpy as np
import pytest

from recbole_bd.errors import LeaderboardError
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from tests.helpers.boards import by_name, two_roles, write_run


def test_rows_are_baselines_what_was_taught_and_the_shared_models_once(board):
    assert [row.name for row in board.rows] == [
        "teacher, separate", "teacher, continued", "teacher, BD", "BPR", "Pop",
        "student, separate", "student, continued", "student, BD", "student, RD", "student, DE",
    ]  # fmt: skip
    rows = by_name(board)
    assert (rows["BPR"].size, rows["teacher, BD"].size, rows["student, RD"].size) == ("full", "full", "student")
    assert rows["student, BD"].parameters == 10


def test_cells_are_mean_and_standard_deviation_of_the_result_files(board, folder):
    for row in board.rows:
        if not row.runs:
            continue
        for metric, cell in row.cells.items():
            raw = [json.loads((run.folder / "result.json").read_text()) for run in row.runs.values()]
            values = np.array([one[row.role][row.arm]["test"][metric] for one in raw])
            assert len(values) == 2
            assert cell.mean == pytest.approx(values.mean(), abs=1e-12)
            assert cell.std == pytest.approx(values.std(ddof=1), abs=1e-12)


def test_a_later_success_takes_the_place_of_a_failure(folder):
    before = json.loads((folder / "DE-1" / "result.json").read_text())
    write_run(folder, "DE", 1, two_roles(0.3, 0.2), ("student",), name="DE-1-again", config_hash=before["config_hash"])
    assert not by_name(build(runs_below(folder)))["student, DE"].errors


def test_rows_of_one_name_are_told_apart_by_their_settings(tmp_path):
    for temperature in (1.0, 2.0):
        settings = {"temperature": temperature, "checkpoint_dir": f"runs{temperature}"}
        values = two_roles(0.3, 0.2, temperature / 100)
        write_run(tmp_path, "BD", 1, values, ("teacher", "student"), name=f"BD{temperature}", settings=settings)
    names = [row.name for row in build(runs_below(tmp_path)).rows]
    assert {"student, BD (temperature=1.0)", "student, BD (temperature=2.0)"} < set(names)
    assert names.count("student, separate") == 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"dataset": "other"}, "data set"),
        ({"data": {"fingerprint": "other"}}, "data or split"),
        ({"valid_metric": "hit@5"}, "valid_metric"),
        ({"settings": {"eval_args": {"mode": "uni100"}}}, "eval_args"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, kind, folder):
    write_run(folder, "EASE", 1, {"model/separate": 0.2}, **change)
    with pytest.raises(LeaderboardError, match=f"differ in {kind}, so they do not fit into one table"):
        build(runs_below(folder))
