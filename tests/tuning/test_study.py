"""Trials in processes of their own, and searches on Optuna that stop, go on and share a storage."""

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from recbole_bd.config.layers import Layer
from recbole_bd.errors import ConfigError, InstallationError, Interrupted
from recbole_bd.tuning import outputs, study
from recbole_bd.tuning.study import Search, counting, ended, open_study, run_search
from recbole_bd.tuning.trial import FAILED, FINISHED, STOPPED, Outcome
from tests.helpers.searches import replace_runs, storage_of

optuna = pytest.importorskip("optuna", reason="searches need optuna")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_search_has_as_many_trials_as_were_asked_for_and_goes_on(search, formula, tmp_path, kind):
    first = Search(**{**vars(search), "trials": 5})
    run_search(open_study("s", storage_of(tmp_path, kind), first), first)
    assert len(formula) == 5
    assert all(one["z"] == 3 and one["controls"] == [] and one["dataset"] == "d" for one in formula)
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
    with ThreadPoolExecutor(len(studies)) as machines:
        for machine in [machines.submit(run_search, one, many) for one in studies]:
            machine.result()  # raises what the search raised
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


def test_processes_that_create_a_database_at_once_share_its_study(search, tmp_path):
    """Nothing keeps a second process from creating the tables between a first one's look and its own."""

    def opened(_) -> int:
        return open_study("s", storage_of(tmp_path), search)._study_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(opened, range(8)))) == 1


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
    with pytest.raises(
        ConfigError, match=r"storage bd\.db cannot be opened: .*; write sqlite:///FILE, or FILE\.journal"
    ):
        open_study("s", "bd.db", search)
    (tmp_path / "text.db").write_text("no database" * 200)
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_study("s", f"sqlite:///{tmp_path / 'text.db'}", search)


def test_searches_of_two_roles_depend_on_the_schema_of_their_results(search, monkeypatch):
    def identities():
        objectives = (("teacher", "student"), ("student",), ("model",))
        return [Search(**{**vars(search), "objective": objective}).identity for objective in objectives]

    before = identities()
    monkeypatch.setattr(study, "SCHEMA", 1)
    assert [now == then for now, then in zip(identities(), before, strict=True)] == [False, False, True]


def test_a_search_may_move_and_its_data_may_not_change(search, formula, tmp_path, monkeypatch):
    def moved(place, data="1", **more):
        settings = {"dataset": "d", "data_path": f"{place}/d", "checkpoint_dir": f"{place}/saved", **more}
        return Search(**{**vars(search), "settings": settings, "data": data})

    open_study("s", storage_of(tmp_path), moved("/old"))
    open_study("s", storage_of(tmp_path), moved("/new"))
    with pytest.raises(ConfigError, match=r"study s in .* was created for other data files of the same name; choose"):
        open_study("s", storage_of(tmp_path), moved("/new", data="2"))
    with pytest.raises(ConfigError, match="different search space or different settings"):
        open_study("s", storage_of(tmp_path), moved("/new", epochs=3))
    # A study of earlier versions is identified by its folders as well, and takes the hash of its data now.
    with monkeypatch.context() as patch:
        patch.setattr(Search, "identity", property(lambda one: one.identities[1]))
        patch.setattr(Search, "identities", (None, moved("/old")._hash()))
        open_study("older", storage_of(tmp_path), moved("/old", data=""))
    open_study("older", storage_of(tmp_path), moved("/old"))
    with pytest.raises(ConfigError, match="other data files"):
        open_study("older", storage_of(tmp_path), moved("/old", data="2"))


def test_a_search_of_files_is_the_same_as_before_unless_their_blocks_hide_settings(search):
    """Earlier versions merged files and command line key by key."""

    def identity(*files, **settings):
        layers = tuple(Layer("a.yaml", values) for values in files)
        return Search(**{**vars(search), "settings": settings, "files": layers}).identity

    assert identity({"epochs": 3}, {"topk": 5}, seed=1) == identity(epochs=3, topk=5, seed=1)
    for hidden in ({"x": 3}, {"epochs": 3}):  # the first is searched
        assert identity({"BD": hidden}, epochs=9) != identity(BD=hidden, epochs=9)


def test_a_trial_that_another_machine_has_just_begun_is_left_to_it(search, formula, tmp_path):
    """Between its beginning and the name of its process a trial is nobody's, and is not taken as lost."""
    opened = open_study("s", storage_of(tmp_path, "journal"), search)
    begun = opened.ask()
    study._take_over(opened)
    assert [trial.state.name for trial in opened.get_trials()] == ["RUNNING"]
    begun.set_user_attr("process", [study.platform.node(), 2**22 + 5, 0.0])
    study._take_over(opened)
    assert [trial.state.name for trial in opened.get_trials()] == ["FAIL"]


def test_a_trial_whose_process_never_had_a_name_is_lost_after_a_while(search, tmp_path, monkeypatch, caplog):
    opened = open_study("s", storage_of(tmp_path, "journal"), search)
    opened.ask()
    monkeypatch.setattr(study, "_BEGINNING", 0.0)
    study._take_over(opened)
    assert [trial.state.name for trial in opened.get_trials()] == ["FAIL"]
    assert caplog.messages == ["trial 0 was interrupted; it is run again"]


def test_of_two_machines_that_begin_the_last_trial_one_gives_way(search, formula, tmp_path, monkeypatch):
    two = Search(**{**vars(search), "trials": 2, "jobs": 1})
    opened = open_study("s", storage_of(tmp_path, "journal"), two)
    run_search(opened, Search(**{**vars(two), "trials": 1}))
    ask = opened.ask

    def ask_too_late():
        monkeypatch.setattr(opened, "ask", ask)
        ask()  # the other machine
        return ask()

    monkeypatch.setattr(opened, "ask", ask_too_late)
    run_search(opened, two)
    assert len(formula) == 1
    assert [trial.state.name for trial in opened.get_trials()][1:] == ["RUNNING", "FAIL"]
    assert [trial.number for trial in counting(opened)] == [0, 1]


def test_a_trial_that_was_stopped_alone_is_not_told_of_and_runs_again(search, tmp_path, monkeypatch, caplog):
    asked = []

    def trial(settings, judge):
        asked.append(settings["x"])
        if len(asked) == 1:
            return Outcome(STOPPED), 0
        if len(asked) == 3:
            return Outcome(FAILED, error="the loss is not finite"), 0
        return Outcome(FINISHED, settings["x"], {"student": settings["x"]}), 0

    replace_runs(monkeypatch, trial)
    two = Search(**{**vars(search), "trials": 2, "jobs": 1})
    opened = open_study("s", storage_of(tmp_path, "journal"), two)
    with caplog.at_level("INFO"):
        run_search(opened, two)
    assert asked[0] == asked[1] != asked[2]
    assert caplog.messages == [f"trial 1 finished: ndcg@5 {asked[1]:.4f}", "trial 2 failed: the loss is not finite"]


def test_optuna_that_is_not_installed_is_named(search, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InstallationError) as error:
        open_study("s", storage_of(tmp_path, "journal"), search)
    assert str(error.value) == 'searches need Optuna: pip install "recbole-bd[tune]"'
