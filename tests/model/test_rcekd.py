"""RCE-KD: its loss written out, its draw by frequencies, and both definitions of the overlap."""

import math

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import ConfigError
from tests.helpers.rankings import ranking, score
from tests.helpers.references import follows
from tests.helpers.scenes import Scene

OPTIONS = {"top_items": 6, "sampled_items": 5, "sampled_from": 12, "temperature": 2.0, "overlap_sharpness": 3.0}


def cross_entropy(scene, user, items) -> float:
    own, other = ([math.exp(score(scene, r, user, i) / 2.0) for i in items] for r in (STUDENT, TEACHER))
    return -sum(q / sum(other) * math.log(p / sum(own)) for p, q in zip(own, other, strict=True))


@pytest.mark.parametrize("overlap", ["sampled", "student_top"])
def test_rcekd_is_its_equation_once_per_user(overlap, quick):
    scene = Scene(quick, model="RCEKD", overlap=overlap, lambda_teacher_to_student=0.3, **OPTIONS)
    batch, total, shares = scene.batch_of(STUDENT), 0.0, set()
    users = sorted(set(batch.users.tolist()))
    assert len(users) < len(batch.users)
    for user in users:
        order, of_teacher = ranking(scene, STUDENT, user), ranking(scene, TEACHER, user)[:6]
        own, drawn, rest = (part.tolist() for part in scene.method.items[user].split([6, 5, 6]))
        assert own == order[:6]
        assert len(set(drawn)) == 5
        assert set(drawn) <= set(order[:12])
        left = [item for item in of_teacher if item not in drawn and item not in own]
        assert [item for item in rest if item] == left
        common = set(of_teacher) & set(drawn if overlap == "sampled" else own)
        share = math.exp(-3.0 * len(common) / 6)
        shares.add(share)
        total += (1 - share) * cross_entropy(scene, user, own) + share * cross_entropy(scene, user, drawn + left)
    assert len(shares) > 1
    parts = scene.method.loss(STUDENT, batch)
    assert float(parts["distill"].detach()) == pytest.approx(0.3 * total / len(users), rel=1e-5)


def test_the_draw_prefers_what_stands_above_the_teachers_items(quick):
    """Drawing one item has p(rank r) proportional to exp((c_r + 1) / T)."""
    scene = Scene(quick, model="RCEKD", draw_temperature=1.5, **{**OPTIONS, "sampled_items": 1})
    own = torch.tensor([[3, 9, 4, 7, 5, 0]]).repeat(20000, 1)
    teacher = torch.tensor([[7, 9, 8]]).repeat(20000, 1)
    drawn = scene.method._drawn(own, teacher)
    below = [sum(item in (7, 9, 8) for item in [3, 9, 4, 7, 5][place:]) for place in range(5)]
    assert below == [2, 2, 1, 1, 0]
    weights = [math.exp((count + 1) / 1.5) for count in below]
    found = [int((drawn == item).sum()) for item in (3, 9, 4, 7, 5)]
    assert follows(found, [20000 * weight / sum(weights) for weight in weights])


def test_the_count_of_the_teachers_items_ends_at_fifty(quick):
    scene = Scene(quick, model="RCEKD", draw_temperature=5.0, **{**OPTIONS, "sampled_items": 1})
    items = torch.arange(1, 71).repeat(20000, 1)  # all 70 are the teacher's: ranks 1 to 21 have 50 or more below
    drawn = scene.method._drawn(items, items).flatten()
    weights = [math.exp((min(70 - place, 50) + 1) / 5.0) for place in range(70)]
    head = [weight / sum(weights) * 20000 for weight in weights[:40]]
    found = [int((drawn == item).sum()) for item in range(1, 41)]
    assert follows([*found, 20000 - sum(found)], [*head, 20000 - sum(head)])


def test_items_are_drawn_anew_every_period_and_the_teachers_list_stays(quick):
    for period in (1, 2):
        scene = Scene(quick, model="RCEKD", refresh_period=period, **OPTIONS)
        items, lists = scene.method.items.clone(), scene.method.teacher_lists.clone()
        assert scene.method.refresh(1) == (period == 1)
        assert torch.equal(items, scene.method.items) == (period == 2)
        assert scene.method.refresh(2)
        assert not torch.equal(items, scene.method.items)
        assert torch.equal(lists, scene.method.teacher_lists)


def test_full_agreement_leaves_the_students_own_list_alone(quick):
    """With the teacher's list in the student's, sharply, only the student's own top counts."""
    scene = Scene(quick, model="RCEKD", overlap="student_top", **{**OPTIONS, "overlap_sharpness": 1e6})
    with torch.no_grad():
        for name in ("user_embedding", "item_embedding"):
            table = getattr(scene.roles[STUDENT].model, name).weight
            table.copy_(getattr(scene.roles[TEACHER].model, name).weight[:, : table.shape[1]])
        for name in ("user_embedding", "item_embedding"):
            getattr(scene.roles[TEACHER].model, name).weight[:, 2:] = 0
    method = scene.method
    method.teacher_lists = method.teacher_targets = None
    method.refresh(0)
    users = torch.arange(1, scene.split.n_users)
    assert method.overlap[users].tolist() == [1.0] * len(users)
    batch = scene.batch_of(STUDENT)
    found = float(method.transfer(batch.users, batch).detach())
    distinct = sorted(set(batch.users.tolist()))
    expected = sum(cross_entropy(scene, user, ranking(scene, STUDENT, user)[:6]) for user in distinct) / len(distinct)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("option", ["top_items", "sampled_items"])
def test_more_than_the_students_list_is_refused(option, quick):
    with pytest.raises(ConfigError, match=f"{option}=13: above sampled_from=12, the length of the student's list"):
        Scene(quick, model="RCEKD", **{**OPTIONS, option: 13})
