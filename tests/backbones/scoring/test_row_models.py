"""CDAE on sparse histories."""

import torch

from recbole_bd.backbones.names import STUDENT
from recbole_bd.backbones.role import Role
from tests.helpers.backbones import (
    close,
    everyone,
    own_ranking_scores,
)


def test_cdae_with_relu_output_still_gives_what_is_before_it(build):
    role, _ = build("CDAE", out_activation="relu", loss_type="MSE")
    users = everyone(role.model)
    with role.scoring():
        logits = role.all_logits(users)
        assert close(own_ranking_scores(role.model, users), logits.relu())
    assert logits.min() < 0


def test_cdae_counts_repeated_interactions_once_as_recbole_does(build):
    role, _ = build("CDAE")
    role.model.history_item_id[3, 1] = role.model.history_item_id[3, 0]
    again = Role(STUDENT, role.model, role.config)
    users = everyone(role.model)
    with again.scoring():
        assert close(own_ranking_scores(role.model, users), again.all_logits(users).sigmoid())


def test_cdae_drops_out_of_the_history(build):
    """In train mode the mean of many scores is near that without dropout, and single ones are not."""
    role, _ = build("CDAE", hid_activation="relu", corruption_ratio=0.3)
    with torch.no_grad():  # far above zero, so that relu is linear and the mean can be told
        role.model.h_user.weight.fill_(50.0)
    users, items = torch.arange(1, 6), torch.arange(1, 31).repeat(5, 1)
    with role.scoring():
        expected = role.pair_logits(users, items)
    role.model.train()
    with torch.no_grad():
        drawn = torch.stack([role.pair_logits(users, items) for _ in range(2000)])
    assert (drawn.std(dim=0) > 0.01).all()
    assert ((drawn.mean(dim=0) - expected).abs() < 6 * drawn.std(dim=0) / 2000**0.5).all()
