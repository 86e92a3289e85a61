"""What MLflow is given, with a stand-in for its package."""

import os
import sys
from pathlib import Path

import pytest

from recbole_bd.runs.mlflow_logger import MlflowLogger
from recbole_bd.runs.sent_numbers import OnlyNew, SentNumbers
from tests.helpers.settings import make_config
from tests.helpers.tools import MlflowException, fake_mlflow

LOSS, VALID = {"loss/separate/teacher/cf": 0.5}, {"valid/separate/teacher/ndcg@5": 0.25}
ALLOWED = "MLFLOW_ALLOW_FILE_STORE"


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in ("EXPERIMENT_ID", "EXPERIMENT_NAME", "RUN_ID", "ALLOW_FILE_STORE"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)


@pytest.fixture
def mlflow(monkeypatch):
    def installed(**given):
        modules = fake_mlflow(**given)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        return modules["mlflow"]

    return installed


def opened(folder: Path, **settings) -> tuple[MlflowLogger, OnlyNew]:
    sent = SentNumbers(folder / "sent-mlflow.jsonl")
    tool = MlflowLogger(make_config(settings), folder, sent)
    return tool, OnlyNew(tool, sent)


def runs_of(module) -> list:
    return [run for runs in module.stores.values() for run in runs.values()]


def test_settings_are_parameters_and_names_are_allowed_ones(mlflow, tmp_path):
    module = mlflow()
    tool, one = opened(tmp_path, **{"teacher.embedding_size": 8})
    one.log_metrics(-1, {**VALID, "valid/separate/teacher/my%own": 1})
    one.close("finished")
    (run,) = runs_of(module)
    assert run.data.params["teacher.embedding_size"] == "8"
    assert max(run.batches) == 100
    assert run.metrics == [
        ("valid/separate/teacher/ndcg_at_5", 0.25, -1),
        ("valid/separate/teacher/my_own", 1.0, -1),
    ]
    assert run.status == "FINISHED"
    assert list(module.stores) == [(tmp_path / "mlflow").resolve().as_uri()]
    assert tool.where.endswith("/mlflow")
    assert ALLOWED not in os.environ


def test_the_file_store_is_allowed_while_it_is_opened(mlflow, tmp_path, monkeypatch):
    module, seen = mlflow(), []
    make = module.MlflowClient.__init__

    def noted(self, tracking_uri):
        seen.append(os.environ[ALLOWED])
        make(self, tracking_uri)

    monkeypatch.setattr(module.MlflowClient, "__init__", noted)
    opened(tmp_path)
    monkeypatch.setenv(ALLOWED, "false")  # the user's own word
    opened(tmp_path)
    assert seen == ["true", "false"]


@pytest.mark.parametrize(
    ("variables", "experiment"),
    [
        ({}, "recbole-bd"),
        ({"EXPERIMENT_NAME": "recbole-bd in use"}, "recbole-bd in use"),
        ({"EXPERIMENT_NAME": "new"}, "new"),
        ({"EXPERIMENT_ID": "12", "EXPERIMENT_NAME": "new"}, None),
    ],
)
def test_the_users_store_and_experiment_hold(variables, experiment, mlflow, tmp_path, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    module = mlflow(uri="https://me:secret@host:5000/x")
    tool, _ = opened(tmp_path)
    assert list(module.stores) == ["https://me:secret@host:5000/x"]
    (run,) = runs_of(module)
    assert run.experiment == (module.experiments[experiment] if experiment else "12")
    assert tool.where.endswith(" in https://host:5000/x")
    assert "secret" not in (tmp_path / "sent-mlflow.jsonl").read_text()


def test_a_resumed_run_is_continued_and_nothing_is_logged_twice(mlflow, tmp_path):
    module = mlflow()
    one = opened(tmp_path, distill_epochs=5)[1]
    one.log_metrics(0, LOSS)
    one.log_metrics(0, VALID)
    one.close("interrupted")
    (run,) = runs_of(module)
    assert run.status == "KILLED"
    one = opened(tmp_path, distill_epochs=7)[1]
    assert run.status == "RUNNING"
    for values in (LOSS, VALID):
        for step in (0, 1):
            one.log_metrics(step, values)
    one.close("failed")
    assert runs_of(module) == [run]
    assert [(name, step) for name, _, step in run.metrics] == [
        ("loss/separate/teacher/cf", 0),
        ("valid/separate/teacher/ndcg_at_5", 0),
        ("loss/separate/teacher/cf", 1),
        ("valid/separate/teacher/ndcg_at_5", 1),
    ]
    assert (run.data.params["distill_epochs"], run.tags, run.status) == ("5", {"changed.distill_epochs": "7"}, "FAILED")


def test_another_store_or_a_lost_run_receives_everything(mlflow, tmp_path):
    module = mlflow()
    opened(tmp_path)[1].log_metrics(0, LOSS)
    module.stores.clear()
    opened(tmp_path)[1].log_metrics(0, LOSS)
    assert len(runs_of(module)[0].metrics) == 1
    module = mlflow(uri="sqlite:///elsewhere.db")
    opened(tmp_path)[1].log_metrics(0, LOSS)
    assert len(runs_of(module)[0].metrics) == 1


def test_a_run_that_the_user_names_must_exist(mlflow, tmp_path, monkeypatch):
    module = mlflow(uri="http://host", active=None)
    monkeypatch.setenv("MLFLOW_RUN_ID", "named")
    with pytest.raises(MlflowException, match="Run named not found"):
        opened(tmp_path)
    assert runs_of(module) == []


def test_an_error_of_the_store_is_no_lost_run(mlflow, tmp_path, monkeypatch):
    module = mlflow()
    opened(tmp_path)

    def broken(*_):
        raise MlflowException("no answer", "INTERNAL_ERROR")

    monkeypatch.setattr(module.MlflowClient, "get_run", broken)
    with pytest.raises(MlflowException, match="no answer"):
        opened(tmp_path)


def test_the_run_of_the_users_program_is_used_and_stays_open(mlflow, tmp_path):
    module = mlflow(uri="http://host", active="theirs")
    module.stores["http://host"]["theirs"].data.params["seed"] = "1"
    one = opened(tmp_path)[1]
    one.log_metrics(0, LOSS)
    one.close("finished")
    (run,) = runs_of(module)
    assert (len(run.metrics), run.status) == (1, "RUNNING")
    assert run.tags == {"changed.seed": str(make_config()["seed"])}
