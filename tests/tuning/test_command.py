"""`recbole-bd tune` as a user meets it."""

import csv
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recbole_bd.cli.main import main
from recbole_bd.config.config import BDConfig
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import ConfigError, Interrupted
from recbole_bd.model import METHODS
from recbole_bd.runs.records import read_result
from recbole_bd.tuning import command, ray_engine
from recbole_bd.tuning.trial import FINISHED, Outcome
from tests.helpers.histories import CHAINS, write_chains
from tests.helpers.paths import ROOT
from tests.helpers.searches import METRIC, replace_runs
from tests.helpers.settings import alone, for_method

optuna = pytest.importorskip("optuna", reason="searches need optuna")


SPACE = "learning_rate: {loguniform: [0.001, 0.05]}\nstudent.embedding_size: {choice: [2, 4]}\n"


def words_of(quick, tmp_path, **more):
    (tmp_path / "space.yaml").write_text(SPACE)
    settings = {**quick, "space": str(tmp_path / "space.yaml"), "out": str(tmp_path / "out"), **more}
    settings = {key: value for key, value in settings.items() if key != "student.embedding_size"}
    return ["tune", *(f"--{key}={json.dumps(value)}" for key, value in settings.items())]


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
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


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("foo: {choice: [1]}", "unknown setting foo"),
        ("distill_epochs: {choice: [1, 2, -3]}", "distill_epochs=-3"),
        ("student.learning_rate: {uniform: [-1.0, 1.0]}", "learning_rate=-1.0"),
    ],
)
def test_a_space_that_no_trial_could_have_is_refused_before_the_first(space, message, quick, tmp_path, capsys):
    words = words_of(quick, tmp_path)
    (tmp_path / "space.yaml").write_text(f"{space}\n")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert f"({tmp_path / 'space.yaml'})" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_trials_of_general_and_sequential_models_have_one_split(tmp_path, monkeypatch):
    asked = []

    def trial(settings, judge):
        asked.append(settings)
        return Outcome(FINISHED, 0.5, {"student": 0.5}, folder="f", seconds=1.0), 0

    replace_runs(monkeypatch, trial)
    (tmp_path / "space.yaml").write_text("student_model: {choice: [BPR, GRU4Rec]}\n")
    settings = {**CHAINS, "data_path": str(write_chains(tmp_path)), "checkpoint_dir": str(tmp_path / "saved")}
    settings |= {"space": str(tmp_path / "space.yaml"), "trials": 6, "loggers": []}
    assert main(["tune", *(f"--{key}={json.dumps(value)}" for key, value in settings.items())]) == 0
    configs = [BDConfig(command_line=one, methods=METHODS) for one in asked]
    assert {config["student_model"] for config in configs} == {"BPR", "GRU4Rec"}
    assert all(config["eval_args"]["split"] == {"LS": "valid_and_test"} for config in configs)
    assert all(config["repeatable"] and "timestamp" in config["load_col"]["inter"] for config in configs)


def test_trials_and_the_best_settings_are_those_of_a_run_with_the_same_files(quick, tmp_path, monkeypatch):
    asked = []

    def trial(settings, judge):
        asked.append(settings)
        return Outcome(FINISHED, 0.5, {"student": 0.5}, folder="f", seconds=1.0), 0

    replace_runs(monkeypatch, trial)
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    files[0].write_text("student: {embedding_size: 8, learning_rate: 0.01}\nBD: {temperature: 2.0}\n")
    files[1].write_text("student: {weight_decay: 0.001}\nexchange_student_to_teacher: pointwise\n")
    (tmp_path / "space.yaml").write_text("temperature: {choice: [0.5, 4.0]}\nlearning_rate: {uniform: [0.1, 0.2]}\n")
    typed = {key: value for key, value in quick.items() if key not in ("learning_rate", "student.embedding_size")}
    own = {"space": str(tmp_path / "space.yaml"), "out": str(tmp_path / "out"), "trials": 2}
    command.run_tuning({**typed, **own, "exchange": "listwise"}, [str(file) for file in files])

    def of_run(settings):
        drawn = {key: settings[key] for key in ("temperature", "learning_rate")}
        given = {**typed, "exchange": "listwise", **drawn, "threads": settings.get("threads")}
        return BDConfig(config_file_list=files, command_line=given, methods=METHODS).as_dict()

    for settings in asked:
        again = BDConfig(command_line={**settings, "controls": ["continued"]}, methods=METHODS).as_dict()
        assert again == {**of_run(settings), "controls": ["continued"]}
        student = again["student"]
        assert (student["embedding_size"], student["weight_decay"]) == (8, 0.001)
        assert student["learning_rate"] == settings["learning_rate"] >= 0.1
    best = tmp_path / "out" / "best.yaml"
    assert BDConfig(config_file_list=[best], methods=METHODS).as_dict() == of_run(load_yaml(best))


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_killed_search_goes_on_with_every_trial_once(quick, tmp_path):
    words = words_of({**quick, "distill_epochs": 4}, tmp_path, trials=4, jobs=2)
    command = [sys.executable, "-m", "recbole_bd", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = tmp_path / "said"
    with said.open("w") as stream:
        first = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=stream)
    database = f"sqlite:///{tmp_path / 'out' / 'study.db'}"
    limit = time.monotonic() + 120
    while True:
        time.sleep(0.3)
        assert first.poll() is None, f"the search ended before it was killed: {said.read_text()[-2000:]}"
        assert time.monotonic() < limit, f"no two trials ended: {said.read_text()[-2000:]}"
        if (tmp_path / "out" / "study.db").exists():
            try:
                found = optuna.load_study(study_name="BD-blocks", storage=database)
                if sum(trial.state.is_finished() for trial in found.trials) < 2:
                    continue
                # A trial that has just begun and has no process yet would be left for another machine to run.
                first.send_signal(signal.SIGSTOP)
                found = optuna.load_study(study_name="BD-blocks", storage=database)
                if all(trial.state.is_finished() or "process" in trial.user_attrs for trial in found.trials):
                    break
            except Exception:  # the database is being made
                pass
            first.send_signal(signal.SIGCONT)
    first.kill()
    first.wait()
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with (tmp_path / "out" / "trials.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4
    assert len({row["learning_rate"] for row in rows}) == 4
    assert len({row["folder"] for row in rows if row["folder"]}) == sum(row["state"] == "finished" for row in rows)


@pytest.fixture
def searched(quick, tmp_path, monkeypatch):
    """Let a function stand for the search: `run_tuning` with a space and these settings more, and what it searched."""
    (tmp_path / "space.yaml").write_text("learning_rate: {loguniform: [0.001, 0.05]}\n")
    monkeypatch.setattr(logging.getLogger("recbole_bd.tuning"), "handlers", [])
    seen = []

    def run(settings=None, engine=lambda study, search: None, **more):
        monkeypatch.setattr(command, "run_search", lambda study, search: (seen.append(search), engine(study, search)))
        given = {**(settings or quick), "space": str(tmp_path / "space.yaml"), "out": str(tmp_path / "out"), **more}
        return command.run_tuning(given)

    return run, seen


def test_without_a_space_there_is_nothing_to_search(quick):
    with pytest.raises(ConfigError) as error:
        command.run_tuning(quick)
    assert str(error.value) == (
        "tune: --space=FILE is missing: name a file of settings to search, such as properties/tuning/BD.yaml"
    )


@pytest.mark.parametrize("more", [{}, {"objective": "model"}])
def test_a_baseline_is_searched_by_its_one_model(more, searched, quick):
    run, seen = searched
    run({**alone(quick), "model": "BPR"}, **more)
    (search,) = seen
    assert search.objective == ("model",)
    assert search.of_trials == {"show_progress": False}, "a baseline has no control to leave out"


@pytest.mark.parametrize(
    ("more", "objective"),
    [({}, ("student",)), ({"objective": "teacher"}, ("teacher",)), ({"objective": "both"}, ("teacher", "student"))],
)
def test_a_method_is_searched_by_its_student_or_by_what_is_asked_for(more, objective, searched):
    run, seen = searched
    run(**more)
    assert seen[0].objective == objective
    assert seen[0].of_trials == {"show_progress": False, "controls": []}


def test_a_search_without_a_finished_trial_names_no_best_settings(searched, tmp_path):
    run, _ = searched
    shown = run()
    assert shown == f"0 trials: 0 finished, 0 pruned, 0 failed\n\n{tmp_path / 'out' / 'trials.csv'}"


def test_the_log_of_a_search_is_printed_once(searched):
    run, _ = searched
    run()
    run()
    assert len(logging.getLogger("recbole_bd.tuning").handlers) == 1


def test_a_stopped_search_leaves_what_it_has(searched, tmp_path):
    def stopped(study, search):
        raise Interrupted(15, "stopped; 0 of 20 trials have ended")

    run, _ = searched
    with pytest.raises(Interrupted, match=r"^stopped; 0 of 20 trials have ended$"):
        run(engine=stopped)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["study.db", "trials.csv"]


def test_the_engine_may_be_ray(searched, quick, monkeypatch):
    run, by_optuna = searched
    by_ray = []
    monkeypatch.setattr(ray_engine, "run_on_ray", lambda study, search: by_ray.append((study.study_name, search)))
    run({**quick, "engine": "ray"}, trials=3)
    ((name, search),) = by_ray
    assert (name, search.trials, by_optuna) == ("BD-blocks", 3, [])
