"""`recbole-bd tune` as a user meets it."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recbole_bd.cli.main import main
from recbole_bd.runs.records import read_result
from tests.helpers.paths import ROOT
from tests.helpers.searches import METRIC
from tests.helpers.settings import alone, for_method

optuna = pytest.importorskip("optuna", reason="searches need optuna")


SPACE = "learning_rate: {loguniform: [0.001, 0.05]}\nstudent.embedding_size: {choice: [2, 4]}\n"


def words_of(quick, tmp_path, **more):
    (tmp_path / "space.yaml").write_text(SPACE)
    settings = {**quick, "space": str(tmp_path / "space.yaml"), "out": str(tmp_path / "out"), **more}
    settings = {key: value for key, value in settings.items() if key != "student.embedding_size"}
    return ["tune", *(f"--{key}={json.dumps(value)}" for key, value in settings.items())]


@pytest.mark.slow
def test_the_command_searches_and_its_best_settings_run(quick, tmp_path, capsys):
    assert main(words_of(quick, tmp_path, trials=3, jobs=2)) == 0
    shown = capsys.readouterr().out
    assert "3 trials: " in shown
    with (tmp_path / "out" / "trials.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["state"] == "finished"]
    best = max(rows, key=lambda row: float(row["objective"]))
    assert f"recbole-bd run --config_files={tmp_path / 'out' / 'best.yaml'}" in shown
    assert main(["run", f"--config_files={tmp_path / 'out' / 'best.yaml'}", "--control=false", "--epochs=3"]) == 0
    folder = capsys.readouterr().out.strip().splitlines()[-1].removeprefix("run folder: ")
    assert read_result(Path(folder))["student"]["distilled"]["valid"][METRIC] == float(best["objective"])
    assert main(words_of(quick, tmp_path, trials=3, distill_epochs=9)) == 2
    assert "was created for a different search space or different settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"trials": 0}, "trials=0: must be a whole number of at least 1"),
        ({"jobs": "x"}, "jobs='x': must be a whole number"),
        ({"engine": "grid"}, "engine='grid': must be one of optuna, ray"),
        ({"objective": "model"}, "objective='model': must be one of teacher, student, both"),
        ({"objective": "both", "model": "RD"}, "objective='both': must be one of student"),
        ({"model": "BPR", "objective": "student"}, "a baseline has a single model"),
        ({"space": "gone.yaml"}, "gone.yaml"),
        ({"nosuch": 1}, "unknown setting nosuch"),
        ({"dataset": "gone"}, "gone"),
    ],
)
def test_wrong_input_is_one_line(more, message, quick, tmp_path, capsys):
    if more.get("model") == "BPR":
        quick = alone(quick)
    elif "model" in more:
        quick = for_method(quick, more["model"])
    assert main(words_of(quick, tmp_path, **more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_search_goes_on_with_every_trial_once(quick, tmp_path):
    words = words_of({**quick, "distill_epochs": 4}, tmp_path, trials=6, jobs=2)
    command = [sys.executable, "-m", "recbole_bd", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL)
    database = f"sqlite:///{tmp_path / 'out' / 'study.db'}"
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        time.sleep(0.3)
        if (tmp_path / "out" / "study.db").exists():
            try:
                found = optuna.load_study(study_name="BD-blocks", storage=database)
                if sum(trial.state.is_finished() for trial in found.trials) >= 2:
                    break
            except Exception:  # the database is being made
                continue
    first.kill()
    first.wait()
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with (tmp_path / "out" / "trials.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert len({row["learning_rate"] for row in rows}) == 6
    assert len({row["folder"] for row in rows if row["folder"]}) == sum(row["state"] == "finished" for row in rows)
