"""Trials in processes of their own, and searches on Optuna that stop, go on and share a storage."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from recbole_bd.cli.main import main
from recbole_bd.errors import ConfigError, InstallationError, Interrupted
from recbole_bd.runs.records import read_result
from recbole_bd.tuning import outputs, ray_engine, study
from recbole_bd.tuning.space import read_space
from recbole_bd.tuning.study import Search, counting, ended, open_study, run_search
from recbole_bd.tuning.trial import FAILED, FINISHED, PRUNED, STOPPED, Outcome, TrialRun, Watch, run_trial
from tests.helpers.paths import ROOT
from tests.helpers.settings import alone, for_method

optuna = pytest.importorskip("optuna", reason="searches need optuna")

METRIC = "ndcg@5"


# --- what is watched -------------------------------------------------------------------------------------------------
def row(role, epoch, value, stage="distilled"):
    return {"stage": stage, "role": role, "epoch": epoch, METRIC: value, "hit@5": 1.0}


def test_of_two_roles_the_mean_of_their_own_best_is_watched():
    watch = Watch(("teacher", "student"), METRIC)
    seen = [
        watch.sees(one)
        for one in (
            row("teacher", 0, 0.9, "separate"),
            row("teacher", 4, 0.4),
            row("student", 4, 0.1),
            row("teacher", 9, 0.3),
            row("student", 9, 0.9),
            row("student", 14, 0.9),  # the teacher rests: its epochs come no more
            row("student", 19, 0.4),
            row("model", 24, 1.0, "separate"),
        )
    ]
    assert seen == [None, None, 4, None, 9, None, 19, None]
    assert watch.curve == {4: 0.2, 9: 0.6, 14: 0.6, 19: 0.6}


def test_a_baseline_is_watched_in_its_own_stage():
    watch = Watch(("model",), METRIC)
    assert [watch.sees(row("model", epoch, value, "separate")) for epoch, value in ((0, 0.1), (1, 0.05))] == [0, 1]
    assert watch.curve == {0: 0.1, 1: 0.1}


# --- one trial -------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_trial_is_a_run_and_is_not_run_twice(quick, tmp_path):
    settings = {**quick, "control": False, "eval_step": 1}
    outcome = run_trial(settings, ("teacher", "student"), METRIC, tmp_path / "log")
    result = read_result(Path(outcome.folder))
    assert outcome.state == FINISHED
    valid = {role: result[role]["distilled"]["valid"][METRIC] for role in ("teacher", "student")}
    assert outcome.values == valid
    assert outcome.objective == pytest.approx((valid["teacher"] * valid["student"]) ** 0.5, abs=1e-6)
    assert list(outcome.curve) == [0, 1, 2]
    assert outcome.curve[2] == pytest.approx(outcome.objective, abs=1e-6)
    again = run_trial(settings, ("student",), METRIC, tmp_path / "log")
    assert (again.folder, again.objective) == (outcome.folder, valid["student"])


@pytest.mark.slow
def test_a_hopeless_trial_is_ended(quick, tmp_path):
    asked = []

    def judge(epoch, best):
        asked.append((epoch, best))
        return epoch >= 1

    settings = {**quick, "distill_epochs": 500, "stopping_step": 500, "control": False}
    outcome = run_trial(settings, ("student",), METRIC, tmp_path / "log", judge=judge)
    assert outcome.state == PRUNED
    assert [epoch for epoch, _ in asked] == [0, 1]
    assert outcome.objective == asked[-1][1]
    assert len(outcome.curve) < 400


@pytest.mark.slow
def test_a_trial_that_fails_says_why(quick, tmp_path):
    outcome = run_trial({**quick, "samples_per_positive": 0}, ("student",), METRIC, tmp_path / "log")
    assert outcome.state == FAILED
    assert "samples_per_positive=0" in outcome.error
    assert "\n" not in outcome.error


# --- searches whose trials are a formula -----------------------------------------------------------------------------
@pytest.fixture
def search(tmp_path):
    space = {"x": {"uniform": [0.0, 1.0]}, "y": {"choice": [1, 2]}, "z": 3}
    return Search(space, {"dataset": "d"}, {"control": False}, ("student",), METRIC, 12, 3, 1, tmp_path)


def replace_runs(monkeypatch, trial):
    """Let a function stand for the runs of trials: it returns an outcome and the seconds that the process takes."""

    class Run(TrialRun):
        def start(self, pool):
            self.outcome, seconds = trial(self._settings, self._judge)
            command = [sys.executable, "-S", "-c", f"import time; time.sleep({seconds})"]
            return pool.start(command, self._log)

        def outcome_of(self, child):
            return self.outcome

    monkeypatch.setattr(study, "TrialRun", Run)


@pytest.fixture
def formula(monkeypatch):
    """Trials of no time at all; what they were asked."""
    asked = []

    def trial(settings, judge):
        asked.append(settings)
        x = settings["x"]
        if settings["y"] == 2 and x < 0.1:
            return Outcome(FAILED, error="too small"), 0
        for epoch in range(12):
            if judge(epoch, x * (epoch + 1) / 12):
                return Outcome(PRUNED, x * (epoch + 1) / 12), 0
        return Outcome(FINISHED, x, {"student": x}, folder="f", seconds=1.0), 0

    replace_runs(monkeypatch, trial)
    return asked


def storage_of(tmp_path, kind="sqlite"):
    return f"sqlite:///{tmp_path / 'study.db'}" if kind == "sqlite" else str(tmp_path / "study.journal")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_search_has_as_many_trials_as_were_asked_for_and_goes_on(search, formula, tmp_path, kind):
    first = Search(**{**vars(search), "trials": 5})
    run_search(open_study("s", storage_of(tmp_path, kind), first), first)
    assert len(formula) == 5
    assert all(one["z"] == 3 and one["control"] is False and one["dataset"] == "d" for one in formula)
    opened = open_study("s", storage_of(tmp_path, kind), search)
    run_search(opened, search)
    run_search(opened, search)
    assert len(formula) == len(ended(opened)) == 12
    assert [trial.number for trial in ended(opened)] == list(range(12))
    best = outputs.best_trial(opened)
    assert best.value == max(one["x"] for one in formula)


@pytest.mark.slow
def test_trials_below_the_median_are_given_up(search, formula, tmp_path):
    many = Search(**{**vars(search), "trials": 40, "jobs": 1})
    opened = open_study("s", storage_of(tmp_path), many)
    run_search(opened, many)
    rows = outputs.rows_of(opened)
    states = [row["state"] for row in rows]
    assert states.count("pruned") > 5
    assert not any(state == "pruned" for state in states[:5])
    best = max(row["objective"] for row in rows if row["state"] == "finished")
    assert all(row["objective"] < best for row in rows if row["state"] == "pruned")
    assert all(row["error"] == "too small" for row in rows if row["state"] == "failed")


@pytest.mark.slow
def test_machines_that_share_a_storage_share_the_trials(search, formula, tmp_path):
    many = Search(**{**vars(search), "trials": 30, "jobs": 4})
    studies = [open_study("s", storage_of(tmp_path), many) for _ in range(3)]
    threads = [threading.Thread(target=run_search, args=(one, many)) for one in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended(studies[0])) == len(formula) == 30
    drawn = [json.dumps(one["x"]) for one in formula]
    assert len(set(drawn)) > 25  # three digits each: some meet by chance


@pytest.mark.slow
def test_a_trial_whose_process_is_gone_runs_again(search, formula, tmp_path):
    opened = open_study("s", storage_of(tmp_path), search)
    lost = opened.ask()
    lost.suggest_float("x", 0.0, 1.0)
    lost.suggest_categorical("y", [1, 2])
    lost.set_user_attr("process", [study.platform.node(), 2**22 + 5, 0.0])
    elsewhere = opened.ask()
    elsewhere.set_user_attr("process", ["another machine", 1, 0.0])
    run_search(opened, search)
    assert len(formula) == 11  # the one that runs elsewhere counts
    assert formula[0]["x"] == float(f"{lost.params['x']:.3g}")
    assert [trial.number for trial in counting(opened)] == [1, *range(2, 13)]


@pytest.mark.slow
def test_a_stopped_search_goes_on_with_what_was_running(search, tmp_path, monkeypatch):
    asked = []

    def trial(settings, judge):
        asked.append(settings["x"])
        if len(asked) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            return Outcome(STOPPED), 60
        return Outcome(FINISHED, settings["x"], {"student": settings["x"]}), 0

    replace_runs(monkeypatch, trial)
    one = Search(**{**vars(search), "jobs": 1, "trials": 6})
    opened = open_study("s", storage_of(tmp_path), one)
    with pytest.raises(
        Interrupted, match=r"stopped; 3 of 6 trials have ended and are kept. Run the same command again to do the rest"
    ):
        run_search(opened, one)
    assert len(ended(opened)) == 3
    run_search(opened, one)
    assert len(ended(opened)) == 6
    assert asked[4] == asked[3]  # what was stopped comes first
    assert len(asked) == 7


def test_another_search_of_the_same_name_is_refused(search, formula, tmp_path):
    open_study("s", storage_of(tmp_path), search)
    open_study("s", storage_of(tmp_path), Search(**{**vars(search), "trials": 99, "jobs": 7}))
    for change in ({"space": {"x": {"choice": [1]}}}, {"settings": {}}, {"objective": ("teacher",)}):
        with pytest.raises(
            ConfigError, match=r"study s in .* was created for a different search space or different settings"
        ):
            open_study("s", storage_of(tmp_path), Search(**{**vars(search), **change}))
    with pytest.raises(ConfigError, match=r"storage nosuch://x cannot be opened"):
        open_study("s", "nosuch://x", search)
    (tmp_path / "text.db").write_text("no database" * 200)
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_study("s", f"sqlite:///{tmp_path / 'text.db'}", search)


@pytest.mark.slow
def test_what_a_search_leaves(search, formula, tmp_path):
    opened = open_study("s", storage_of(tmp_path), search)
    assert [path.name for path in outputs.write_results(opened, search)] == ["trials.csv"]
    run_search(opened, search)
    paths = {path.name: path for path in outputs.write_results(opened, search)}
    assert set(paths) == {"trials.csv", "best.yaml", "history.png", "importance.png"}
    with paths["trials.csv"].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["trial"]) for row in rows] == list(range(12))
    best = max((row for row in rows if row["state"] == "finished"), key=lambda row: float(row["objective"]))
    written = yaml.safe_load(paths["best.yaml"].read_text())
    assert written == {"dataset": "d", "x": float(best["x"]), "y": int(best["y"]), "z": 3}
    assert all(paths[name].read_bytes().startswith(b"\x89PNG") for name in ("history.png", "importance.png"))
    shown = outputs.summary(opened, search)
    assert f"12 trials: {sum(row['state'] == 'finished' for row in rows)} finished" in shown
    assert f"{float(best['objective']):.4f}" in shown.split("\n")[4]


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


# --- the command -----------------------------------------------------------------------------------------------------
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


# --- RecBole's own spaces --------------------------------------------------------------------------------------------
def test_a_space_of_recbole_is_read_as_recbole_reads_it(tmp_path):
    (tmp_path / "hyper.test").write_text(
        "learning_rate loguniform -8,-2\nembedding_size choice [64, 128]\n\n# none\n"
        "train_batch_size quniform 512, 2048, 512\nreg uniform 0,0.5\nname choice ['a', 'b']\n"
    )
    space = read_space(tmp_path / "hyper.test")
    (low, high), *_ = space["learning_rate"].values()
    assert (low, high) == (pytest.approx(0.00033546263), pytest.approx(0.13533528))
    assert space["embedding_size"] == {"choice": [64, 128]}
    assert space["train_batch_size"] == {"quniform": [512, 2048, 512]}
    assert space["reg"] == {"uniform": [0, 0.5]}
    assert space["name"] == {"choice": ["a", "b"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate loguniform", r"hyper\.test: line 1: expected KEY KIND VALUES"),
        ("\nlearning_rate normal 0,1", r"hyper\.test: line 2: expected KEY KIND VALUES"),
        ("a uniform 3,1", r"hyper\.test: a: uniform: \[3, 1\] is not a range"),
        ("a choice __import__('os').system('false')", r"hyper\.test: a: choice needs a list"),
    ],
)
def test_what_is_no_space_of_recbole_is_refused(text, message, tmp_path):
    (tmp_path / "hyper.test").write_text(text + "\n")
    with pytest.raises(ConfigError, match=message):
        read_space(tmp_path / "hyper.test")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_space(tmp_path / "gone.test")
