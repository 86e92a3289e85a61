"""DE: its loss written out, and the items it takes."""

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import RoleError
from recbole_bd.model import METHODS
from recbole_bd.model.de import Experts
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from tests.helpers.rankings import vectors
from tests.helpers.references import follows, generator, own_items
from tests.helpers.scenes import Scene, pair


def test_experts_are_the_networks_one_by_one():
    experts = Experts(3, 7, 4, generator())
    student, teacher = torch.randn(5, 3, generator=generator(1)), torch.randn(5, 7, generator=generator(2))
    found = experts(student, teacher, 0.8, generator(3))
    share = experts.shares(teacher, 0.8, generator(3))
    expected = torch.zeros(5, 7)
    for m in range(4):
        hidden = torch.relu(student @ experts.first[:, m] + experts.first_bias[m])
        expected += share[:, m : m + 1] * (hidden @ experts.second[m] + experts.second_bias[m])
    assert experts.first.shape == (3, 4, 5)  # (3 + 7) / 2 hidden units
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("student", "teacher", "hidden"), [(3, 7, 5), (7, 3, 5), (8, 8, 4), (1, 1, 1)])
def test_the_middle_layer_is_narrower_than_equal_widths(student, teacher, hidden):
    assert Experts(student, teacher, 2, generator()).first.shape == (student, 2, hidden)


def test_a_cold_selection_takes_one_expert_by_its_probability():
    experts = Experts(3, 7, 4, generator())
    with torch.no_grad():
        experts.selection.mul_(3)
    one = torch.randn(1, 7, generator=generator(2))
    shares = experts.shares(one.repeat(20000, 1), 1e-10, generator(3))
    assert torch.equal(shares.amax(dim=1), torch.ones(20000))
    alpha = torch.softmax(one @ experts.selection + experts.selection_bias, dim=1)[0]
    expected = alpha.detach().double().numpy()
    assert follows(shares.sum(dim=0).detach().numpy(), 20000 * expected / expected.sum())
    warm = experts.shares(one.repeat(5, 1), 1e6, generator(3))
    assert torch.allclose(warm, torch.full((5, 4), 0.25), atol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.05, 1e-3, 1e-10])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_rows_of_one_expert_are_what_all_experts_mixed_give(temperature, count):
    """Values and gradients; cold selections leave most rows to one expert, and some experts without rows."""
    experts = Experts(3, 7, count, generator(1))
    values = torch.randn(40, 10, generator=generator(2))
    teacher = values[:, 3:]
    found = []
    for way in ("forward", "mixed"):
        student = values[:, :3].clone().requires_grad_()
        experts.zero_grad()
        if way == "forward":
            restored = experts(student, teacher, temperature, generator(3))
        else:
            restored = experts._mixed(student, experts.shares(teacher, temperature, generator(3)))
        (restored - teacher).square().sum().backward()
        found.append([restored.detach(), student.grad, *(parameter.grad for parameter in experts.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, torch.zeros_like(one) if other is None else other, rtol=1e-4, atol=1e-4)


def test_de_is_its_equation(quick):
    scene = Scene(quick, model="DE", lambda_teacher_to_student=0.3, experts=3)
    batch = scene.batch_of(STUDENT)
    state = scene.method.generator.get_state()
    parts = scene.method.loss(STUDENT, batch)
    scene.method.generator.set_state(state)
    terms = []
    for side, ids in ((0, batch.users), (1, batch.positives), (1, batch.interaction["neg_item_id"])):
        ids = ids.unique()
        own, target = (vectors(scene, role)[side][ids].float() for role in (STUDENT, TEACHER))
        experts = scene.method.item_experts if side else scene.method.user_experts
        terms.append(((experts(own, target, 1.0, scene.method.generator) - target) ** 2).sum() / len(ids))
    assert own.shape[1] != target.shape[1]
    expected = 0.3 * (terms[0] + (terms[1] + terms[2]) / 2)
    assert float(parts["distill"]) == pytest.approx(float(expected), rel=1e-5)


def test_de_takes_the_loaders_items_or_draws_its_own(quick):
    for student in ("BPR", "DMF", "ENMF"):
        scene = Scene(pair(quick, "BPR", student), model="DE")
        batch = scene.batch_of(STUDENT)
        assert torch.isfinite(scene.method.loss(STUDENT, batch)["distill"])
        positives, negatives = scene.method.items_of(batch.users, batch)
        if student == "BPR":
            expected = batch.interaction["item_id"], batch.interaction["neg_item_id"]
        elif student == "DMF":  # pointwise: negatives are rows of their own
            items, label = batch.interaction["item_id"], batch.interaction["label"]
            expected = items[label == 1], items[label == 0]
        else:  # users only
            assert batch.positives is None
            known = [own_items(scene.method.seen, user) for user in batch.users.tolist()]
            assert set(positives.tolist()) <= set.union(*known)
            one = scene.method.items_of(torch.full((500,), 3), batch)
            assert set(one[0].tolist()) == own_items(scene.method.seen, 3)
            assert set(one[1].tolist()) == set(range(1, scene.split.n_items)) - own_items(scene.method.seen, 3)
            continue
        assert torch.equal(positives, expected[0].unique())
        assert torch.equal(negatives, expected[1].unique())


def test_the_selection_cools_geometrically(quick):
    scene = Scene(quick, model="DE", temperature_start=2.0, temperature_end=0.02, annealing_epochs=4)
    found = []
    for epoch in range(6):
        scene.method.refresh(epoch)
        found.append(scene.method.temperature)
    assert found == pytest.approx([2.0, 2.0 * 10**-0.5, 0.2, 0.02 * 10**0.5, 0.02, 0.02])
    scene = Scene(quick, model="DE", distill_epochs=10)
    scene.method.refresh(5)
    assert scene.method.temperature == pytest.approx(1e-5)


def test_experts_learn_with_the_students_settings_and_stay_out_of_its_state(quick):
    scene = Scene(quick, model="DE", **{"student.distill_learning_rate": 0.03, "student.weight_decay": 0.25})
    experts = scene.method.parameters_beside(STUDENT)
    before = [parameter.detach().clone() for parameter in experts]
    assert len(experts) == 12
    trainer = BDTrainer(scene.config, scene.method, Journal())
    (group,) = trainer.trainers[STUDENT].optimizer.param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in [*scene.roles[STUDENT].model.parameters(), *experts]}
    assert (group["lr"], group["weight_decay"]) == (0.03, 0.25)
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert not any(torch.equal(old, new) for old, new in zip(before, experts, strict=True))
    assert set(trainer.best[STUDENT].state) == {"user_embedding.weight", "item_embedding.weight"}
    control = Scene(quick, model="DE", control=True)
    assert control.method.parameters_beside(STUDENT) == []
    assert [name for name, _ in control.method.named_parameters() if "experts" in name] == []


@pytest.mark.parametrize("method", ["DE", "FTD", "HTD"])
def test_methods_of_embeddings_need_them_in_both_roles(method):
    for role, name in ((TEACHER, "ItemKNN"), (TEACHER, "NeuMF"), (STUDENT, "CDAE"), (STUDENT, "NeuMF")):
        message = rf"{role}: {name} has no embeddings of users and items, which {method} needs .* use RD or RRD"
        with pytest.raises(RoleError, match=message):
            METHODS[method].check_roles({TEACHER: "BPR", STUDENT: "BPR", role: name})
    with pytest.raises(RoleError, match=r"teacher: CORE has no embeddings .* Choose e\.g\. SASRec or GRU4Rec"):
        METHODS[method].check_roles({TEACHER: "CORE", STUDENT: "SASRec"})
