"""FTD and HTD: their losses written out on a batch, their groups, and what their optimizers train."""

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.model.htd import groups_of
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from tests.helpers.rankings import vectors
from tests.helpers.scenes import Scene, pair


def of_batch(scene: Scene, batch) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Ids of the users and items of a batch, once each, and both roles' vectors of them in float64."""
    ids = sorted(set(batch.users.tolist())), sorted({*batch.positives.tolist(), *batch.negatives.tolist()})
    users, items = (torch.tensor(some) for some in ids)
    found = [[table[some] for table, some in zip(vectors(scene, role), (users, items), strict=True)] for role in
             (STUDENT, TEACHER)]  # fmt: skip
    return users, items, found


def unit(some: torch.Tensor) -> torch.Tensor:
    return some / some.norm(dim=1, keepdim=True)


def test_ftd_is_its_equation(quick):
    scene = Scene(quick, model="FTD", lambda_teacher_to_student=0.3)
    batch = scene.batch_of(STUDENT)
    _, _, (own, target) = of_batch(scene, batch)
    own, target = unit(torch.cat(own)), unit(torch.cat(target))
    assert own.shape[1] != target.shape[1]
    expected = 0.3 * ((own @ own.T - target @ target.T) ** 2).mean()
    found = scene.method.loss(STUDENT, batch)["distill"]
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_htd_is_its_equation(quick):
    scene = Scene(quick, model="HTD", lambda_teacher_to_student=0.3, topology_share=0.8, experts=3)
    method, batch = scene.method, scene.batch_of(STUDENT)
    state = method.generator.get_state()
    found = method.loss(STUDENT, batch)["distill"]
    method.generator.set_state(state)
    users, items, (own, target) = of_batch(scene, batch)
    groups, distance = [], 0.0
    for number, experts in enumerate((method.user_experts, method.item_experts)):
        chances = torch.softmax(target[number] @ experts.selection.double() + experts.selection_bias.double(), dim=1)
        groups.append(chances.argmax(dim=1) + 100 * number)
        restored = experts(own[number].float(), target[number].float(), 1.0, method.generator)
        distance += float((restored - target[number].float()).square().sum())
    groups = torch.cat(groups)
    kinds = groups.unique()
    assert len(kinds) > 3
    one_hot = (groups.unsqueeze(1) == kinds).double()
    own, target = torch.cat(own), torch.cat(target)
    angles = unit(own) @ unit(own).T, unit(target) @ unit(target).T
    pairs = (one_hot @ one_hot.T > 0) & (angles[1] > 0)
    centres = [unit(one_hot.T @ some / one_hot.sum(0).unsqueeze(1)) @ unit(some).T for some in (own, target)]
    total = ((angles[0] - angles[1])[pairs] ** 2).sum() + ((centres[0] - centres[1]) ** 2).sum()
    topology = total / (pairs.sum() + centres[0].numel())
    assignment = distance / (len(users) + len(items))
    assert float(found) == pytest.approx(float(0.3 * (0.8 * topology + 0.2 * assignment)), rel=1e-5)


def test_a_group_is_the_likeliest_expert_whatever_the_noise(quick):
    scene = Scene(quick, model="HTD", experts=3)
    experts, of_users = scene.method.user_experts, scene.method.users
    chances = experts.shares(of_users.repeat(400, 1), 1e-10, scene.method.generator)
    often = chances.view(400, len(of_users), 3).mean(dim=0)
    expected = torch.softmax(of_users @ experts.selection + experts.selection_bias, dim=1)
    clear = expected.sort(dim=1, descending=True).values
    clear = clear[:, 0] > clear[:, 1] + 0.2
    assert clear.sum() > 5
    assert torch.equal(groups_of(experts, of_users)[clear], often.argmax(dim=1)[clear])


def test_experts_of_htd_learn_beside_the_student_and_ftd_has_nothing_beside_it(quick):
    scene = Scene(quick, model="HTD", topology_share=0.5)
    beside = scene.method.parameters_beside(STUDENT)
    before = [parameter.detach().clone() for parameter in beside]
    trainer = BDTrainer(scene.config, scene.method, Journal())
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert len(beside) == 12
    assert not any(torch.equal(old, new) for old, new in zip(before, beside, strict=True))
    assert set(trainer.best[STUDENT].state) == {"user_embedding.weight", "item_embedding.weight"}
    assert Scene(quick, model="FTD").method.parameters_beside(STUDENT) == []


@pytest.mark.parametrize("method", ["FTD", "HTD"])
@pytest.mark.parametrize("student", ["DMF", "ENMF", "LightGCN"])
def test_any_pair_with_embeddings(method, student, quick):
    scene = Scene(pair(quick, "LightGCN", student), model=method)
    size = scene.gradients(STUDENT)
    assert size[STUDENT] > 0
    assert size[TEACHER] == 0
    assert torch.isfinite(scene.method.loss(STUDENT, scene.batch_of(STUDENT))["distill"])
