import copy

import pytest
import torch
from recbole.utils import init_seed
from torch import nn

from recbole_bd.backbones.acceleration.embedding_gradients import GatheredEmbedding, gather_gradients
from recbole_bd.backbones.acceleration.sparse_graphs import CompressedGraph, compress_graphs
from tests.helpers.backbones import (
    GRAPHS,
    TEACHABLE,
    batch,
    close,
    first_batch,
)


class Model(nn.Module):
    """Looks its table up several times, repeats ids, and may use the whole table too."""

    def __init__(self, padding_idx=None, **more):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(50, 4, padding_idx=padding_idx, **more)
        self.layer = nn.Linear(4, 1)

    def forward(self, first, second, whole):
        loss = (self.table(first) * self.table(second)).sum(-1).sigmoid().log().mean() + self.layer(
            self.table(first)
        ).sum()
        return loss + (self.table.weight.pow(2).sum() if whole else 0)


def gradients(model, whole, by="backward"):
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.randint(0, 50, (64, 3), generator=generator) for _ in range(2))
    loss = model(first, second, whole)
    if by == "grad":
        return torch.autograd.grad(loss, list(model.parameters()))
    model.zero_grad()
    loss.backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("padding_idx", [None, 0])
@pytest.mark.parametrize("by", ["backward", "grad"])
def test_gradients_are_the_same_and_dense(whole, padding_idx, by):
    plain, gathered = Model(padding_idx), Model(padding_idx)
    gather_gradients(gathered)
    expected, found = gradients(plain, whole, by), gradients(gathered, whole, by)
    for one, other in zip(expected, found, strict=True):
        assert not other.is_sparse
        assert torch.allclose(one, other, atol=1e-6)


def test_gradients_add_up_over_backward_passes():
    plain, gathered = Model(), Model()
    gather_gradients(gathered)
    for model in (plain, gathered):
        model.zero_grad()
        for seed in (1, 2):
            ids = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(seed))
            model(ids[0], ids[1], False).backward()
    assert torch.allclose(plain.table.weight.grad, gathered.table.weight.grad, atol=1e-6)


@pytest.mark.slow
def test_training_goes_on_step_after_step():
    plain, gathered = Model(0), Model(0)
    gather_gradients(gathered)
    for model in (plain, gathered):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
        for seed in range(5):
            ids = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            model(ids[0], ids[1], seed == 2).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
    assert torch.allclose(plain.table.weight, gathered.table.weight, atol=1e-5)


def test_copies_moved_tables_and_frozen_tables_work():
    model = Model()
    gather_gradients(model)
    gradients(model, False)
    copied = copy.deepcopy(model)
    gradients(copied, False)
    assert copied.table.weight.grad is not model.table.weight.grad
    model.table.weight.grad = None
    gradients(copied, False)
    assert model.table.weight.grad is None
    model.table.weight.data = torch.ones(50, 4)
    assert torch.equal(model.table(torch.tensor([3])), torch.ones(1, 4))
    assert gradients(model, False)[0].abs().sum() > 0
    model.table.weight.requires_grad_(False)
    assert not model.table(torch.tensor([3])).requires_grad
    with torch.no_grad():
        assert not copied.table(torch.tensor([3])).requires_grad


@pytest.mark.parametrize("more", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}])
def test_tables_with_rules_of_their_own_stay_as_they_are(more):
    model = Model(**more)
    gather_gradients(model)
    assert type(model.table) is nn.Embedding


def test_the_first_gradient_is_the_second_to_the_bit():
    """Three contributions add up in one order, whichever step comes first: a process that goes on has another first."""
    torch.manual_seed(0)
    table = nn.Embedding(40, 5)
    model = nn.ModuleList([table])
    gather_gradients(model)
    ids, factors = torch.randint(0, 40, (200,)), torch.randn(3, 40, 1)

    def gradient():
        model.zero_grad()
        whole = sum((torch.cat([table.weight, table.weight])[:40] * factor).tanh().sum() for factor in factors)
        (whole + table(ids).pow(3).sum()).backward()
        return table.weight.grad.clone()

    first = gradient()
    assert all(torch.equal(first, gradient()) for _ in range(3))


@pytest.mark.parametrize("name", TEACHABLE)
def test_gathered_lookups_and_compressed_graphs_give_every_models_loss_the_same_gradient(build, name):
    """With rows gathered per table and graphs in compressed rows, as roles are built, and as RecBole has them."""
    found = []
    interaction = first_batch(*build(name))
    for gathered in (False, True):
        role, _ = build(name)
        role.model.train()
        if gathered:
            gather_gradients(role.model)
            compress_graphs(role.model)
        tables = [type(module) for module in role.model.modules() if isinstance(module, torch.nn.Embedding)]
        assert all((table is GatheredEmbedding) == gathered for table in tables)
        graphs = [value for value in vars(role.model).values() if isinstance(value, CompressedGraph)]
        assert len(graphs) >= (gathered and name in GRAPHS)
        users, items = batch(role)
        init_seed(5, True)  # of dropout and noise
        with role.step():
            loss = role.loss(interaction) + role.pair_logits(users, items).sigmoid().mean()
        loss.backward()
        found.append({key: parameter.grad for key, parameter in role.model.named_parameters()})
    for key, gradient in found[0].items():
        assert (gradient is None) == (found[1][key] is None), key
        assert gradient is None or close(gradient, found[1][key]), key


def test_a_lookup_of_no_rows_has_no_gradient():
    model = Model()
    gather_gradients(model)
    model.table(torch.empty(0, dtype=torch.int64)).sum().backward()
    assert torch.equal(model.table.weight.grad, torch.zeros(50, 4))
