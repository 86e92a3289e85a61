"""Runs read from folders and from one file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_bd.errors import ComparisonError, LeaderboardError
from recbole_bd.leaderboard.run_reader import one_per_configuration, read_runs, runs_below, runs_jsonl
from recbole_bd.leaderboard.tables import build
from tests.helpers.boards import by_name, write_run


def test_folders_that_are_no_runs_are_passed_over_and_named(folder, caplog):
    (folder / "notes").mkdir()
    for name, text in (("torn", "{"), ("foreign", "[]"), ("old", '{"schema": 1, "status": "finished"}')):
        (folder / name).mkdir()
        (folder / name / "result.json").write_text(text)
    write_run(folder, "Slow", 1, None, status="running")
    assert "Slow" not in by_name(build(runs_below(folder)))
    skipped = [record.getMessage() for record in caplog.records]
    assert [line.split(" is damaged")[0] for line in skipped] == [
        f"run folder skipped: {folder / name / 'result.json'}" for name in ("foreign", "old", "torn")
    ]
    with pytest.raises(LeaderboardError, match="no run has ended"):
        build([])


def test_reading_needs_neither_torch_nor_recbole():
    code = "import sys; from recbole_bd.leaderboard import page, figure, schedule, verdicts;"
    code += "sys.exit('torch' in sys.modules or 'recbole' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_first_run_that_finished_counts_else_the_last_that_failed(tmp_path):
    for number, (key, status) in enumerate(
        [("a", "failed"), ("a", "finished"), ("a", "finished"), ("a", "failed"), ("b", "failed"), ("b", "failed"),
         ("b", "running"), ("c", "interrupted")]
    ):  # fmt: skip
        write_run(tmp_path, "Pop", 1, {"model/separate": 0.1}, name=str(number), config_hash=key, status=status)
    assert [run.folder.name for run in one_per_configuration(runs_below(tmp_path))] == ["1", "5"]


def test_a_record_holds_no_folder_of_its_machine(tmp_path):
    settings = {"data_path": "/home/me/data", "teacher": {"checkpoint": "/home/me/t.pth", "epochs": 3}, "student": {}}
    write_run(tmp_path / "runs", "Pop", 1, {"model/separate": 0.1}, settings=settings)
    (tmp_path / "runs.jsonl").write_text(runs_jsonl(runs_below(tmp_path / "runs")))
    (run,) = read_runs(tmp_path / "runs.jsonl")
    found = {key: run.settings[key] for key in settings}
    assert found == {"data_path": "data", "teacher": {"checkpoint": "t.pth", "epochs": 3}, "student": {}}
    # What was recorded as it was typed stays.
    write_run(tmp_path / "more", "Pop", 1, {"model/separate": 0.1}, settings={"data_path": "../shared/data"})
    (tmp_path / "runs.jsonl").write_text(runs_jsonl(runs_below(tmp_path / "more")))
    assert read_runs(tmp_path / "runs.jsonl")[0].settings["data_path"] == "../shared/data"


@pytest.fixture
def recorded(tmp_path):
    """A file of one run with values of users, and its lines: one for each array, and the record."""
    (tmp_path / "runs").mkdir()
    write_run(tmp_path / "runs", "Pop", 1, {"model/separate": 0.1})
    path = tmp_path / "runs.jsonl"
    path.write_text(runs_jsonl(runs_below(tmp_path / "runs")))
    return path, [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_gives_what_its_folder_gave(recorded, tmp_path):
    (known,), (run,) = runs_below(tmp_path / "runs"), read_runs(recorded[0])
    assert (run.result, run.settings, run.validations) == (
        {**known.result, "run_folder": "Pop-1"}, known.settings, known.validations,
    )  # fmt: skip
    assert run.folder == Path("Pop-1")
    (users, values), (known_users, known_values) = run.per_user(), known.per_user()
    assert users.tolist() == known_users.tolist()
    assert {name: array.tolist() for name, array in values.items()} == {
        name: array.tolist() for name, array in known_values.items()
    }


def test_a_run_without_values_of_users_is_recorded_without_them(tmp_path):
    folder = write_run(tmp_path / "runs", "Pop", 1, {"model/separate": 0.1})
    (folder / "per_user.npz").unlink()
    path = tmp_path / "runs.jsonl"
    path.write_text(runs_jsonl(runs_below(tmp_path / "runs")))
    (run,) = read_runs(path)
    with pytest.raises(ComparisonError) as error:
        run.per_user()
    assert str(error.value) == "the record of Pop-1 contains no per-user values"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"settings": []}, "settings are not a JSON object, or validations are not a list"),
        ({"validations": {}}, "settings are not a JSON object, or validations are not a list"),
        ({"result": {}}, "it lacks schema, status, method, dataset, seed, valid_metric, learners, config_hash, hashes, "
         "command"),
        ({"users": "gone"}, "the array gone is missing in the lines before it"),
    ],
)  # fmt: skip
def test_a_damaged_record_is_named_by_its_line(changes, problem, recorded):
    path, (*arrays, record) = recorded
    path.write_text("\n".join(map(json.dumps, [*arrays, {**record, **changes}])))
    with pytest.raises(LeaderboardError) as error:
        read_runs(path)
    assert str(error.value) == f"{path} line {len(arrays) + 1}: {problem}"


def test_arrays_of_other_users_are_refused(recorded, tmp_path):
    path, (*arrays, record) = recorded
    write_run(tmp_path / "fewer", "Pop", 1, {"model/separate": 0.1}, users=9)
    other, *_ = runs_jsonl(runs_below(tmp_path / "fewer")).splitlines()
    changed = {**record, "users": json.loads(other)["array"]}
    path.write_text("\n".join([other, *map(json.dumps, [*arrays, changed])]))
    with pytest.raises(LeaderboardError) as error:
        read_runs(path)
    assert str(error.value) == f"{path} line {len(arrays) + 2}: its arrays have different numbers of users"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(LeaderboardError) as error:
        read_runs(tmp_path)
    assert str(error.value) == f"{tmp_path} cannot be read: Is a directory"
