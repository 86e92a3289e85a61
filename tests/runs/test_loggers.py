"""Loggers of a run are opened before it trains, and closed however it ends."""

import json
import sys
from pathlib import Path

import pytest

from recbole_bd import run_bd
from recbole_bd.errors import CheckpointError, ConfigError, InstallationError
from recbole_bd.runs.loggers import open_loggers
from tests.helpers.settings import alone, make_config
from tests.helpers.tools import fake_mlflow, fake_wandb


@pytest.fixture
def tools(monkeypatch):
    """Stand-ins for both packages."""
    modules = {"wandb": fake_wandb(), **fake_mlflow()}
    for name, one in modules.items():
        monkeypatch.setitem(sys.modules, name, one)
    return modules


@pytest.fixture
def pop(quick) -> dict:
    """Settings of a run that learns nothing."""
    return {**alone(quick), "model": "Pop"}


def no_login(**_):
    raise RuntimeError("no API key\nconfigured.")


def test_every_chosen_logger_is_opened(tools, tmp_path, caplog):
    caplog.set_level("INFO")
    group = open_loggers(make_config(loggers=["mlflow", "tensorboard", "wandb"]), tmp_path)
    group.log_metrics(0, {"loss/separate/model/cf": 0.5})
    group.close("finished")
    (wandb,), (mlflow,) = tools["wandb"].runs.values(), next(iter(tools["mlflow"].stores.values())).values()
    assert (len(wandb.rows), wandb.ends, len(mlflow.metrics), mlflow.status) == (1, [0], 1, "FINISHED")
    assert {path.name for path in tmp_path.iterdir()} == {"tensorboard", "sent-wandb.jsonl", "sent-mlflow.jsonl"}
    (store,) = tools["mlflow"].stores
    assert caplog.messages == [f"mlflow: run {mlflow.info.run_id} in {store}", f"wandb: run {wandb.id}, {wandb.url}"]


def test_a_tool_that_cannot_start_is_named_and_the_others_are_closed(tools, tmp_path):
    tools["wandb"].init = no_login
    with pytest.raises(ConfigError) as error:
        open_loggers(make_config(loggers=["mlflow", "wandb"]), tmp_path)
    assert str(error.value) == (
        "loggers: wandb cannot start: no API key configured; log in by `wandb login`, or set WANDB_MODE=offline"
    )
    assert [run.status for run in next(iter(tools["mlflow"].stores.values())).values()] == ["FAILED"]


def test_an_error_of_the_run_folder_is_told_as_it_is(tools, tmp_path):
    (tmp_path / "sent-wandb.jsonl").write_text("\n")
    with pytest.raises(CheckpointError, match=r"sent-wandb.jsonl.* is damaged"):
        open_loggers(make_config(loggers=["wandb"]), tmp_path)
    with pytest.raises(CheckpointError, match=r"sent-wandb.jsonl cannot be written"):
        open_loggers(make_config(loggers=["wandb"]), tmp_path / "sent-wandb.jsonl")


def test_a_run_whose_tool_cannot_start_trains_nothing(tools, pop):
    tools["wandb"].init = no_login
    with pytest.raises(ConfigError, match="wandb cannot start"):
        run_bd(config_dict={**pop, "loggers": ["wandb"]})
    (result,) = Path(pop["checkpoint_dir"]).glob("*/result.json")
    assert json.loads(result.read_text())["status"] == "failed"


def test_a_package_that_is_missing_is_refused_before_a_folder_is_made(pop, monkeypatch):
    monkeypatch.setattr("recbole_bd.config.chosen_loggers._is_installed", lambda _: False)
    with pytest.raises(InstallationError, match="needs mlflow, which is not installed"):
        run_bd(config_dict={**pop, "loggers": ["mlflow"]})
    assert not Path(pop["checkpoint_dir"]).exists()


@pytest.mark.parametrize(("error", "end"), [(None, 0), (ConfigError("wrong"), 1), (ZeroDivisionError(), 1)])
def test_a_run_closes_its_loggers_however_it_ends(error, end, tools, pop, monkeypatch):
    def broken(*_):
        raise error

    if error:
        monkeypatch.setattr("recbole_bd.runs.outputs.RunOutputs.test", broken)
        with pytest.raises(type(error)):
            run_bd(config_dict={**pop, "loggers": ["wandb"]})
    else:
        run_bd(config_dict={**pop, "log_wandb": True})
    (run,) = tools["wandb"].runs.values()
    assert run.ends == [end]
    tests = [values for _, values in run.rows if "test/separate/model/ndcg@5" in values]
    assert len(tests) == (error is None)


def test_only_the_first_process_logs(tools, pop, monkeypatch):
    monkeypatch.setattr("recbole_bd.system.distributed.Group.is_first", False)
    run_bd(config_dict={**pop, "loggers": ["tensorboard", "wandb", "mlflow"]})
    assert (tools["wandb"].runs, tools["mlflow"].stores) == ({}, {})
    assert not list(Path(pop["checkpoint_dir"]).glob("*/tensorboard"))
