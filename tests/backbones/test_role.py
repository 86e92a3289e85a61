"""A role's scores and loss, for every general recommender of RecBole."""

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_bd.backbones.names import STUDENT
from recbole_bd.backbones.registry import recommender_class, require_teachable
from recbole_bd.backbones.role import Role
from tests.helpers.backbones import (
    NAMES,
    TEACHABLE,
    batch,
    close,
    first_batch,
)

ADD_ROWS = {"CDAE", "ENMF", "ConvNCF", "SGL"}  # whose loss adds up a batch; the others' is a mean over its rows
ADD_ITEMS = {"CDAE", "ENMF", "LDiffRec", "MacridVAE", "MultiDAE", "MultiVAE"}  # of a row, all items of its user


@pytest.mark.parametrize("name", TEACHABLE)
def test_a_batch_twice_is_two_batches_where_the_loss_adds_up_its_rows(name, data):
    config, loader = data(name)
    init_seed(3, True)
    role = Role(STUDENT, recommender_class(name)(config, loader.dataset), config)
    once = first_batch(role, loader)
    twice = Interaction({key: torch.cat([once[key], once[key]]) for key in once.columns})
    role.model.eval()

    def loss(batch):  # some draw noise, or which of two losses it is
        init_seed(5, True)
        return sum(float(role.loss(batch)) for _ in range(30))

    assert loss(twice) / loss(once) == pytest.approx(2 if name in ADD_ROWS else 1, rel=0.1)
    assert role.interactions_added(len(twice), 3.5) / role.interactions_added(len(once), 3.5) == (
        2 if name in ADD_ROWS else 1
    )
    assert role.interactions_added(1, 3.5) == (3.5 if name in ADD_ITEMS else 1)


@pytest.mark.parametrize("name", NAMES)
def test_pair_logits_are_columns_of_all_logits(build, name):
    role, _ = build(name)
    users, items = batch(role)
    with role.scoring():
        pairs, rows = role.pair_logits(users, items), role.all_logits(users)
        some = torch.tensor([0, 3, 4, role.n_items - 1])
        assert close(role.all_logits(users, some), rows[:, some], 1e-5)
    assert pairs.shape == items.shape
    assert rows.shape == (len(users), role.n_items)
    assert close(pairs, rows.gather(1, items), 1e-5)
    assert close(rows[0], rows[-1], 1e-5)  # the same user twice
    assert rows.dtype == torch.float32
    assert rows.isfinite().all()
    assert not rows.requires_grad


@pytest.mark.parametrize("name", TEACHABLE)
def test_gradient_of_pair_logits_reaches_every_parameter(build, name):
    require_teachable(name, STUDENT)
    role, _ = build(name)
    role.model.train()
    users, items = batch(role, users=30, items=10)
    logits = role.pair_logits(users, items)
    (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for key, parameter in role.model.named_parameters():
        if "context_embedding" in key:  # LINE's second order serves its own loss alone
            continue
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key
    assert role.parameter_count == sum(p.numel() for p in role.model.parameters() if p.requires_grad) > 0


@pytest.mark.parametrize("name", ["BPR", "NeuMF", "CDAE", "MultiVAE", "MultiDAE"])
@pytest.mark.parametrize("learning", [False, True])
def test_what_is_taught_is_without_dropout_and_gradient(build, name, learning):
    role, _ = build(name)
    users, items = batch(role)
    with role.scoring():
        expected = role.pair_logits(users, items)
    role.model.train()
    with role.step():
        target = role.target_logits(users, items, learning)
    assert not target.requires_grad
    assert torch.equal(target, expected)
    assert all(module.training for module in role.model.modules())


@pytest.mark.parametrize("name", ["BPR", "NeuMF", "MultiVAE"])
def test_every_user_may_have_items_of_its_own(build, name):
    role, _ = build(name)
    users, items = batch(role)
    with role.scoring():
        assert torch.equal(role.all_logits(users, items), role.pair_logits(users, items))
