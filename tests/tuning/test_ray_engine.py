"""Trials on Ray Tune: what Ray is asked for, and what is read back."""

from pathlib import Path

import pytest

from recbole_bd.errors import InstallationError
from recbole_bd.runs.records import read_result
from recbole_bd.tuning import outputs, ray_engine
from recbole_bd.tuning.study import Search, open_study
from tests.helpers.searches import METRIC, storage_of

optuna = pytest.importorskip("optuna", reason="searches need optuna")


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
