"""DML and KDCL: lists that both roles share, losses written out from the equations, and what the target may move."""

import math
from statistics import fmean, pstdev

import numpy as np
import pytest
import torch

from recbole_bd.backbones.names import PAIR, STUDENT, TEACHER
from recbole_bd.errors import ConfigError, RoleError
from recbole_bd.model.kdcl import rank_scores, standardised
from tests.helpers.rankings import ranking, score
from tests.helpers.references import follows, own_items
from tests.helpers.scenes import Scene, equal_states, pair

METHODS = ("DML", "KDCL")
SIZES = {"both_tops": {"top_items": 4}, "sampled": {"sampled_items": 6}, "all": {}}
WEIGHTS = {"lambda_teacher_to_student": 0.3, "lambda_student_to_teacher": 0.2}
LAMBDA = {STUDENT: 0.3, TEACHER: 0.2}
OTHER = {STUDENT: TEACHER, TEACHER: STUDENT}


def scene_of(quick, method, items, **more) -> Scene:
    return Scene(quick, model=method, items=items, **SIZES[items], **WEIGHTS, **more)


def softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(one) for one in scores]
    return [one / sum(powers) for one in powers]


def items_of(scene: Scene, items: str, user: int) -> list[int]:
    """The list of a user: the union of both tops by hand, what was drawn, or all unseen items."""
    if items == "all":
        return ranking(scene, STUDENT, user)
    listed = [item for item in scene.method.lists[user].tolist() if item]
    if items == "both_tops":
        assert set(listed) == {item for role in PAIR for item in ranking(scene, role, user)[:4]}
    assert len(listed) == len(set(listed))
    return listed


def target_by_hand(scene: Scene, method: str, learner: str, user: int, items: list[int], form: dict) -> list[float]:
    logits = {role: [score(scene, role, user, item) for item in items] for role in PAIR}
    if method == "DML":
        return softmax([one / form["temperature"] for one in logits[OTHER[learner]]])
    total = [0.0] * len(items)
    for role, share in ((TEACHER, form["teacher_weight"]), (STUDENT, 1 - form["teacher_weight"])):
        own = logits[role]
        if form["scores"] == "ranks":
            scores = [math.exp(-(1 + sum(other > one for other in own)) / form["rank_temperature"]) for one in own]
        else:
            scores = [(one - fmean(own)) / pstdev(own) for one in own]
        total = [before + share * one for before, one in zip(total, scores, strict=True)]
    return softmax([one / form["temperature"] for one in total])


FORMS = [
    ("DML", {"temperature": 2.0}),
    ("KDCL", {"temperature": 0.4, "teacher_weight": 0.7, "scores": "standardised"}),
    ("KDCL", {"temperature": 0.4, "teacher_weight": 1.0, "scores": "standardised"}),
    ("KDCL", {"temperature": 0.2, "teacher_weight": 0.5, "scores": "ranks", "rank_temperature": 3.0}),
]


@pytest.mark.parametrize("items", SIZES)
@pytest.mark.parametrize(("method", "form"), FORMS)
def test_the_loss_of_both_roles_is_its_equation(method, form, items, quick):
    scene = scene_of(quick, method, items, **form)
    for role in PAIR:
        batch, total = scene.batch_of(role), 0.0
        users = sorted(set(batch.users.tolist()))
        assert len(users) < len(batch.users)
        for user in users:
            listed = items_of(scene, items, user)
            divisor = form["temperature"] if method == "DML" else 1.0
            own = softmax([score(scene, role, user, item) / divisor for item in listed])
            target = target_by_hand(scene, method, role, user, listed, form)
            total -= sum(q * math.log(p) for p, q in zip(own, target, strict=True))
        parts = scene.method.loss(role, batch)
        assert float(parts["distill"].detach()) == pytest.approx(LAMBDA[role] * total / len(users), rel=1e-4)


@pytest.mark.parametrize("items", SIZES)
@pytest.mark.parametrize("models", [("LightGCN", "BPR"), ("MultiVAE", "CDAE"), ("BPR", "DMF")], ids="-".join)
@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_is_that_of_the_divergence_and_reaches_the_learner_alone(method, models, items, quick):
    scene = Scene(pair(quick, *models), model=method, items=items, **SIZES[items], **WEIGHTS)
    for role in PAIR:
        assert scene.gradients(role)[role] > 0
        assert scene.gradients(role)[OTHER[role]] == 0


@pytest.mark.parametrize("items", SIZES)
def test_both_roles_agree_where_they_are_alike(items, quick):
    """With equal models the divergence is 0: the term has no gradient."""
    scene = Scene({**quick, "teacher.embedding_size": 2}, model="DML", items=items, **SIZES[items], **WEIGHTS)
    assert equal_states(*({k: t for k, t in role.model.state_dict().items()} for role in scene.roles.values()))
    for name, role in scene.roles.items():
        scene.method.transfer(name, scene.batch_of(name).users, scene.batch_of(name)).backward()
        assert all(float(one.grad.abs().max()) < 1e-5 for one in role.model.parameters())


def test_a_step_makes_the_student_more_like_the_teacher_and_the_teacher_like_the_student(quick):
    scene = scene_of(quick, "DML", "all")
    for role in PAIR:
        batch = scene.batch_of(role)
        before = scene.method.transfer(role, batch.users, batch)
        parameters = list(scene.roles[role].model.parameters())
        gradients = torch.autograd.grad(before, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.1 * gradient
        assert scene.method.transfer(role, batch.users, batch) < before


def test_uniform_lists_are_drawn_anew_and_evenly(quick):
    scene = scene_of(quick, "DML", "sampled")
    seen, user, rounds = scene.method.seen, 5, 2000
    counts = torch.zeros(scene.split.n_items)
    for epoch in range(rounds):
        assert scene.method.refresh(epoch)
        counts[scene.method.lists[user].long()] += 1
    left = [item for item in range(1, scene.split.n_items) if item not in own_items(seen, user)]
    assert counts.sum() == counts[left].sum() == 6 * rounds
    assert follows(counts[left].numpy(), np.full(len(left), 6 * rounds / len(left)))


def test_tops_follow_both_roles_every_refresh_period(quick):
    scene = scene_of(quick, "KDCL", "both_tops", refresh_period=2)
    before = scene.method.lists.clone()
    for role in PAIR:
        with torch.no_grad():
            scene.roles[role].model.user_embedding.weight.neg_()
    assert not scene.method.refresh(1)
    assert torch.equal(scene.method.lists, before)
    assert scene.method.refresh(2)
    assert set(scene.method.lists[7].tolist()) - {0} == {i for role in PAIR for i in ranking(scene, role, 7)[:4]}


def test_some_users_of_a_batch_learn_all_items(quick):
    scene = scene_of(quick, "DML", "all", users_of_batch=3)
    batch, asked = scene.batch_of(STUDENT), []
    scene.method.target = lambda role, logits, absent: asked.append(len(logits[TEACHER])) or logits[TEACHER]
    for _ in range(3):
        scene.method.loss(STUDENT, batch)
    assert asked == [3, 3, 3]


def test_the_placebo_learns_from_new_models(quick):
    plain = scene_of(quick, "KDCL", "both_tops")
    for method in METHODS:
        scene = scene_of(quick, method, "both_tops", taught_by="untrained")
        assert scene.method.untrained.keys() == set(PAIR)
        assert torch.equal(scene.method.lists, plain.method.lists)  # the roles themselves choose the items
        before = scene.method.transfer(STUDENT, scene.batch_of(STUDENT).users, scene.batch_of(STUDENT)).detach()
        with torch.no_grad():
            scene.roles[TEACHER].model.user_embedding.weight.neg_()
        after = scene.method.transfer(STUDENT, scene.batch_of(STUDENT).users, scene.batch_of(STUDENT)).detach()
        assert torch.equal(before, after)
    with pytest.raises(ConfigError, match="placebo=shuffled: the placebo of DML is untrained models; use placebo=auto"):
        plain.method.__class__.placebo_settings({"placebo": "shuffled", "model": "DML"})


def test_a_teacher_that_gives_the_target_alone_is_not_moved_by_the_student(quick):
    scene = scene_of(quick, "KDCL", "all", teacher_weight=1.0)
    assert scene.method.sources(TEACHER) == scene.method.sources(STUDENT) == (TEACHER,)
    with torch.no_grad():
        before = scene.method.transfer(TEACHER, scene.batch_of(TEACHER).users, scene.batch_of(TEACHER))
        scene.roles[STUDENT].model.user_embedding.weight.neg_()
        after = scene.method.transfer(TEACHER, scene.batch_of(TEACHER).users, scene.batch_of(TEACHER))
    assert torch.equal(before, after)


@pytest.mark.parametrize("method", METHODS)
def test_pairwise_networks_cannot_learn_all_items(method, quick):
    settings = pair(quick, "BPR", "NeuMF")
    with pytest.raises(RoleError, match="items=all: NeuMF as the student scores one pair at a time; use items=both"):
        Scene(settings, model=method, items="all")
    Scene(settings, model=method, items="all", lambda_teacher_to_student=0.0)
    with pytest.raises(ConfigError, match="sampled_items=49: above the number of items, 48"):
        Scene(quick, model=method, items="sampled", sampled_items=49)


# --- scores of an ensemble --------------------------------------------------------------------------------------------
def test_standardised_scores_leave_absent_entries_out():
    logits = torch.tensor([[5.0, 1.0, 3.0, 99.0], [2.0, 2.0, 2.0, 2.0], [1.0, -99.0, -99.0, -99.0]])
    absent = (torch.tensor([0, 2, 2, 2]), torch.tensor([3, 1, 2, 3]))
    found = standardised(logits, absent)
    expected = [[math.sqrt(1.5), -math.sqrt(1.5), 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert np.allclose(found, expected, atol=1e-6)


def test_rank_scores_fall_by_rank_and_are_0_where_nothing_is():
    logits = torch.tensor([[0.5, -1.0, 3.0, 99.0]])
    found = rank_scores(logits, (torch.tensor([0]), torch.tensor([3])), 2.0)
    assert np.allclose(found, [[math.exp(-1), math.exp(-1.5), math.exp(-0.5), 0]])
    assert np.array_equal(logits, [[0.5, -1.0, 3.0, 99.0]])
    assert int((rank_scores(torch.arange(50.0).unsqueeze(0), (torch.tensor([]).long(),) * 2, 1.0) > 0).sum()) == 10


# --- they teach -------------------------------------------------------------------------------------------------------
