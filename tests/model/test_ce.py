"""CE: its loss written out for each of its lists."""

import math

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import RoleError
from tests.helpers.rankings import ranking, score
from tests.helpers.scenes import Scene, equal_states, pair


def cross_entropy(scene, user, items, temperature) -> float:
    own, other = ([math.exp(score(scene, r, user, i) / temperature) for i in items] for r in (STUDENT, TEACHER))
    return -sum(q / sum(other) * math.log(p / sum(own)) for p, q in zip(own, other, strict=True))


@pytest.mark.parametrize("items", ["teacher_top", "student_top", "all"])
def test_ce_is_its_equation_once_per_user(items, quick):
    more = {} if items == "all" else {"top_items": 4}
    scene = Scene(quick, model="CE", items=items, temperature=2.0, lambda_teacher_to_student=0.3, **more)
    batch, total = scene.batch_of(STUDENT), 0.0
    users = sorted(set(batch.users.tolist()))
    assert len(users) < len(batch.users)
    for user in users:
        order = ranking(scene, TEACHER if items == "teacher_top" else STUDENT, user)
        if items != "all":
            assert scene.method.lists[user].tolist() == order[:4]
        total += cross_entropy(scene, user, order if items == "all" else order[:4], 2.0)
    parts = scene.method.loss(STUDENT, batch)
    assert float(parts["distill"].detach()) == pytest.approx(0.3 * total / len(users), rel=1e-5)


def test_a_list_is_whole_where_fewer_items_are_left(quick):
    scene = Scene(quick, model="CE", items="student_top", top_items=48)
    batch = scene.batch_of(STUDENT)
    users = sorted(set(batch.users.tolist()))
    assert (scene.method.lists[users] == 0).any()
    total = sum(cross_entropy(scene, user, ranking(scene, STUDENT, user), 1.0) for user in users)
    assert float(scene.method.transfer(batch.users, batch).detach()) == pytest.approx(total / len(users), rel=1e-5)


def test_the_students_list_follows_the_student_and_the_teachers_stays(quick):
    for items, period in (("student_top", 1), ("student_top", 2), ("teacher_top", 1)):
        more = {"refresh_period": period} if items == "student_top" else {}
        scene = Scene(quick, model="CE", items=items, top_items=6, **more)
        before = scene.method.lists.clone()
        with torch.no_grad():
            scene.roles[STUDENT].model.user_embedding.weight.neg_()
        assert scene.method.refresh(1) == (items == "student_top" and period == 1)
        assert torch.equal(scene.method.lists, before) == (items == "teacher_top" or period == 2)
        assert scene.method.refresh(2) == (items == "student_top")


@pytest.mark.parametrize(("teacher", "student"), [("ItemKNN", "BPR"), ("NeuMF", "LightGCN"), ("LightGCN", "CDAE")])
def test_all_items_teach_any_student_that_scores_them_together(teacher, student, quick):
    scene = Scene(pair(quick, teacher, student), model="CE", items="all")
    sizes = scene.gradients(STUDENT)
    assert sizes.pop(STUDENT) > 0
    assert sum(sizes.values()) == 0


def test_a_network_over_pairs_is_refused_for_all_items(quick):
    with pytest.raises(RoleError, match=r"items=all: NeuMF as the student scores one pair .* use items=student_top or"):
        Scene(pair(quick, "BPR", "NeuMF"), model="CE", items="all")


def test_a_graph_propagates_once_a_step_for_all_items(quick, monkeypatch):
    from recbole.model.general_recommender import LightGCN

    scene = Scene(pair(quick, "LightGCN", "LightGCN"), model="CE", items="all")
    calls = []
    original = LightGCN.forward
    monkeypatch.setattr(LightGCN, "forward", lambda self: calls.append(self) or original(self))
    scene.gradients(STUDENT)
    assert calls == [scene.roles[STUDENT].model]


def test_a_resumed_method_draws_the_same_users(quick):
    first, second = (Scene(quick, model="CE", items="all", users_of_batch=5) for _ in range(2))
    batch = first.batch_of(STUDENT)
    first.method.loss(STUDENT, batch)
    state = first.method.sampling_state()
    expected = first.method.loss(STUDENT, batch)["distill"]
    different = second.method.loss(STUDENT, batch)["distill"]
    second.method.load_sampling_state(state)
    assert torch.equal(second.method.loss(STUDENT, batch)["distill"], expected)
    assert not torch.equal(different, expected)


def test_equal_seeds_train_equally_on_all_items(quick):
    scenes = [Scene({**quick, "distill_epochs": 2}, model="CE", items="all", users_of_batch=20) for _ in range(2)]
    for scene in scenes:
        scene.trained()
    assert equal_states(*(scene.states() for scene in scenes))
