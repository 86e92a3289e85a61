"""Pair networks in chunks."""

import pytest
import torch

from tests.helpers.backbones import (
    batch,
    close,
)


@pytest.mark.parametrize("name", ["NeuMF", "NNCF", "ConvNCF", "NAIS"])
def test_pair_networks_score_the_same_in_small_chunks(build, monkeypatch, name):
    role, _ = build(name)
    users, items = batch(role)
    with role.scoring():
        expected = role.pair_logits(users, items), role.all_logits(users)
        monkeypatch.setattr(role.scores, "pairs_at_once", 25)
        assert close(role.pair_logits(users, items), expected[0], 1e-5)
        assert close(role.all_logits(users), expected[1], 1e-5)


@pytest.mark.parametrize("parts", [(True, False), (False, True), (True, True)], ids=["MF", "MLP", "both"])
def test_either_half_of_neumf_scores_alone(build, parts):
    role, _ = build("NeuMF", mf_train=parts[0], mlp_train=parts[1])
    users, items = batch(role)
    with role.scoring():
        rows = role.all_logits(users)
        assert close(rows.gather(1, items), role.pair_logits(users, items), 1e-5)
        assert close(rows, role.model.forward(*all_pairs(role, users)).view(rows.shape), 1e-5)
    assert rows.std() > 0.01


def all_pairs(role, users) -> tuple[torch.Tensor, torch.Tensor]:
    return users.repeat_interleave(role.n_items), torch.arange(role.n_items).repeat(len(users))


def test_under_dropout_every_pair_of_neumf_goes_through_the_whole_network(build):
    """Halves of the first layer that were computed once would have one dropout for all pairs."""
    role, _ = build("NeuMF", dropout_prob=0.5)
    users, _ = batch(role)
    role.model.train()
    torch.manual_seed(1)
    found = role.all_logits(users)
    torch.manual_seed(1)
    assert torch.equal(found, role.model.forward(*all_pairs(role, users)).view(found.shape))
    assert not torch.equal(found[0], found[-1])  # the same user twice
