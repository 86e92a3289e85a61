"""Fused optimizers."""

import pytest
import torch
from recbole.trainer import Trainer

from recbole_bd.backbones.names import TEACHER
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.optimizer import fused, rate_of
from tests.helpers.scenes import Scene


def weight(**more) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(3, **more))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (torch.optim.Adam, {"lr": 0.5, "betas": (0.5, 0.75), "eps": 1e-3, "weight_decay": 0.125, "amsgrad": True}),
        (torch.optim.AdamW, {"lr": 0.5, "weight_decay": 0.125, "maximize": True}),
        (torch.optim.SGD, {"lr": 0.5, "momentum": 0.25, "nesterov": True}),
    ],
)
def test_settings_and_parameters_are_taken_over(kind, settings):
    parameters = [weight(), weight()]
    found = fused(kind(parameters, **settings))
    assert type(found) is kind
    (group,) = found.param_groups
    assert [id(one) for one in group["params"]] == [id(one) for one in parameters]
    assert {name: group[name] for name in settings} == settings
    assert group["fused"] is True


class Own(torch.optim.Adam):
    """An optimizer of somebody else."""


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.Adagrad([weight()]),
        torch.optim.SparseAdam([weight()]),
        Own([weight()]),
        torch.optim.Adam([weight(device="meta")]),
        torch.optim.Adam([{"params": []}]),
    ],
    ids=["another kind", "sparse", "another class", "another device", "nothing to learn"],
)
def test_other_optimizers_stay_as_they_are(optimizer):
    assert fused(optimizer) is optimizer


@pytest.mark.parametrize("learner", ["adam", "adamw", "sgd", "adagrad", "rmsprop"])
def test_the_fused_update_is_the_same_mathematics(learner, quick):
    scene = Scene(quick, learner=learner, learning_rate=0.02, weight_decay=0.01)
    trainer = BDTrainer(scene.config, scene.method, Journal()).trainers[TEACHER]
    plain = Trainer._build_optimizer(trainer)
    quicker = trainer.optimizer
    assert type(plain) is type(quicker)
    assert bool(quicker.defaults.get("fused")) == (learner in ("adam", "adamw", "sgd"))
    varying = ("params", "fused", "foreach")
    settings = [{k: v for k, v in o.param_groups[0].items() if k not in varying} for o in (plain, quicker)]
    assert settings[0] == settings[1]
    parameters = plain.param_groups[0]["params"]
    start = [parameter.detach().clone() for parameter in parameters]
    ends = []
    for optimizer in (plain, quicker):
        generator = torch.Generator().manual_seed(0)
        for parameter, value in zip(parameters, start, strict=True):
            parameter.data.copy_(value)
        for _ in range(5):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        ends.append([parameter.detach().clone() for parameter in parameters])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*ends, strict=True))
    assert not torch.equal(ends[0][0], start[0])


def test_weight_decay_on_a_sum_is_that_on_the_mean_divided_by_the_batch():
    """The scale in properties/reproduce/: Adam divides it out, up to its epsilon."""
    torch.manual_seed(3)
    batches = torch.randn(40, 128, 6, dtype=torch.float64)
    ends = []
    for reduce, decay in ((torch.sum, 1e-3), (torch.mean, 1e-3 / 128)):
        vector = torch.nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))
        optimizer = fused(torch.optim.Adam([vector], lr=0.001, weight_decay=decay))
        for rows in batches:
            optimizer.zero_grad()
            reduce(-torch.nn.functional.logsigmoid(rows @ vector)).backward()
            optimizer.step()
        ends.append(vector.detach())
    torch.testing.assert_close(*ends, rtol=1e-5, atol=0)


def test_the_learning_rate_is_that_of_the_moment():
    optimizer = torch.optim.SGD([weight()], lr=0.5)
    torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5)
    assert rate_of(optimizer) == 0.25
