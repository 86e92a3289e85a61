"""Whole runs with loggers: what the tools hold afterwards, and that watching a run changes nothing in it.

With stand-ins for the packages, and with the packages themselves where they are installed: both write to the run folder
without a network, and are read with their own programs.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from recbole_bd import run_bd
from recbole_bd.runs.progress import PROGRESS_FILE
from recbole_bd.runs.records import read_validations
from recbole_bd.system.sealed_archive import load_archive
from tests.helpers.finished import ROLES, log_of
from tests.helpers.resuming import Killed, run_differences
from tests.helpers.settings import QUICK
from tests.helpers.tools import WandbRun, fake_mlflow, fake_wandb

ARMS = ("separate", "distilled", "continued", "placebo")
Curves = dict[str, list[tuple[int, float]]]


@pytest.fixture(scope="module")
def settings(block_data, tmp_path_factory) -> dict:
    """Settings whose run is kept seldom, so that a kill loses epochs which the tools have."""
    folder = str(tmp_path_factory.mktemp("logged"))
    return {**QUICK, "data_path": str(block_data), "checkpoint_dir": folder, "controls": ["continued", "placebo"]}


@pytest.fixture(scope="module")
def plain(settings) -> dict:
    return run_bd(config_dict=settings)


def killed_and_resumed(settings: dict, folder: Path) -> dict:
    """A run that was killed in the second epoch of the distillation, whose first one was not kept."""

    def watch(row):
        if (row["stage"], row["role"], row["epoch"]) == ("distilled", "student", 1):
            raise Killed

    more = {"checkpoint_dir": str(folder), "warmup_cache": False, "checkpoint_every": 3}
    with pytest.raises(Killed):
        run_bd(config_dict={**settings, **more}, watch=watch)
    (run,) = folder.glob(f"*/{PROGRESS_FILE}")
    assert len(load_archive(run)["arms"]) == 1, "it goes on after the warm-ups"
    return run_bd(resume=run.parent)


def recorded(result: dict) -> Curves:
    """Every number that the files of a run hold, by name of the loggers."""
    folder, found = Path(result["run_folder"]), defaultdict(list)
    rows = {"valid": read_validations(folder / "metrics.csv")}
    rows["loss"] = load_archive(folder / PROGRESS_FILE)["journal"]["losses"]
    for kind, kept in rows.items():
        for row in kept:
            place = row["stage"], row["role"], row["epoch"]
            for name in row.keys() - {"stage", "role", "epoch"}:
                found[f"{kind}/{place[0]}/{place[1]}/{name}"].append((place[2], row[name]))
    for role in ROLES:
        for arm in ARMS:
            one = result[role][arm]
            found |= {f"test/{arm}/{role}/{name}": [(one["best_epoch"], value)] for name, value in one["test"].items()}
            epochs = len(found[f"loss/{arm}/{role}/cf"])
            found[f"train/{arm}/{role}/learning_rate"] = [(epoch, 0.01) for epoch in range(epochs)]
    return dict(found)


def in_wandb(rows: list[dict]) -> Curves:
    """The curves of rows of wandb's history."""
    found = defaultdict(list)
    for row in rows:
        for name in row.keys() - {"epoch"}:
            if not name.startswith("_"):
                found[name].append((row["epoch"], row[name]))
    return dict(found)


def points(curves: Curves) -> Curves:
    """The curves with their points in order, each as often as it is there."""
    return {name: sorted(curves[name]) for name in sorted(curves)}


def test_both_tools_hold_every_number_once_after_a_kill(settings, plain, tmp_path, monkeypatch):
    wandb, mlflow = fake_wandb(), fake_mlflow()
    for name, module in {"wandb": wandb, **mlflow}.items():
        monkeypatch.setitem(sys.modules, name, module)
    result = killed_and_resumed({**settings, "loggers": ["wandb", "mlflow"]}, tmp_path)
    assert run_differences(plain, result, aside=["loggers", "warmup_cache", "checkpoint_every"]) == []
    assert not (Path(result["run_folder"]) / "tensorboard").exists()
    (run,) = wandb.runs.values()
    assert [step for step, _ in run.rows] == list(range(len(run.rows)))
    assert points(in_wandb([values for _, values in run.rows])) == points(recorded(result))
    (run,) = next(iter(mlflow["mlflow"].stores.values())).values()
    found = defaultdict(list)
    for name, value, step in run.metrics:
        found[name.replace("_at_", "@")].append((step, value))
    assert points(found) == points(recorded(result))


def test_a_tool_that_fails_in_the_middle_ends_no_training(settings, plain, tmp_path, monkeypatch):
    wandb, log = fake_wandb(), WandbRun.log
    monkeypatch.setitem(sys.modules, "wandb", wandb)

    def full(self, values, step):
        if step >= 5:
            raise OSError(28, "No space left on device")
        log(self, values, step)

    monkeypatch.setattr(WandbRun, "log", full)
    result = run_bd(config_dict={**settings, "loggers": ["wandb"], "checkpoint_dir": str(tmp_path)})
    assert run_differences(plain, result, aside=["loggers"]) == []
    assert log_of(result).count("wandb fails and gets no more numbers of this run: No space left on device") == 1
    (run,) = wandb.runs.values()
    assert (len(run.rows), run.ends) == (5, [1])


# --- the packages themselves ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def logged(settings, tmp_path_factory) -> dict:
    """The result of a killed and resumed run that both tools have followed without a network."""
    pytest.importorskip("wandb", reason='needs pip install "recbole-bd[wandb]"')
    pytest.importorskip("mlflow", reason='needs pip install "recbole-bd[mlflow]"')
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "DO_NOT_TRACK": "true"}.items():
            patch.setenv(name, value)
        given = {**settings, "loggers": ["tensorboard", "wandb", "mlflow"]}
        return killed_and_resumed(given, tmp_path_factory.mktemp("real"))


def wandb_records(folder: Path) -> list[dict]:
    """The records of wandb's files in a run folder, by wandb's own reader, process by process."""
    records = []
    for part in sorted((folder / "wandb").glob("offline-run-*")):
        command = [sys.executable, "-W", "ignore", "-m", "wandb", "leet", "inspect", "--json", str(part)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        records += map(json.loads, lines)
    return records


def test_the_tools_change_no_number(logged, plain):
    assert run_differences(plain, logged, aside=["loggers", "warmup_cache", "checkpoint_every"]) == []


def test_wandb_holds_both_roles_curves_without_a_network(logged):
    records = wandb_records(Path(logged["run_folder"]))
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert points(in_wandb(rows)) == points(recorded(logged))
    runs = [record["run"] for record in records if record["type"] == "run"]
    assert len(runs) == 2
    assert len({run["run_id"] for run in runs}) == 1
    updates = [record["config"]["update"] for record in records if record["type"] == "config"]
    assert any(update.get("teacher", {}).get("embedding_size") == 8 for update in updates)
    assert [record["exit"].get("exit_code", 0) for record in records if record["type"] == "exit"] == [1, 0]


def test_mlflow_holds_both_roles_curves_without_a_network(logged, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(tracking_uri=(Path(logged["run_folder"]) / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("recbole-bd")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["teacher.embedding_size"] == "8"
    wanted = recorded(logged)
    assert len(run.data.metrics) == len(wanted)
    found = {}
    for name in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        found[name.replace("_at_", "@")] = [(point.step, point.value) for point in history]
    assert points(found) == points(wanted)
