"""CDAE's loss over positives and sampled negatives, against the sum written out."""

import pytest
import torch
from recbole.data.interaction import Interaction

from tests.helpers.scenes import Scene
from tests.helpers.settings import alone

SAMPLED = {"loss_items": "sampled", "corruption_ratio": 0.0, "reg_weight_1": 0.5, "reg_weight_2": 0.25}


@pytest.fixture
def role(quick):
    return Scene({**alone(quick), "model": "CDAE", **SAMPLED}).roles["model"]


def test_the_loss_is_a_sum_over_positives_and_negatives(role):
    model = role.model
    users = torch.tensor([0, 3, 7])
    rated = model.get_rating_matrix(users)
    free = [(row == 0).nonzero().flatten()[1:] for row in rated]
    negatives = torch.zeros(3, 4, dtype=torch.int64)
    negatives[1, :2], negatives[2] = free[1][:2], free[2][[0, 0, 1, 5]]  # a repeated one counts once
    loss = model.calculate_loss(Interaction({model.USER_ID: users, model.NEG_ITEM_ID: negatives}))

    logits = model.forward(rated, users)
    tables = model.h_user.weight, model.h_item.weight
    expected = 0.5 * sum(table.abs().sum() for table in tables)
    expected = expected + 0.25 * sum(table.square().sum().sqrt() for table in tables)
    for row in (1, 2):
        expected = expected - torch.nn.functional.logsigmoid(logits[row][rated[row] > 0]).sum()
        for item in set(negatives[row].tolist()) - {0}:
            expected = expected - torch.nn.functional.logsigmoid(-logits[row, item])
    torch.testing.assert_close(loss, expected)


def test_only_items_of_the_loss_get_a_gradient(role):
    model = role.model
    with torch.no_grad():  # no sigmoid is saturated
        for parameter in model.parameters():
            parameter.mul_(0.1)
    users, negatives = torch.tensor([3]), torch.tensor([[0, 5]])
    rated = model.get_rating_matrix(users)[0]
    model.calculate_loss(Interaction({model.USER_ID: users, model.NEG_ITEM_ID: negatives})).backward()
    reached = model.out_layer.weight.grad.abs().sum(dim=1) > 0
    rated[5] = 1
    assert torch.equal(reached, rated > 0)


def test_the_model_scores_as_before(quick, role):
    users = torch.arange(1, 9)
    plain = Scene({**alone(quick), "model": "CDAE", **SAMPLED, "loss_items": "all"}).roles["model"]
    with role.scoring(), plain.scoring():
        assert torch.equal(role.all_logits(users), plain.all_logits(users))
