"""MF: RecBole's BPR where it has no biases, and biases as two more dimensions."""

import pytest
import torch

from recbole_bd.backbones.mf import MF
from recbole_bd.testing import check_backbone
from tests.helpers.backbones import everyone, first_batch, own_ranking_scores


@pytest.mark.parametrize("settings", [{}, {"biases": True}, {"own_loss": "softmax", "biases": True}])
def test_it_keeps_the_contract_of_a_backbone(settings):
    check_backbone(MF, settings)


def test_without_biases_its_loss_and_scores_are_those_of_recboles_bpr(build):
    mine, loader = build("MF")
    theirs, _ = build("BPR")
    batch = first_batch(mine, loader)
    assert float(mine.loss(batch)) == pytest.approx(float(theirs.loss(batch)), rel=1e-6)
    users = everyone(mine.model)
    assert torch.equal(own_ranking_scores(mine.model, users), own_ranking_scores(theirs.model, users))


def test_biases_are_added_to_the_score(build):
    role, _ = build("MF", biases=True)
    model, users = role.model, torch.tensor([1, 2])
    expected = model.user_embedding.weight[users] @ model.item_embedding.weight.T
    expected = expected + model.user_bias.weight[users] + model.item_bias.weight.T
    assert torch.allclose(role.all_logits(users), expected, atol=1e-6)


def test_biases_begin_at_zero(data):
    config, loader = data("MF", biases=True)
    model = MF(config, loader.dataset)
    assert not model.user_bias.weight.any()
    assert not model.item_bias.weight.any()
