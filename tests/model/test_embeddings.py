"""The student that methods of embeddings start with."""

import pytest
import torch

from recbole_bd.backbones.names import STUDENT
from recbole_bd.model.best_guide import untrained_role
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from tests.helpers.scenes import Scene

METHODS_OF_EMBEDDINGS = ["DE", "FTD", "HTD"]


def state_of(scene: Scene) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in scene.roles[STUDENT].model.state_dict().items()}


def equal(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", METHODS_OF_EMBEDDINGS)
def test_a_new_student_has_untrained_vectors_and_its_warm_up_is_the_first_candidate(method, quick):
    kept = Scene(quick, model=method, student_start="warm_up")  # a scene has begun epoch 0
    warm = state_of(kept)
    scene = Scene(quick, model=method, student_start="new", distill_epochs=1)
    expected = untrained_role(scene.roles[STUDENT], scene.split.train).model.state_dict()
    assert equal(state_of(scene), expected)
    assert not equal(warm, expected)
    scene.roles[STUDENT].model.load_state_dict(warm)
    trainer = BDTrainer(scene.config, scene.method, Journal(), start={STUDENT: {"ndcg@5": 2.0}})
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert (trainer.best[STUDENT].epoch, trainer.best[STUDENT].valid) == (-1, {"ndcg@5": 2.0})
    assert equal(trainer.best[STUDENT].state, warm)
    assert scene.method.refresh(1) is False
    after = state_of(scene)
    assert not equal(after, expected)  # begun anew once


@pytest.mark.parametrize("method", METHODS_OF_EMBEDDINGS)
def test_a_control_and_a_student_that_nothing_teaches_go_on_from_their_warm_up(method, quick):
    warm = state_of(Scene(quick, model=method, student_start="warm_up"))
    for more in ({"control": True}, {"lambda_teacher_to_student": 0}):
        assert equal(state_of(Scene(quick, model=method, student_start="new", **more)), warm)
