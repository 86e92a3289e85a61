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


def test_records_of_schema_1_are_told(tmp_path):
    def notes(*runs):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for method, schema in runs:
            values = {f"{role}/{arm}": 0.3 for role in ("teacher", "student") for arm in ("separate", "distilled")}
            hashes = {"config": f"{method} {schema}", "settings": f"{method} {schema}", "teacher": "t", "student": "s"}
            hashes["control"] = f"c {schema}"
            write_run(folder, method, 1, values, ("teacher", "student"), name=f"{method}-{schema}", schema=schema,
                      hashes=hashes, config_hash=hashes["config"])  # fmt: skip
        write_run(folder, "Pop", 1, {"model/separate": 0.1}, schema=1)
        board = build(runs_below(folder))
        return [row.name for row in board.rows if row.role == "student"], board.notes

    rest = (
        "The state that training went on from was no candidate for their best epoch, so that a row may be below its "
        "own start."
    )
    assert notes(("BD", 2), ("RD", 2))[1] == []
    assert notes(("BD", 1), ("RD", 1))[1] == [f"Records of schema 1: all continued and taught rows. {rest}"]
    names, said = notes(("BD", 1), ("BD", 2))
    assert names == ["student, separate", "student, BD (schema=1)", "student, BD (schema=2)"]
    assert said == [f"Records of schema 1: “teacher, BD (schema=1)”, “student, BD (schema=1)”. {rest}"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"dataset": "other"}, "data set"),
        ({"data": {"fingerprint": "other"}}, "data or split"),
        ({"data": {"fingerprint": "f1", "candidates": {"test": "c"}}}, "candidates of sampled evaluation"),
        ({"valid_metric": "hit@5"}, "valid_metric"),
        ({"settings": {"eval_args": {"mode": "uni100"}}}, "eval_args"),
        ({"settings": {"repeatable": True}}, "repeatable"),
        ({"data": {"fingerprint": "f1", "columns": {"inter.label": "b"}}}, "inter.label"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, kind, folder):
    data = {"fingerprint": "f1", "columns": {"inter.label": "a"}}
    write_run(folder, "MF", 1, {"model/separate": 0.2}, settings={"repeatable": False}, data=data)
    write_run(folder, "EASE", 1, {"model/separate": 0.2}, **change)
    with pytest.raises(LeaderboardError, match=f"differ in {kind}, so they do not fit into one table"):
        build(runs_below(folder))


def hashes_of(**changes) -> dict:
    return {"config": "c", "settings": "s", "teacher": "t", "student": "s", "control": "c", "model": "m", **changes}


def controls(folder, student: float) -> list[str]:
    """Names of the students' continued rows where BD trains both roles, and RD the student alone to some value."""
    write_run(folder, "BD", 1, two_roles(0.3, 0.2, 0.05), ("teacher", "student"), hashes=hashes_of(control="both"))
    values = {**two_roles(0.3, 0.2, 0.02), "student/continued": student}
    write_run(folder, "RD", 1, values, ("student",), hashes=hashes_of(control="alone", settings="r"))
    write_run(folder, "RD", 2, values, ("student",), hashes=hashes_of(control="alone", settings="r"))
    board = build(runs_below(folder))
    return {row.name: sorted(row.runs) for row in board.rows if "student, continued" in row.name}


def test_controls_with_the_same_numbers_are_one_row(tmp_path):
    assert controls(tmp_path, student=0.21) == {"student, continued": [1, 2]}


def test_controls_that_differ_by_who_learns_say_so(tmp_path):
    assert controls(tmp_path, student=0.25) == {
        "student, continued (with the other role)": [1],
        "student, continued (alone)": [1, 2],
    }


def test_separate_models_of_one_name_are_told_apart_by_their_own_settings(tmp_path):
    for size in (8, 16):
        settings = {"temperature": float(size), "teacher": {"embedding_size": size}, "student": {"embedding_size": 2}}
        write_run(
            tmp_path, "BD", 1, two_roles(0.3, 0.2, size / 100), ("teacher", "student"), name=f"BD{size}",
            settings=settings, hashes=hashes_of(teacher=f"t{size}", settings=f"s{size}"), config_hash=f"c{size}",
        )  # fmt: skip
    names = [row.name for row in build(runs_below(tmp_path)).rows]
    separate = {name for name in names if "separate" in name}
    assert separate == {
        "teacher, separate (teacher.embedding_size=8)",
        "teacher, separate (teacher.embedding_size=16)",
        "student, separate",
    }


def test_rows_whose_shown_settings_are_the_same_are_numbered(tmp_path):
    """Three settings are shown, and these differ in the fourth only."""
    for number, (a, d) in enumerate([(1, 1), (1, 2), (2, 1)]):
        settings = {"a": a, "b": a, "c": a, "d": d}
        write_run(
            tmp_path, "Pop", 1, {"model/separate": 0.5 - number / 10}, name=f"Pop{number}", settings=settings,
            hashes=hashes_of(settings=f"s{number}"), config_hash=f"c{number}",
        )  # fmt: skip
    assert [row.name for row in build(runs_below(tmp_path)).rows] == [
        "Pop (a=1, b=1, c=1, ...) [1]", "Pop (a=1, b=1, c=1, ...)", "Pop (a=2, b=2, c=2, ...)",
    ]  # fmt: skip


def test_each_method_has_a_placebo_of_its_own_after_the_continued_rows(tmp_path):
    for method, gain in (("BD", 0.05), ("BD2", 0.02)):
        values = {**two_roles(0.3, 0.2, gain), "teacher/placebo": 0.31, "student/placebo": 0.21 + gain / 2}
        write_run(tmp_path, method, 1, values, ("teacher", "student"), hashes=hashes_of(settings=method))
    rows = [row.name for row in build(runs_below(tmp_path)).rows]
    assert rows[6:] == [
        "student, separate", "student, continued", "student, BD, placebo", "student, BD2, placebo", "student, BD",
        "student, BD2",
    ]  # fmt: skip
    assert sorted(rows[2:4]) == ["teacher, BD, placebo", "teacher, BD2, placebo"]
