"""One trial: what is watched of it, and how it ends."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_bd.runs.records import read_result
from recbole_bd.tuning.trial import FAILED, FINISHED, PRUNED, STOPPED, Outcome, TrialRun, Watch, run_trial
from tests.helpers.searches import METRIC

optuna = pytest.importorskip("optuna", reason="searches need optuna")


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


def test_the_start_is_among_the_best_and_no_point_of_the_curve():
    watch = Watch(("teacher", "student"), METRIC)
    seen = [
        watch.sees(row(role, epoch, value))
        for epoch, values in ((-1, (0.9, 0.1)), (0, (0.4, 0.4)))
        for role, value in zip(("teacher", "student"), values, strict=True)
    ]
    assert seen == [None, None, None, 0]
    assert watch.curve == {0: 0.6}


def test_a_baseline_is_watched_in_its_own_stage():
    watch = Watch(("model",), METRIC)
    assert [watch.sees(row("model", epoch, value, "separate")) for epoch, value in ((0, 0.1), (1, 0.05))] == [0, 1]
    assert watch.curve == {0: 0.1, 1: 0.1}


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
@pytest.mark.usefixtures("forked")
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
@pytest.mark.usefixtures("forked")
def test_a_trial_that_fails_says_why(quick, tmp_path):
    outcome = run_trial({**quick, "samples_per_positive": 0}, ("student",), METRIC, tmp_path / "log")
    assert outcome.state == FAILED
    assert "samples_per_positive=0" in outcome.error
    assert "\n" not in outcome.error


@pytest.mark.parametrize(
    ("code", "said", "state", "error"),
    [
        (-9, "half a line", FAILED, "ended by signal 9"),
        (-11, "", FAILED, "ended by signal 11"),
        (3, "a warning\nValueError: it broke\n", FAILED, "ValueError: it broke"),
        (3, "", FAILED, "exit code 3"),
        (130, "recbole-bd: stopped", STOPPED, ""),
        (143, "recbole-bd: stopped", STOPPED, ""),
        (-2, "", STOPPED, ""),
        (-15, "", STOPPED, ""),
        (0, "", STOPPED, ""),
    ],
)
def test_how_a_process_ended_decides_what_became_of_the_trial(code, said, state, error, tmp_path):
    (tmp_path / "log").write_text(said)
    child = SimpleNamespace(process=SimpleNamespace(returncode=code), seconds=1.26)
    outcome = TrialRun({}, ("student",), METRIC, tmp_path / "log").outcome_of(child)
    assert outcome == Outcome(state, error=error, seconds=1.3)
