"""Trials in processes of their own, and searches on Optuna that stop, go on and share a storage."""

import json
import os
import signal
import threading

import pytest

from recbole_bd.errors import ConfigError, Interrupted
from recbole_bd.tuning import outputs, study
from recbole_bd.tuning.study import Search, counting, ended, open_study, run_search
from recbole_bd.tuning.trial import FINISHED, STOPPED, Outcome
from tests.helpers.searches import replace_runs, storage_of

optuna = pytest.importorskip("optuna", reason="searches need optuna")


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
