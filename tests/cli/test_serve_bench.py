"""`recbole-bd serve-bench` as a user meets it."""

import json
from pathlib import Path

import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.data.sequences import TRAINED, WHOLE, Sequences
from recbole_bd.runs.records import read_serving
from tests.helpers.settings import QUICK, alone


@pytest.fixture
def threads():
    """Give torch back the number of its threads."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_both_roles_are_measured(trained_run, cli):
    code, out, err = cli("serve-bench", trained_run, "--requests=5", "--batch=1, 8", "-k", "999")
    assert (code, err) == (0, "")
    items = json.loads((Path(trained_run) / "serving.json").read_text())["k"]
    assert out.splitlines()[0].startswith(f"top {items} without")
    assert out.splitlines()[1] == f"-k 999 is above the number of items, {items}"
    assert "The student has 25.0% of the teacher's bytes" in out


def test_requests_to_sequential_models_read_whole_sequences(sequential_run, cli, monkeypatch):
    points = set()
    of_users = Sequences.of_users

    def asked(self, users, point=TRAINED):
        points.add(point)
        return of_users(self, users, point)

    monkeypatch.setattr(Sequences, "of_users", asked)
    code, out, err = cli("serve-bench", sequential_run, "--requests=3", "--batch=1,4")
    assert (code, err) == (0, "")
    assert WHOLE in points
    record = read_serving(Path(sequential_run))
    assert {role: about["model"] for role, about in record["models"].items()} == {
        "teacher": "SASRec",
        "student": "GRU4Rec",
    }
    for role, about in record["models"].items():
        assert about["bytes"] == 4 * about["parameters"], role
        assert about["batches"]["1"]["users_per_second"] > 0
    assert "The student has " in out


def test_torch_has_the_threads_that_are_asked_for(trained_run, cli, threads):
    code, out, _ = cli("serve-bench", trained_run, "--requests=2", "--batch=2", "-k", "3", f"--threads={threads + 1}")
    assert code == 0
    assert torch.get_num_threads() == threads + 1
    assert out.splitlines()[0] == (
        f"top 3 without the items that the test leaves out, 2 requests of each size, {threads + 1} threads"
    )
    record = json.loads((Path(trained_run) / "serving.json").read_text())
    assert record["machine"]["threads"] == threads + 1
    assert read_serving(Path(trained_run)) == record, "leaderboards read it"


def test_one_model_is_compared_with_none(block_data, tmp_path, cli):
    settings = {**alone(QUICK), "data_path": str(block_data), "checkpoint_dir": str(tmp_path / "saved")}
    folder = run_bd("Pop", config_dict=settings)["run_folder"]
    code, out, _ = cli("serve-bench", folder, "--requests=2", "--batch=1")
    assert code == 0
    assert "The student" not in out
    assert out.splitlines()[-3:] == [f"{folder}/serving.{ending}" for ending in ("json", "txt", "png")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["RUN", "--batch=1,x"],
            "serve-bench: --batch=1,x: 'x' is not a whole number of at least 1; separate several sizes by commas",
        ),
        ([], "serve-bench needs a run folder or a model file: recbole-bd serve-bench saved/RUN"),
    ],
)
def test_wrong_words_are_one_line(words, message, trained_run, cli):
    assert cli("serve-bench", *(trained_run if word == "RUN" else word for word in words)) == (
        2,
        "",
        f"recbole-bd: error: {message}\n",
    )
