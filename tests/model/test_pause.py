"""SwitOKD's pause against its formula, and what a pause does to a step."""

import math

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import ConfigError
from recbole_bd.model.pause import is_far_behind
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from tests.helpers.references import generator
from tests.helpers.scenes import Scene


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


def far_behind_by_hand(student: list[list[float]], teacher: list[list[float]]) -> bool:
    gap = behind = ahead = 0.0
    for own, other in zip(student, teacher, strict=True):
        p, q = softmax(own), softmax(other)
        y = [1.0] + [0.0] * (len(own) - 1)
        gap += sum(abs(a - b) for a, b in zip(p, q, strict=True)) / len(student)
        behind += sum(abs(a - b) for a, b in zip(p, y, strict=True)) / len(student)
        ahead += sum(abs(a - b) for a, b in zip(q, y, strict=True)) / len(student)
    return gap > behind - math.exp(-ahead / (behind + ahead)) * ahead and ahead < behind


def test_the_threshold_is_its_formula():
    found = set()
    for seed in range(200):
        student, teacher = (torch.randn(5, 4, generator=generator(2 * seed + one)) for one in (0, 1))
        teacher[:, 0] += seed % 10 / 2  # from no knowledge of the positive to much of it
        expected = far_behind_by_hand(student.double().tolist(), teacher.double().tolist())
        assert bool(is_far_behind(student, teacher)) == expected
        found.add(expected)
    assert found == {True, False}


def test_roles_that_agree_and_roles_that_are_certain_do_not_pause():
    logits = torch.randn(5, 4, generator=generator())
    assert not is_far_behind(logits, logits)
    certain = torch.tensor([[200.0, 0, 0]])
    assert not is_far_behind(certain, certain)


LISTS = {"samples_per_positive": 4, "pause": "switokd", "distill_epochs": 2}


def taught_with(scene: Scene, answer: bool, monkeypatch) -> tuple[BDTrainer, set[str]]:
    """Train with the same answer to each question for a pause, and say which roles moved."""
    monkeypatch.setattr("recbole_bd.model.pause.is_far_behind", lambda student, teacher: torch.tensor(answer))
    before = scene.states()
    trainer = BDTrainer(scene.config, scene.method, Journal())
    trainer.fit(scene.stream(), None)
    now = scene.states()
    return trainer, {key.partition(".")[0] for key in now if not torch.equal(now[key], before[key])}


def test_a_paused_teacher_stays_while_the_student_learns(quick, monkeypatch):
    trainer, moved = taught_with(Scene(quick, **LISTS), True, monkeypatch)
    assert moved == {STUDENT}
    assert {row["role"] for row in trainer.journal.losses} == {STUDENT}
    _, moved = taught_with(Scene(quick, **LISTS), False, monkeypatch)
    assert moved == {TEACHER, STUDENT}


def test_the_teacher_does_not_wait_for_a_student_that_rests_nor_in_other_forms(quick, monkeypatch):
    scene = Scene(quick, **LISTS)
    batch = scene.batch_of(TEACHER)
    monkeypatch.setattr("recbole_bd.model.pause.is_far_behind", lambda student, teacher: torch.tensor(True))
    assert scene.method.pauses(TEACHER, batch)
    assert not scene.method.pauses(STUDENT, batch)
    assert (scene.method.switch.asked, scene.method.switch.paused) == (1, 1)
    scene.method.resting.append(STUDENT)
    assert not scene.method.pauses(TEACHER, batch)
    for more in ({"directions": "student_to_teacher"}, {"pause": "never"}):
        assert not Scene(quick, **{**LISTS, **more}).method.pauses(TEACHER, batch)
    assert not Scene(quick, control=True, **LISTS).method.pauses(TEACHER, batch)


def test_lists_of_a_pause_hold_the_positive_for_models_of_whole_users(quick, monkeypatch):
    settings = {key: value for key, value in quick.items() if "." not in key}
    scene = Scene(settings, **LISTS, teacher_model="MultiVAE", student_model="BPR")
    batch, asked = scene.batch_of(TEACHER), []
    assert batch.positives is None
    monkeypatch.setattr(
        "recbole_bd.model.pause.is_far_behind",
        lambda student, teacher: asked.append(student.shape) or torch.tensor(True),
    )
    assert scene.method.pauses(TEACHER, batch)
    assert asked == [(len(batch.users), 1 + scene.method.drawn.per_user[TEACHER])]


def test_a_pause_needs_lists_of_equal_length(quick):
    form = {"samples_of_user": "own", "exchange": "pointwise", "exchange_student_to_teacher": "pointwise"}
    with pytest.raises(ConfigError, match="pause=switokd needs lists with a positive: use samples_of_user=average"):
        Scene(quick, **LISTS, **form)
