"""Readers of the files in run folders."""

import json

import pytest

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import ComparisonError, RunFolderError
from recbole_bd.runs.records import not_a_run_folder, read_json, read_result, read_validations, schema_error
from tests.helpers.boards import two_roles, write_run


@pytest.mark.parametrize("stated", [{}, {"separate": {"student": "loss(student) = BPR"}}])
def test_records_with_and_without_an_objective_are_read(stated, tmp_path):
    folder = write_run(tmp_path, "BD", 1, two_roles(0.3, 0.2, 0.1), (TEACHER, STUDENT))
    result = json.loads((folder / "result.json").read_text())
    assert schema_error(result) is None
    assert schema_error({**result, "objective": stated}) is None


@pytest.mark.parametrize("stated", [None, "BPR", ["BPR"], {"separate": "BPR"}, {"separate": {"student": 1}}])
def test_an_objective_that_is_no_text_by_arm_and_role_is_damage(stated, tmp_path):
    folder = write_run(tmp_path, "BD", 1, two_roles(0.3, 0.2, 0.1), (TEACHER, STUDENT))
    result = json.loads((folder / "result.json").read_text())
    assert schema_error({**result, "objective": stated}).startswith("objective is ")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(RunFolderError) as error:
        read_json(tmp_path)
    assert str(error.value) == f"{tmp_path} cannot be read: Is a directory"
    with pytest.raises(ComparisonError) as error:
        read_json(tmp_path / "gone.json", ComparisonError)
    assert str(error.value) == f"{tmp_path / 'gone.json'} cannot be read: No such file or directory"


def test_what_is_no_run_folder_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not_a_run_folder("saved/RUN") == (
        "saved/RUN is not a run folder: no such folder; a run prints its folder at its end"
    )
    run = write_run(tmp_path / "saved", "BD", 1, two_roles(0.3, 0.2, 0.1), (TEACHER, STUDENT)).relative_to(tmp_path)
    assert not_a_run_folder("saved/x") == f"saved/x is not a run folder: no such folder; run folders in saved: {run}"
    assert not_a_run_folder(f"{run}-") == f"{run}- is not a run folder: no such folder. Did you mean {run}?"
    assert not_a_run_folder("saved") == f"saved is not a run folder: it has no result.json; run folders in it: {run}"
    assert not_a_run_folder(run / "result.json") == (
        f"{run}/result.json is not a run folder but a file; name its folder, {run}"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1]", "it contains a list, not a JSON object"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
def test_a_file_without_an_object_is_damaged(text, problem, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(RunFolderError) as error:
        read_json(path)
    assert str(error.value) == f"{path} is damaged: {problem}"


ARM = {"valid": {"ndcg@5": 0.1}, "test": {"ndcg@5": 0.1}, "best_epoch": 0}
WORDS = {"ratio": "x", "correlation": None, "headroom": 0.1}
SHORT = {"valid": {"ndcg@5": 0.1}, "test": {"ndcg@5": "x"}, "best_epoch": 0}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"seed": True}, "seed is True"),
        ({"dataset": "../x"}, "dataset is '../x', which is not a name"),
        ({"learners": [1]}, "learners or hashes are not text: [1], {'config': 'h', 'settings': 's', 'model': 'm'}"),
        ({"error": 5}, "error is 5"),
        ({"label": ["a"]}, "label is ['a']"),
        ({"objective": 3}, "objective is 3"),
        ({"complementarity": {"ratio": 1}}, "complementarity is {'ratio': 1}"),
        ({"complementarity": WORDS}, f"complementarity is {WORDS}"),
        ({"hashes": {"config": "h"}}, "hashes lacks settings, model"),
        ({"learners": ["student"]}, "hashes lacks control, teacher, student"),
        ({"data": {}}, "data is {}"),
        ({"data": {"fingerprint": "f", "users": 1.5}}, "data is {'fingerprint': 'f', 'users': 1.5}"),
        ({"timing": 5}, "timing is 5"),
        ({"timing": {"total_s": True}}, "timing is {'total_s': True}"),
        ({"model": {"model": "BPR"}}, "model is {'model': 'BPR'}"),
        ({"model": {"model": "BPR", "parameters": 1}}, "an arm of model is None"),
        ({"model": {"model": "BPR", "parameters": 1, "separate": SHORT}}, f"an arm of model is {SHORT!r:.60}"),
        (
            {"model": {"model": "BPR", "parameters": 1, "separate": ARM}, "valid_metric": "hit@5"},
            "the arms of model have different metrics, or lack hit@5",
        ),
    ],
)
def test_the_first_fault_of_a_record_is_described(changes, problem, tmp_path):
    folder = write_run(
        tmp_path, "BPR", 1, {"model/separate": 0.3}, hashes={"config": "h", "settings": "s", "model": "m"}
    )
    path = folder / "result.json"
    result = json.loads(path.read_text())
    assert schema_error(result) is None
    path.write_text(json.dumps({**result, **changes}))
    with pytest.raises(RunFolderError) as error:
        read_result(folder)
    assert str(error.value) == f"{path} is damaged: {problem}"


def test_runs_that_validated_nothing_have_no_rows(tmp_path):
    assert read_validations(tmp_path / "metrics.csv") == []


def test_rows_of_validations_have_numbers(tmp_path):
    (tmp_path / "metrics.csv").write_text("stage,role,epoch,ndcg@5,hit@5\nseparate,model,0,0.25,\n")
    assert read_validations(tmp_path / "metrics.csv") == [
        {"stage": "separate", "role": "model", "epoch": 0, "ndcg@5": 0.25}
    ]


@pytest.mark.parametrize("text", ["", "stage,role,epoch,ndcg@5,hit@5\nseparate,model,0,0.25"])
def test_validations_that_are_cut_off_are_damage(text, tmp_path):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(RunFolderError) as error:
        read_validations(tmp_path / "metrics.csv")
    assert str(error.value) == f"{tmp_path / 'metrics.csv'} is damaged: its last line is cut off"


def test_a_placebo_arm_is_checked_as_the_others(tmp_path):
    values = {**two_roles(0.3, 0.2), "student/placebo": 0.2}
    folder = write_run(tmp_path, "BD", 1, values, ("teacher", "student"))
    assert read_result(folder)["student"]["placebo"]["best_epoch"] == 1
    result = json.loads((folder / "result.json").read_text())
    del result["student"]["placebo"]["test"]
    (folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(RunFolderError, match="an arm of student is"):
        read_result(folder)
