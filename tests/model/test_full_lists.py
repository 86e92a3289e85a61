"""Cross-entropy over all unseen items, of every family of models, against the equation."""

import math

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import DataError
from recbole_bd.model import full_lists
from recbole_bd.model.full_lists import (
    can_learn_full_lists,
    constant_rows,
    full_list_cross_entropy,
    some_units,
)
from tests.helpers.references import LargestTensor, generator, own_items
from tests.helpers.scenes import Scene, pair

USERS = torch.tensor([7, 2, 31, 5, 9])


def by_hand(logits, targets, known, temperature):
    total = 0.0
    for user, (row, other) in enumerate(zip(logits, targets, strict=True)):
        left = [item for item in range(1, len(row)) if item not in known[user]]
        own, shares = ([math.exp(z[item] / temperature) for item in left] for z in (row, other))
        total -= sum(q / sum(shares) * math.log(p / sum(own)) for p, q in zip(own, shares, strict=True))
    return total / len(logits)


def gradients(role) -> list[torch.Tensor]:
    found = [p.grad.clone() for p in role.model.parameters() if p.grad is not None]
    role.model.zero_grad()
    return found


@pytest.mark.parametrize("student", ["BPR", "LightGCN", "DMF", "SimpleX", "CDAE", "MultiVAE"])
@pytest.mark.parametrize("users_at_once", [2, 99])
def test_each_family_has_the_value_and_the_gradient_of_the_equation(student, users_at_once, quick, monkeypatch):
    monkeypatch.setattr(full_lists, "users_at_once", lambda *given: users_at_once)
    monkeypatch.setattr(full_lists, "_LARGER_FOR_ROWS", 1)
    scene = Scene(pair(quick, "EASE", student), model="CE")
    teacher, role, seen = scene.roles[TEACHER], scene.roles[STUDENT], scene.method.seen
    for module in role.model.modules():
        module.training = False  # without dropout and noise; their gradients remain
    targets = teacher.all_logits(USERS).detach()
    with role.step():
        value = full_list_cross_entropy(role, USERS, lambda part: targets[part].clone(), seen, 2.0)
        value.backward()
    found = gradients(role)
    logits = role.all_logits(USERS)
    known = [set(own_items(seen, user)) for user in USERS.tolist()]
    assert float(value) == pytest.approx(by_hand(logits.tolist(), targets.tolist(), known, 2.0), rel=1e-5)
    gone = seen.of(USERS)
    masked = [z.index_put(gone, torch.tensor(-1e9)) / 2.0 for z in (logits, targets)]
    terms = torch.softmax(masked[1], dim=1) * torch.log_softmax(masked[0], dim=1)
    (-terms.sum() / len(USERS)).backward()
    expected = gradients(role)
    assert len(found) == len(expected) > 0
    for own, other in zip(found, expected, strict=True):
        assert torch.allclose(own, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_a_parameter_without_part_in_the_scores_gets_no_gradient(quick):
    scene = Scene(pair(quick, "BPR", "CDAE"), model="CE")
    role = scene.roles[STUDENT]
    role.model.beside = torch.nn.Parameter(torch.ones(3))
    targets = torch.zeros(len(USERS), role.n_items)
    full_list_cross_entropy(role, USERS, lambda part: targets[part], scene.method.seen).backward()
    assert role.model.beside.grad is None
    assert role.model.out_layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("student", ["BPR", "CDAE"])
def test_descent_raises_what_the_teacher_has_above_the_student_and_nothing_seen(student, quick):
    scene = Scene(pair(quick, "BPR", student), model="CE")
    role, seen = scene.roles[STUDENT], scene.method.seen
    user, (first, second) = 3, [item for item in range(1, 48) if item not in own_items(scene.method.seen, 3)][:2]
    targets = torch.zeros(1, role.n_items)
    targets[0, first] = 9.0
    optimizer = torch.optim.SGD(role.model.parameters(), lr=0.01)
    role.model.eval()
    before = role.all_logits(torch.tensor([user])).detach()
    full_list_cross_entropy(role, torch.tensor([user]), lambda part: targets[part].clone(), seen).backward()
    optimizer.step()
    after = role.all_logits(torch.tensor([user])).detach()
    ahead = [(z[0, first] - z[0, second]).item() for z in (before, after)]
    assert ahead[1] > ahead[0]


def test_no_array_is_larger_than_a_block(quick, monkeypatch):
    monkeypatch.setattr(full_lists, "users_at_once", lambda *given: 4)
    monkeypatch.setattr(full_lists, "_LARGER_FOR_ROWS", 2)
    for student in ("BPR", "CDAE"):
        scene = Scene(pair(quick, "BPR", student), model="CE", items="all", embedding_size=4)
        batch, n_items = scene.batch_of(STUDENT), scene.split.n_items
        users = torch.arange(1, scene.split.n_users)
        with LargestTensor() as largest:
            scene.method.transfer(users, batch).backward()
        parameters = max(one.numel() for one in scene.roles[STUDENT].model.parameters())
        assert largest.size <= max(8 * n_items, parameters, scene.roles[TEACHER].model.user_embedding.weight.numel())
        assert largest.size < len(users) * n_items / 2, student


def test_a_target_that_is_no_number_is_named(quick):
    scene = Scene(quick, model="CE")
    targets = torch.full((len(USERS), scene.split.n_items), torch.nan)
    with pytest.raises(DataError, match="the other: a score is not a number"):
        full_list_cross_entropy(
            scene.roles[STUDENT], USERS, lambda part: targets[part], scene.method.seen, whose="the other"
        )


def test_pair_networks_cannot_learn_whole_lists(quick):
    for student, can in (("BPR", True), ("CDAE", True), ("NeuMF", False)):
        assert can_learn_full_lists(type(Scene(pair(quick, "BPR", student), model="CE").roles[STUDENT].model)) is can


def test_some_units_are_drawn_evenly():
    users, draws = torch.tensor([2, 4, 6, 8, 10]), generator()
    drawn = torch.cat([some_units(users, 3, draws) for _ in range(2000)])
    assert [int((drawn == user).sum()) for user in users] == pytest.approx([1200] * 5, abs=120)
    assert some_units(users[:3], 3, draws).tolist() == [2, 4, 6]
    assert some_units(users, None, draws) is users


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "MultiVAE", "NeuMF"])
def test_constant_rows_are_scores_without_noise_or_gradient(model, quick):
    role = Scene(pair(quick, model, "BPR"), model="CE").roles[TEACHER]
    role.model.train()
    with role.scoring():
        expected = role.all_logits(USERS)
    rounding = 1e-5 * float(expected.abs().max())  # sums depend on how many rows are computed together
    for learning in (False, True):
        with role.step():
            rows = constant_rows(role, USERS, learning)
            assert not rows(slice(0, 2)).requires_grad
            assert torch.allclose(torch.cat([rows(slice(0, 2)), rows(slice(2, 9))]), expected, atol=rounding)
    assert role.model.training
