"""Both roles trained together: their settings, best states, early stopping and rests."""

import itertools
import math
import re

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import ConfigError, TrainingError
from recbole_bd.system.signals import Stop
from recbole_bd.trainer import distillation_trainer
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.resumable import Keeper
from tests.helpers.scenes import Scene, equal_states


def test_each_role_has_its_own_settings_of_the_distillation_stage(quick):
    settings = {"teacher.distill_learning_rate": 0.5, "student.learning_rate": 0.25, "distill_weight_decay": 0.125}
    trainer = BDTrainer((scene := Scene(quick, **settings)).config, scene.method, Journal())
    groups = {name: role.optimizer.param_groups[0] for name, role in trainer.trainers.items()}
    assert (groups[TEACHER]["lr"], groups[STUDENT]["lr"]) == (0.5, 0.25)
    assert groups[TEACHER]["weight_decay"] == groups[STUDENT]["weight_decay"] == 0.125
    for name, role in trainer.trainers.items():
        owned = {id(p) for group in role.optimizer.param_groups for p in group["params"]}
        assert owned == {id(p) for p in scene.roles[name].model.parameters()}


def test_the_rate_falls_from_the_epoch_in_which_a_role_begins(quick):
    settings = {"distill_learning_rate": 0.5, "student.distill_learning_rate_decay": 0.5, "distill_epochs": 4}
    expected = {
        "both": {TEACHER: [0.5] * 4, STUDENT: [0.5, 0.25, 0.125, 0.0625]},
        "teacher_first": {TEACHER: [0.5, 0.5], STUDENT: [0.5, 0.25]},
        "student_first": {TEACHER: [0.5, 0.5], STUDENT: [0.5, 0.25]},
    }
    for directions, rates in expected.items():
        trainer = Scene(quick, directions=directions, **settings).trained()
        rows = trainer.journal.learning_rates
        assert {name: [row["learning_rate"] for row in rows if row["role"] == name] for name in rates} == rates


def test_the_best_state_of_each_role_is_kept(quick):
    trainer = Scene(quick, distill_epochs=6, **{"student.learning_rate": 0.5}).trained()
    for role, best in trainer.best.items():
        rows = trainer.journal.of("distilled", role)
        assert best.valid["ndcg@5"] == max(row["ndcg@5"] for row in rows)
        assert best.epoch == next(row["epoch"] for row in rows if row["ndcg@5"] == best.valid["ndcg@5"])


@pytest.mark.parametrize("known", [True, False])
def test_the_start_is_the_first_candidate(known, quick, monkeypatch):
    """Validations of .9 at the start, .5 after the first epoch and 1.0 after the second."""
    scene = Scene(quick, distill_epochs=2, guide_state="best")
    before, scores = scene.states(), {name: iter([0.5, 1.0] if known else [0.9, 0.5, 1.0]) for name in scene.roles}
    start = {name: {"hit@5": 0.1, "ndcg@5": 0.9} for name in scene.roles} if known else None
    trainer = BDTrainer(scene.config, scene.method, Journal(), start=start)
    handed, guides = [], scene.method.best_guides
    for name, one in trainer.trainers.items():
        monkeypatch.setattr(one, "evaluate", lambda *_, n=name, **__: {"hit@5": 0.1, "ndcg@5": next(scores[n])})
    monkeypatch.setattr(scene.method, "new_best", lambda name: handed.append((name, trainer.epoch)))
    bests, train = [], trainer._train_epoch
    monkeypatch.setattr(trainer, "_train_epoch", lambda *a, **o: (bests.append(trainer.best), train(*a, **o))[1])
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert guides.keys() == scene.roles.keys()
    for best in bests:
        for name in scene.roles:
            assert (best[name].epoch, best[name].valid) == (-1, {"hit@5": 0.1, "ndcg@5": 0.9})
            assert equal_states({f"{name}.{key}": value for key, value in best[name].state.items()},
                                {key: value for key, value in before.items() if key.startswith(name)})  # fmt: skip
    assert handed == [(name, 1) for name in scene.roles]
    assert [best.epoch for best in trainer.best.values()] == [1, 1]
    for name in scene.roles:
        rows = trainer.journal.of("distilled", name)
        assert [(row["epoch"], row["ndcg@5"]) for row in rows] == [(-1, 0.9), (0, 0.5), (1, 1.0)]


def test_a_role_that_only_gets_worse_rests_at_its_start(quick, monkeypatch):
    scene = Scene(quick, distill_epochs=9, stopping_step=1, rest_at_best=True)
    before = scene.states()
    trainer = BDTrainer(scene.config, scene.method, Journal(), start={TEACHER: {"ndcg@5": 0.5}, STUDENT: {"ndcg@5": 2}})
    validate_as_told(trainer, {TEACHER}, monkeypatch)
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert (trainer.epoch, trainer.model.resting) == (8, [STUDENT])
    now = scene.states()
    changed = {key.partition(".")[0] for key in now if not torch.equal(now[key], before[key])}
    assert changed == {TEACHER}
    trained = [row["role"] for row in trainer.journal.losses]
    assert (trained.count(TEACHER), trained.count(STUDENT)) == (9, 2)


@pytest.mark.parametrize(
    ("stop_on", "improves", "epochs"),
    [
        ("both", set(), 2),
        ("both", {TEACHER}, 9),
        ("both", {STUDENT}, 9),
        ("teacher", {STUDENT}, 2),
        ("student", {STUDENT}, 9),
    ],
)
def test_it_stops_when_no_watched_role_improves(stop_on, improves, epochs, quick, monkeypatch):
    scene = Scene(quick, distill_epochs=9, stopping_step=1, stop_on=stop_on)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    validate_as_told(trainer, improves, monkeypatch)
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert trainer.epoch + 1 == epochs


def validate_as_told(trainer, improves, monkeypatch):
    """Validations without models: some roles are better every time, the others never than their start."""
    count = iter(range(1000))
    for name, role_trainer in trainer.trainers.items():

        def validate(*_, role=name, trainer=role_trainer):
            score = next(count) if role in improves else 0.5
            trainer.valid_score, trainer.valid_result = score, {"ndcg@5": score}
            return score, trainer.valid_result

        monkeypatch.setattr(role_trainer, "_valid_epoch", validate)


@pytest.mark.parametrize("rests", [True, False])
@pytest.mark.parametrize("tired", [TEACHER, STUDENT])
def test_a_role_without_a_new_best_rests_at_its_best_while_the_other_learns_on(rests, tired, quick, monkeypatch):
    scene = Scene(quick, distill_epochs=9, stopping_step=1, rest_at_best=rests, refresh_period=2)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    other = STUDENT if tired == TEACHER else TEACHER
    validate_as_told(trainer, {other}, monkeypatch)
    states = {role: [] for role in (tired, other)}
    start = {role: next(scene.roles[role].model.parameters()).detach().clone() for role in states}
    train = trainer._train_epoch

    def noted(*arguments, **options):
        done = train(*arguments, **options)
        for role, seen in states.items():
            seen.append(next(scene.roles[role].model.parameters()).detach().clone())
        return done

    monkeypatch.setattr(trainer, "_train_epoch", noted)
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert trainer.epoch == 8
    moved = {role: [not torch.equal(a, b) for a, b in itertools.pairwise(seen)] for role, seen in states.items()}
    assert all(moved[other])
    # Not better than its start in 0 and 1, so that it goes back after 1 and does not move from then on.
    assert moved[tired] == ([True] * 2 + [False] * 6 if rests else [True] * 8)
    assert torch.equal(states[tired][2], start[tired]) == rests
    assert trainer.model.resting == ([tired] if rests else [])
    assert set(scene.method.sampler.pools) == ({other} if rests else {tired, other})  # nothing is drawn for who rests


@pytest.mark.parametrize("order", [(TEACHER, STUDENT), (STUDENT, TEACHER)])
@pytest.mark.parametrize("stops", [True, False])
def test_one_role_learns_first_and_the_other_from_it_when_it_is_frozen(stops, order, quick, monkeypatch):
    """Nobody is better than at the start: after two epochs of its turn a role rests, unless nothing stops early."""
    more = {"early_stopping": "taught" if stops else "none", "stopping_step": 1, "rest_at_best": True}
    first, last = order
    scene = Scene(quick, directions=f"{first}_first", distill_epochs=8, refresh_period=3, **more)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    validate_as_told(trainer, set(), monkeypatch)
    start = scene.states()
    trainer.fit(scene.stream(), scene.split.valid_loader)
    trained = [(row["epoch"], row["role"]) for row in trainer.journal.losses]
    each = 2 if stops else 4
    assert trained == [(epoch, first if epoch < each else last) for epoch in range(2 * each)]
    assert trainer.model.resting == ([first, last] if stops else [first])
    assert set(scene.method.sampler.pools) == {last}
    now = scene.states()
    assert all(torch.equal(now[key], start[key]) for key in now if key.startswith(first))  # in its best state


def test_turns_may_be_with_one_early_end_only(quick):
    with pytest.raises(ConfigError, match=r"stop_on=teacher would end the student's turn, which is last"):
        Scene(quick, directions="teacher_first", stop_on="teacher")
    with pytest.raises(ConfigError, match=r"stop_on=student would end the teacher's turn, which is last"):
        Scene(quick, directions="student_first", stop_on="student")
    with pytest.raises(ConfigError, match=r"directions=teacher_first needs two epochs at least"):
        Scene(quick, directions="teacher_first", distill_epochs=1)


@pytest.mark.parametrize(
    ("setting", "control", "epochs"),
    [("taught", False, 2), ("taught", True, 9), ("all", True, 2), ("none", False, 9), ("none", True, 9)],
)
def test_which_arms_stop_and_rest_early(setting, control, epochs, quick, monkeypatch):
    scene = Scene(quick, control, distill_epochs=9, stopping_step=1, early_stopping=setting)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    validate_as_told(trainer, set(), monkeypatch)
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert trainer.epoch + 1 == epochs
    assert len(trainer.journal.losses) == 2 * epochs
    assert trainer.model.resting == ([TEACHER, STUDENT] if epochs == 2 else [])


@pytest.mark.parametrize("rests", [True, False])
@pytest.mark.parametrize("eval_step", [1, 2, 3, 4])
def test_the_distance_of_validations_does_not_change_how_long_a_stage_trains(eval_step, rests, quick, monkeypatch):
    """Twelve epochs fit all four distances: it stops after more than eleven without a new best."""
    settings = {"distill_epochs": 30, "stopping_epochs": 11, "eval_step": eval_step, "rest_at_best": rests}
    scene = Scene(quick, **settings)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    validate_as_told(trainer, set(), monkeypatch)
    monkeypatch.setattr(trainer.step, "update", lambda *_: None)
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert trainer.epoch + 1 == 12


def test_a_stage_that_goes_on_with_other_distances_of_validations_waits_as_long(quick, monkeypatch):
    """Four of eleven epochs have passed, as four validations, and the next ones come in every other epoch."""
    kept, settings = {}, {"distill_epochs": 4, "stopping_epochs": 11, "rest_at_best": False}
    keeper = Keeper(kept.update, Stop())
    for more in ({}, {"distill_epochs": 30, "eval_step": 2}):
        scene = Scene(quick, **settings | more)
        trainer = BDTrainer(scene.config, scene.method, Journal(), keeper)
        validate_as_told(trainer, set(), monkeypatch)
        if kept:
            trainer.resume_from(kept)
        trainer.fit(scene.stream(), scene.split.valid_loader)
    assert trainer.epoch + 1 == 12


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_its_place(value, quick, monkeypatch):
    scene = Scene(quick)
    original = scene.method.loss

    def broken(role, batch):
        parts = original(role, batch)
        return {**parts, "distill": parts["distill"] * value} if role == STUDENT else parts

    monkeypatch.setattr(scene.method, "loss", broken)
    with pytest.raises(
        TrainingError, match=r"student's loss is not finite \(cf .*distill .*arm distilled, epoch 0, step 1"
    ):
        scene.trained()


def test_losses_are_means_by_part(quick):
    trainer = Scene(quick, distill_epochs=1).trained()
    rows = {row["role"]: row for row in trainer.journal.losses}
    assert rows.keys() == {TEACHER, STUDENT}
    for row in rows.values():
        assert 0 < row["cf"] < 5
        assert 0 < row["distill"] < 50


def test_a_bar_shows_losses_and_scores_every_fifty_steps(quick, monkeypatch):
    """One batch is a step of both roles."""
    shown, settings = [], {"train_batch_size": 8, "distill_epochs": 1}
    scene = Scene(quick, **settings)
    monkeypatch.setattr(distillation_trainer.tqdm, "set_postfix_str", lambda self, text: shown.append(text))
    trainer = BDTrainer(scene.config, scene.method, Journal())
    trainer.trainers[STUDENT].valid_score = 0.25
    steps = 2 * len(scene.batches)
    trainer._train_epoch(scene.stream(), 0, show_progress=True)
    number = r"\d+\.\d{4}"
    pattern = f"teacher cf {number} distill {number}; student cf {number} distill {number} \\| valid student 0.2500"
    assert len(shown) == steps // 50 > 0
    assert all(re.fullmatch(pattern, text) for text in shown)
    del trainer.trainers[STUDENT].valid_score
    assert "valid" not in distillation_trainer._progress_text(trainer)


def test_a_role_without_a_validation_that_counts_has_nothing_to_rest_at(quick, monkeypatch):
    """Every validation gives NaN, that of the start too, so that there never is a best state."""
    scene = Scene(quick, distill_epochs=9, stopping_step=1, rest_at_best=True)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    for one in trainer.trainers.values():
        monkeypatch.setattr(one, "_valid_epoch", lambda *_: (math.nan, {"ndcg@5": math.nan}))
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert len(trainer.journal.losses) == 2 * 2
    assert trainer.best == {}
    assert trainer.model.resting == []


@pytest.mark.parametrize(("eval_step", "is_between"), [(4, True), (2, True), (3, False)])
def test_a_role_is_validated_at_the_end_of_its_turn(eval_step, is_between, quick, monkeypatch):
    settings = {"directions": "teacher_first", "distill_epochs": 6, "eval_step": eval_step, "early_stopping": "none"}
    scene = Scene(quick, **settings)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    validated, validate = [], BDTrainer._valid_epoch
    validate_as_told(trainer, {TEACHER, STUDENT}, monkeypatch)
    monkeypatch.setattr(
        BDTrainer, "_valid_epoch", lambda *given, **more: validated.append(trainer.epoch) or validate(*given, **more)
    )
    start = scene.states()
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert trainer.best[TEACHER].epoch == 2
    assert validated == list(range(eval_step - 1, 6, eval_step))
    assert (2 not in validated) == is_between
    now = scene.states()
    assert not all(torch.equal(now[key], start[key]) for key in now if key.startswith(TEACHER))
