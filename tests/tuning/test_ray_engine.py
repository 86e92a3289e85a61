"""Trials on Ray Tune: what Ray is asked for, and what is read back."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from recbole_bd.errors import InstallationError
from recbole_bd.runs.records import read_result
from recbole_bd.tuning import outputs, ray_engine
from recbole_bd.tuning.study import Search, open_study
from recbole_bd.tuning.trial import FAILED, FINISHED, Outcome
from tests.helpers.ray_stand_in import RayTune
from tests.helpers.searches import METRIC, storage_of

optuna = pytest.importorskip("optuna", reason="searches need optuna")


SPACE = {
    "x": {"uniform": [0.0, 1.0]},
    "rate": {"loguniform": [0.001, 0.1]},
    "size": {"quniform": [8, 64, 8]},
    "decay": {"quniform": [0.0, 1.0, 0.25]},
    "y": {"choice": [1, 2]},
    "z": 3,
}
DRAWS = [
    {"x": 0.123456, "rate": 0.0123456, "size": 16, "decay": 0.25, "y": 1},
    {"x": 0.6, "rate": 0.05, "size": 64, "decay": 0.0, "y": 2},
    {"x": 0.9, "rate": 0.1, "size": 8, "decay": 1.0, "y": 2},
]


@pytest.fixture
def on_ray(search, monkeypatch):
    """A search of three trials with a stand-in for Ray: the first ends, the second is stopped, the third fails."""
    ray = RayTune(DRAWS, stopped=(1,))
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setitem(sys.modules, "ray.tune", ray.module)
    monkeypatch.setitem(sys.modules, "ray.tune.schedulers", ray.schedulers)
    runs = []

    def run_trial(settings, objective, metric, log, threads, judge):
        runs.append((settings, objective, metric, log, threads))
        if settings["x"] == 0.9:
            return Outcome(FAILED, error="the loss is not finite")
        assert not judge(0, 0.2), "Ray prunes, and not this package"
        assert not judge(4, 0.3)
        return Outcome(FINISHED, 0.4, {"student": 0.4}, {0: 0.2, 4: 0.3}, folder="saved/run", seconds=1.5)

    monkeypatch.setattr(ray_engine, "run_trial", run_trial)
    return Search(**{**vars(search), "space": SPACE, "trials": 3, "jobs": 2, "threads": 4}), ray, runs


def test_ray_is_asked_for_the_ranges_and_the_trials_that_are_missing(on_ray, tmp_path):
    search, ray, _ = on_ray
    ray_engine.run_on_ray(open_study("s", storage_of(tmp_path, "journal"), search), search)
    assert ray.asked["trainable"][1] == {"cpu": 4}
    assert ray.asked["param_space"] == {
        "x": ("uniform", 0.0, 1.0),
        "rate": ("loguniform", 0.001, 0.1),
        "size": ("qrandint", 8, 64, 8),
        "decay": ("quniform", 0.0, 1.0, 0.25),
        "y": ("choice", [1, 2]),
    }
    assert ray.asked["tune_config"] == {
        "metric": "objective",
        "mode": "max",
        "num_samples": 3,
        "max_concurrent_trials": 2,
        "scheduler": ("MedianStoppingRule", {"time_attr": "epoch", "grace_period": 10, "min_samples_required": 5}),
    }
    assert ray.asked["run_config"] == {"name": "ray", "storage_path": str(tmp_path)}


def test_every_trial_of_ray_is_a_run_with_the_drawn_settings(on_ray, tmp_path):
    search, _, runs = on_ray
    ray_engine.run_on_ray(open_study("s", storage_of(tmp_path, "journal"), search), search)
    fixed = {"dataset": "d", "controls": [], "z": 3, "threads": 4}
    assert [settings for settings, *_ in runs] == [
        {**fixed, **DRAWS[0], "x": 0.123, "rate": 0.0123},
        {**fixed, **DRAWS[1]},
        {**fixed, **DRAWS[2]},
    ]
    logs = [tmp_path / "logs" / f"trial-trial{number}.log" for number in range(3)]
    assert [given for _, *given in runs] == [[("student",), METRIC, log, 4] for log in logs]


def test_results_of_ray_are_trials_of_the_study(on_ray, tmp_path):
    search, _, _ = on_ray
    opened = open_study("s", storage_of(tmp_path, "journal"), search)
    ray_engine.run_on_ray(opened, search)
    nothing = {"teacher": None, "student": None, "model": None, "seconds": None, "folder": None, "error": None}
    about = {**nothing, "epochs": None}
    finished = {**about, "student": 0.4, "seconds": 1.5, "folder": "saved/run"}
    assert outputs.rows_of(opened) == [
        {"trial": 0, "state": "finished", "objective": 0.4, **finished, **DRAWS[0], "x": 0.123, "rate": 0.0123},
        {"trial": 1, "state": "pruned", "objective": 0.2, **about, **DRAWS[1]},
        {"trial": 2, "state": "failed", "objective": None, **about, **DRAWS[2],
         "error": "RuntimeError: the loss is not finite"},
    ]  # fmt: skip
    assert outputs.best_trial(opened).user_attrs["settings"] == {**DRAWS[0], "x": 0.123, "rate": 0.0123, "z": 3}


def test_a_search_with_all_its_trials_needs_no_tuner(on_ray, tmp_path):
    search, ray, runs = on_ray
    opened = open_study("s", storage_of(tmp_path, "journal"), search)
    ray_engine.run_on_ray(opened, search)
    ray.asked = {}
    ray_engine.run_on_ray(opened, search)
    assert ray.asked == {}
    assert len(runs) == 3


def test_the_ray_of_recboles_pin_is_too_old(on_ray, tmp_path):
    search, ray, _ = on_ray
    del ray.module.RunConfig
    with pytest.raises(InstallationError) as error:
        ray_engine.run_on_ray(open_study("s", storage_of(tmp_path, "journal"), search), search)
    assert str(error.value) == ('--engine=ray needs a newer Ray, beside RecBole\'s pin: pip install "ray[tune]>=2.40"')


def test_ray_is_asked_for_by_name(search, tmp_path, monkeypatch):
    opened = open_study("s", storage_of(tmp_path), search)

    def absent(name):
        raise ImportError("no Ray")

    monkeypatch.setattr(ray_engine.importlib, "import_module", absent)
    with pytest.raises(InstallationError, match=r"--engine=ray needs a Ray that works here \(no Ray\)"):
        ray_engine.run_on_ray(opened, search)


def test_the_same_trials_on_ray(quick, tmp_path):
    """Where a Ray is installed that is newer than RecBole's pin."""
    try:
        ray_engine._ray()
    except InstallationError as error:
        pytest.skip(str(error))
    space = {"learning_rate": {"loguniform": [0.001, 0.05]}, "student.embedding_size": {"choice": [2, 4]}}
    settings = {**quick, "checkpoint_dir": str(tmp_path / "saved")}
    search = Search(space, settings, {"control": False}, ("student",), METRIC, 3, 1, 1, tmp_path)
    opened = open_study("s", storage_of(tmp_path), search)
    ray_engine.run_on_ray(opened, search)
    rows = outputs.rows_of(opened)
    assert [row["state"] for row in rows] == ["finished"] * 3
    for one in rows:
        assert read_result(Path(one["folder"]))["student"]["distilled"]["valid"][METRIC] == one["objective"]
        assert one["learning_rate"] == float(f"{one['learning_rate']:.3g}")
    ray_engine.run_on_ray(opened, search)
    assert len(outputs.rows_of(opened)) == 3
