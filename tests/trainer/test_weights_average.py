"""Moving average of the weights: its equation, and where a training reads it."""

import copy

import pytest
import torch
from recbole.utils import init_seed
from torch import nn

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.data.batches import train_loader
from recbole_bd.system.signals import Stop
from recbole_bd.trainer import distillation_trainer
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.resumable import Keeper
from recbole_bd.trainer.role_trainer import role_trainer, warm_up
from recbole_bd.trainer.weights_average import WeightsAverage
from tests.helpers.resuming import differences
from tests.helpers.scenes import Scene, equal_states

AVERAGED = {"own_loss": "softmax", "softmax_negatives": 20, "weights_average": 0.9}


class Number(nn.Module):
    """A model of one weight, and of one that does not train."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.constant = nn.Parameter(torch.full((1,), 7.0), requires_grad=False)


def stepped(average, values):
    for value in values:
        average.model.weight.data.fill_(value)
        average.update()


@pytest.mark.parametrize("decay", [0.2, 0.5])
def test_it_follows_its_equation(decay):
    average, expected = WeightsAverage(Number(), decay), 3.0
    stepped(average, values := [3.0, -1.0, 5.0, 2.0, 8.0, 4.0, 1.0])
    for step, value in enumerate(values[1:], start=1):
        rate = min(decay, (1 + step) / (10 + step))
        expected = rate * expected + (1 - rate) * value
    with average.applied(), average.applied():
        assert float(average.model.weight) == pytest.approx(expected)
        assert float(average.model.constant) == 7
    assert float(average.model.weight) == 1


def test_without_a_decay_it_never_differs_from_the_weights():
    model = Number()
    average, optimizer = WeightsAverage(model, None), torch.optim.SGD([model.weight], lr=1.0)
    average.follow(optimizer)
    model.weight.sum().backward()
    optimizer.step()
    assert average.state_dict() == {"steps": 0, "average": None}
    with average.applied():
        assert float(model.weight) == -1


def test_before_the_first_step_the_weights_stand():
    average = WeightsAverage(Number(), 0.5)
    average.model.weight.data.fill_(4)
    with average.applied():
        assert float(average.model.weight) == 4


def test_the_weights_come_back_after_an_error():
    average = WeightsAverage(Number(), 0.5)
    stepped(average, [1.0, 2.0])
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert float(average.model.weight) == 2


def test_it_goes_on_where_its_state_was_taken():
    first, second = WeightsAverage(Number(), 0.9), WeightsAverage(Number(), 0.9)
    stepped(first, [1.0, 2.0, 3.0])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for average in (first, second):
        stepped(average, [9.0, 2.0])
    assert differences(first.state_dict(), second.state_dict()) == []


def test_a_warm_up_validates_and_delivers_the_average_while_the_weights_train_on(quick):
    plain, averaged = (Scene(quick, **{**AVERAGED, "weights_average": decay}) for decay in (None, 0.9))
    ends = []
    for scene in (plain, averaged):
        init_seed(1, True)
        role = scene.roles[STUDENT]
        trainer = role_trainer(role, Journal(), "separate")
        for epoch in range(3):
            trainer._train_epoch(train_loader(role.config, scene.split), epoch)
        ends.append({name: one.clone() for name, one in role.model.state_dict().items()})
        trainer._valid_epoch(scene.split.valid_loader)
        trainer._save_checkpoint(2)
        assert equal_states(role.model.state_dict(), ends[-1])
        with trainer.average.applied():
            assert equal_states(role.model.state_dict(), trainer.best.state)
            assert trainer.evaluate(scene.split.valid_loader)["ndcg@5"] == trainer.best.valid["ndcg@5"]
        assert equal_states(trainer.best.state, ends[-1]) == (scene is plain)
    assert equal_states(*ends)  # the average changes nothing of the training itself


def test_the_other_role_learns_from_the_average_and_a_role_rests_at_it(quick):
    scene = Scene(quick, distill_epochs=2, **AVERAGED)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    trainer.fit(scene.stream(), scene.split.valid_loader)
    for name in (TEACHER, STUDENT):
        best = trainer.best[name].state
        assert equal_states(scene.method.best_guides[name].state_dict()["model"], best)
        assert not equal_states(scene.roles[name].model.state_dict(), best)
    distillation_trainer._rest(trainer, STUDENT)
    assert equal_states(scene.roles[STUDENT].model.state_dict(), trainer.best[STUDENT].state)


def points_of(train) -> tuple[list, object]:
    points = []
    return points, train(Keeper(lambda point: points.append(copy.deepcopy(point)), Stop()))


@pytest.mark.parametrize("stage", ["warm-up", "distillation"])
def test_a_resumed_training_is_bitwise_the_one_that_was_not_stopped(stage, quick):
    def train(keeper, point=None):
        scene = Scene(quick, **AVERAGED)
        init_seed(1, True)
        if stage == "warm-up":
            role = scene.roles[STUDENT]
            loader = train_loader(role.config, scene.split)
            best = warm_up(role, loader, scene.split.valid_loader, Journal(), False, keeper, point)
            return {**vars(best)}
        trainer = BDTrainer(scene.config, scene.method, Journal(), keeper)
        if point is not None:
            trainer.resume_from(point)
        trainer.fit(scene.stream(), scene.split.valid_loader)
        return {"best": {name: {**vars(best)} for name, best in trainer.best.items()}, "states": scene.states()}

    points, whole = points_of(train)
    assert len(points) == 3
    for point in points[:2]:
        _, resumed = points_of(lambda keeper, point=point: train(keeper, point))
        assert differences(whole, resumed) == []
