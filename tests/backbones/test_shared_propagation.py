"""One propagation per scope, never stale, and a model left as it was."""

import numpy as np
import pytest
import torch

from recbole_bd.backbones.traits import CACHES
from tests.helpers.backbones import (
    TEACHABLE,
    batch,
    close,
    everyone,
    first_batch,
    own_ranking_scores,
)

PROPAGATIONS = {"LightGCN": 1, "NGCF": 1, "DGCF": 1, "SpectralCF": 1, "SGL": 3}  # SGL: two more, for its own loss


@pytest.mark.parametrize("name", TEACHABLE)
def test_no_score_is_stale(build, name):
    role, loader = build(name)
    users, items = batch(role)
    optimizer = torch.optim.SGD(role.model.parameters(), lr=0.05)

    def scores():
        role.model.eval()
        own_ranking_scores(role.model, users)  # what RecBole's evaluation leaves: a full cache
        with role.scoring():
            inside = role.pair_logits(users, items), role.all_logits(users)
        own_ranking_scores(role.model, users)
        return *inside, role.pair_logits(users, items).detach(), role.all_logits(users).detach()

    before, again = scores(), scores()
    assert all(torch.equal(one, other) for one, other in zip(before, again, strict=True))
    assert close(before[0], before[2], 1e-6)
    assert close(before[1], before[3], 1e-6)
    loss = role.loss(first_batch(role, loader))
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    for _ in range(2):  # the second step follows no loss, which is what clears the caches of the hosts
        optimizer.step()
        after = scores()
        assert not any(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        before = after


def test_random_is_drawn_once_per_scope(build):
    role, _ = build("Random")
    users, _ = batch(role)
    with role.scoring():
        first = role.all_logits(users)
        assert torch.equal(first, role.all_logits(users))
    assert not torch.equal(first, role.all_logits(users))


def count_calls(monkeypatch, owner, method):
    calls, original = [], getattr(owner, method)

    def counted(*arguments, **more):
        calls.append(1)
        return original(*arguments, **more)

    monkeypatch.setattr(owner, method, counted)
    return calls


@pytest.mark.parametrize("name", [*PROPAGATIONS, "GCMC"])
def test_a_step_propagates_once(build, monkeypatch, name):
    role, loader = build(name)
    interaction = first_batch(role, loader)
    users, items = batch(role)
    owner = type(role.model.GcEncoder) if name == "GCMC" else type(role.model)
    calls = count_calls(monkeypatch, owner, "forward")
    with role.step():
        loss = role.loss(interaction) + role.pair_logits(users, items).sum() + role.all_logits(users).mean()
        role.pair_logits(users, items)
    assert len(calls) == PROPAGATIONS.get(name, 1)
    loss.backward()
    calls.clear()
    with role.scoring():
        role.all_logits(users)
        role.pair_logits(users, items)
        role.embeddings()
    assert len(calls) == 1
    calls.clear()
    role.pair_logits(users, items)
    role.pair_logits(users, items)
    assert len(calls) == 2
    assert "forward" not in vars(role.model)


def test_dmf_runs_its_item_tower_once_per_scope(build, monkeypatch):
    role, _ = build("DMF")
    calls = count_calls(monkeypatch, type(role.scores), "item_tower")
    with role.scoring():
        role.all_logits(everyone(role.model))
        role.embeddings()
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["LightGCN", "DMF"])
def test_shared_propagation_gives_the_same_gradient(build, name):
    role, loader = build(name)
    interaction = first_batch(role, loader)
    users, items = batch(role)

    def distillation():
        return role.pair_logits(users, items).sigmoid().log().neg().mean()

    def gradients():
        found = [parameter.grad.clone() for parameter in role.model.parameters()]
        role.model.zero_grad()
        return found

    with role.step():
        (role.loss(interaction) + distillation()).backward()
    together = gradients()
    role.loss(interaction).backward()
    distillation().backward()
    assert all(close(one, other, 1e-6) for one, other in zip(together, gradients(), strict=True))


def test_sharing_ends_where_parameters_modes_or_gradients_change(build):
    role, loader = build("LightGCN")
    interaction = first_batch(role, loader)
    users, items = batch(role)
    for more in ({}, {"foreach": True}, {"fused": True}):
        optimizer = torch.optim.Adam(role.model.parameters(), lr=0.1, **more)
        with role.step():
            with role.scoring():  # without gradient, first
                before = role.pair_logits(users, items)
            optimizer.zero_grad()
            assert role.pair_logits(users, items).requires_grad
            role.loss(interaction).backward()
            optimizer.step()
            after = role.pair_logits(users, items)
        assert after.requires_grad
        assert not close(before, after)
        with role.scoring():
            assert close(after, role.pair_logits(users, items), 1e-6)


def test_scoring_restores_every_module_mode(build):
    role, _ = build("NeuMF")
    role.model.train()
    role.model.mlp_layers.eval()
    modes = [module.training for module in role.model.modules()]
    with role.scoring():
        with role.scoring():
            pass
        assert not any(module.training for module in role.model.modules())
        assert not torch.is_grad_enabled()
        with pytest.raises(IndexError):
            role.all_logits(torch.tensor([role.n_users]))
    assert [module.training for module in role.model.modules()] == modes
    assert torch.is_grad_enabled()


def test_scoring_does_not_draw_new_graphs_for_sgl(build):
    role, _ = build("SGL")
    role.model.train()
    graphs = role.model.sub_graph1, role.model.sub_graph2
    state = np.random.get_state()[1].copy()
    with role.scoring():
        role.all_logits(everyone(role.model))
    assert (role.model.sub_graph1, role.model.sub_graph2) == graphs
    assert (np.random.get_state()[1] == state).all()
    assert role.model.training


@pytest.mark.parametrize("name", ["EASE", "ItemKNN", "SLIMElastic", "Pop"])
def test_forget_keeps_what_a_closed_form_model_consists_of(build, name):
    role, _ = build(name)
    before = role.model.other_parameter()
    role.forget()
    after = role.model.other_parameter()
    assert before
    assert all(after[key] is before[key] for key in before)


@pytest.mark.parametrize("name", ["LightGCN", "SGL", "DMF"])
def test_scoring_drops_the_cache_of_recbole(build, name):
    role, _ = build(name)
    role.model.eval()
    own_ranking_scores(role.model, everyone(role.model))
    assert any(getattr(role.model, cache, None) is not None for cache in CACHES)
    with role.scoring():
        own_ranking_scores(role.model, everyone(role.model))
    assert all(getattr(role.model, cache, None) is None for cache in CACHES)
