"""RRD: its loss written out, and the items it takes."""

import math

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from tests.helpers.rankings import ranking, score
from tests.helpers.scenes import Scene


@pytest.mark.parametrize("kind", ["sampled", "top"])
def test_rrd_is_its_equation_once_per_user(kind, quick):
    options = {"interesting_items": 4, "uninteresting_items": 6, "rank_temperature": 2.0}
    scene = Scene(quick, model="RRD", interesting=kind, lambda_teacher_to_student=0.3, **options)
    batch, total = scene.batch_of(STUDENT), 0.0
    users = sorted(set(batch.users.tolist()))
    assert len(users) < len(batch.users)
    for user in users:
        order, listed = ranking(scene, TEACHER, user), scene.method.interesting[user].tolist()
        rest = scene.method.uninteresting[user].tolist()
        places = [order.index(item) for item in listed]
        assert places == (list(range(4)) if kind == "top" else sorted(set(places)))
        assert len(set(rest)) == 6
        assert set(rest) <= set(order) - set(listed)
        own, others = ([math.exp(score(scene, STUDENT, user, item)) for item in items] for items in (listed, rest))
        total -= sum(math.log(own[k] / (sum(own[k:]) + sum(others))) for k in range(4))
    parts = scene.method.loss(STUDENT, batch)
    assert float(parts["distill"]) == pytest.approx(0.3 * total / len(users), rel=1e-5)


def test_rrd_draws_anew_every_epoch(quick):
    for kind in ("sampled", "top"):
        scene = Scene(quick, model="RRD", interesting=kind, interesting_items=6, uninteresting_items=6)
        before = scene.method.interesting.clone(), scene.method.uninteresting.clone()
        assert scene.method.refresh(1)
        assert torch.equal(before[0], scene.method.interesting) == (kind == "top")
        assert not torch.equal(before[1], scene.method.uninteresting)
