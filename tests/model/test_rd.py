"""RD: its loss written out, and the items it takes."""

import math

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from tests.helpers.rankings import ranking, score
from tests.helpers.references import sigmoid
from tests.helpers.scenes import Scene


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("epoch", [0, 3])
def test_rd_is_its_equation(normalised, epoch, quick):
    settings = {"top_items": 4, "position_temperature": 2.0, "dynamic_start_epoch": 3, "dynamic_sharpness": 0.2}
    more = {"normalised_weights": normalised, "dynamic_samples": 5, "lambda_teacher_to_student": 0.3}
    scene = Scene(quick, model="RD", **settings, **more)
    scene.method.refresh(epoch)
    batch, total = scene.batch_of(STUDENT), 0.0
    state = scene.method.generator.get_state()
    parts = scene.method.loss(STUDENT, batch)
    scene.method.generator.set_state(state)
    sampled = scene.method.unseen.draw(batch.users, 5, scene.method.generator).tolist()
    for row, user in enumerate(batch.users.tolist()):
        listed = ranking(scene, TEACHER, user)
        weights, own = [], [score(scene, STUDENT, user, item) for item in listed[:4]]
        for rank, z in enumerate(own, 1):
            weight = math.exp(-rank / 2.0) / sum(math.exp(-r / 2.0) for r in range(1, 5))
            if epoch == 3:
                above = sum(score(scene, STUDENT, user, item) > z for item in sampled[row])
                estimate = math.floor(len(listed) * above / 5) + 1
                weight *= math.tanh(max(0.2 * (estimate - rank), 0))
            weights.append(weight)
        if normalised and sum(weights):
            weights = [weight / sum(weights) for weight in weights]
        total -= sum(weight * math.log(sigmoid(z)) for weight, z in zip(weights, own, strict=True))
    assert float(parts["distill"]) == pytest.approx(0.3 * total / len(batch.users), rel=1e-5)


def test_rd_gives_a_list_that_is_too_short_no_weight_where_it_ends(quick):
    scene = Scene(quick, model="RD", top_items=48)
    users = torch.arange(1, scene.split.n_users)
    items = scene.method.lists[users].long()
    weights = scene.method._weights(users, items, torch.zeros(items.shape))
    assert ((items == 0) == (weights == 0)).all()
    assert (items == 0).any()
    assert torch.allclose(weights.sum(dim=1), torch.ones(len(users)))


@pytest.mark.parametrize("normalised", [True, False])
def test_rd_weighs_all_listed_items_alike_without_weights_by_position(normalised, quick):
    more = {"position_weights": False, "dynamic_weights": False, "normalised_weights": normalised}
    scene = Scene(quick, model="RD", top_items=4, lambda_teacher_to_student=0.3, **more)
    batch, total = scene.batch_of(STUDENT), 0.0
    for user in batch.users.tolist():
        own = [score(scene, STUDENT, user, item) for item in ranking(scene, TEACHER, user)[:4]]
        total -= sum(math.log(sigmoid(z)) for z in own) / (4 if normalised else 1)
    found = scene.method.loss(STUDENT, batch)["distill"]
    assert float(found) == pytest.approx(0.3 * total / len(batch.users), rel=1e-5)
