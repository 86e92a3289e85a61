"""UnKD: its loss written out, and the pairs it takes."""

import math

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from tests.helpers.rankings import ranking, score
from tests.helpers.references import sigmoid
from tests.helpers.scenes import Scene

OPTIONS = {"popularity_groups": 3, "pairs_per_user": 8, "rank_temperature": 3.0, "lambda_teacher_to_student": 0.3}


def test_unkd_is_its_equation_once_per_positive(quick):
    scene = Scene(quick, model="UnKD", **OPTIONS)
    batch, total, groups = scene.batch_of(STUDENT), 0.0, scene.method.groups.tolist()
    for user in batch.users.tolist():
        pairs = list(zip(scene.method.higher[user].tolist(), scene.method.lower[user].tolist(), strict=True))
        order = ranking(scene, TEACHER, user)
        assert all(groups[a] == groups[b] and order.index(a) < order.index(b) for a, b in pairs)
        assert [groups[a] for a, _ in pairs] == [0, 0, 0, 1, 1, 1, 2, 2]
        terms = [score(scene, STUDENT, user, a) - score(scene, STUDENT, user, b) for a, b in pairs]
        total -= sum(math.log(sigmoid(term)) for term in terms) / 8
    parts = scene.method.loss(STUDENT, batch)
    assert float(parts["distill"].detach()) == pytest.approx(0.3 * total / len(batch.users), rel=1e-5)


def test_pairs_are_drawn_anew_every_epoch_from_lists_that_stay(quick):
    scene = Scene(quick, model="UnKD", **OPTIONS)
    lists, higher = scene.method.lists, scene.method.higher.clone()
    assert scene.method.refresh(1)
    assert scene.method.lists is lists
    assert not torch.equal(scene.method.higher, higher)


def test_one_group_is_all_items(quick):
    scene = Scene(quick, model="UnKD", **{**OPTIONS, "popularity_groups": 1})
    for user in (1, 9):
        order = ranking(scene, TEACHER, user)
        assert scene.method.lists[0, user].tolist()[: len(order)] == order[: scene.method.lists.shape[2]]


@pytest.mark.parametrize("more", [{"pairs_per_user": 2}, {"share_power": 30.0}])
def test_groups_without_pairs_are_left_out(more, quick):
    scene = Scene(quick, model="UnKD", **{**OPTIONS, **more})
    assert min(scene.method.pairs_of) == 0
    assert scene.method.higher.shape[1] == sum(scene.method.pairs_of)
    assert scene.method.loss(STUDENT, scene.batch_of(STUDENT))["distill"] > 0


def test_the_sharpest_pairs_are_the_first_two_of_the_list(quick):
    scene = Scene(quick, model="UnKD", **{**OPTIONS, "popularity_groups": 1, "rank_temperature": 0.01})
    for user in (1, 9):
        order = ranking(scene, TEACHER, user)
        assert set(scene.method.higher[user].tolist()) == {order[0]}
        assert set(scene.method.lower[user].tolist()) == {order[1]}
