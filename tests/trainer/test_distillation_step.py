"""One step of the distillation, and who takes part in it."""

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.epoch_losses import EpochLosses
from recbole_bd.trainer.journal import Journal
from tests.helpers.scenes import Scene


def losses_of(*roles: str) -> dict[str, EpochLosses]:
    return {role: EpochLosses(role, "distilled", 0, torch.device("cpu")) for role in roles}


def test_a_step_takes_both_losses_before_either_update(quick):
    """One SGD step equals the step written out: each role's gradient at both roles' old parameters."""
    sgd = {"learner": "sgd", "learning_rate": 0.5, "train_batch_size": 10**6, "distill_epochs": 1}
    scene, reference = Scene(quick, **sgd), Scene(quick, **sgd)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    batch = reference.batches[0]
    expected = {}
    for role in (TEACHER, STUDENT):  # in the trainer's order, since both draw from one generator
        loss = sum(reference.method.loss(role, batch).values())
        parameters = dict(reference.roles[role].model.named_parameters())
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        expected[role] = {n: p.detach() - 0.5 * g for (n, p), g in zip(parameters.items(), gradients, strict=True)}
    trainer.step.update(batch, {role: EpochLosses(role, "distilled", 0, torch.device("cpu")) for role in expected})
    for role, parameters in expected.items():
        for name, value in scene.roles[role].model.named_parameters():
            assert torch.allclose(value, parameters[name], atol=1e-7)


@pytest.mark.parametrize("bound", [None, 1e-3])
def test_gradients_are_clipped_together_where_the_settings_say_so(bound, quick):
    """An SGD step with rate 1 moves the parameters of a role by their clipped gradient."""
    more = {} if bound is None else {"clip_grad_norm": {"max_norm": bound}}
    scene = Scene(quick, learner="sgd", learning_rate=1.0, **more)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    before = scene.states()
    trainer.step.update(scene.batches[0], losses_of(TEACHER, STUDENT))
    after = scene.states()
    for role in (TEACHER, STUDENT):
        moved = torch.cat([(after[name] - before[name]).flatten() for name in before if name.startswith(role)])
        assert float(moved.norm()) == pytest.approx(bound, rel=1e-3) if bound else float(moved.norm()) > 1e-2


def test_a_role_that_rests_neither_moves_nor_counts(quick):
    scene = Scene(quick)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    scene.method.resting = [TEACHER]
    assert trainer.step.learning([STUDENT, TEACHER, "other"]) == [STUDENT]
    before, losses = scene.states(), losses_of(TEACHER, STUDENT)
    trainer.step.update(scene.batches[0], losses)
    moved = {name.split(".")[0] for name, tensor in scene.states().items() if not torch.equal(tensor, before[name])}
    assert moved == {STUDENT}
    assert (losses[TEACHER].steps, losses[STUDENT].steps) == (0, 1)


def test_one_process_shares_no_batches(quick):
    scene = Scene(quick)
    assert BDTrainer(scene.config, scene.method, Journal()).step.shared_roles == set()
