"""What every distillation method keeps to, and what is BD's own. A new method in the table inherits the first part."""

import pytest
import torch
from recbole.utils import init_seed

from recbole_bd import losses
from recbole_bd.backbones import STUDENT, TEACHER
from recbole_bd.data import batch_stream, load_split
from recbole_bd.errors import ConfigError, RoleError
from recbole_bd.model import METHODS
from recbole_bd.roles import build_role
from tests.conftest import make_config


class Scene:
    """A method with its roles on the block data, and its first batches."""

    def __init__(self, settings, control=False, **more):
        self.config = make_config(settings, **more)
        self.split = load_split(self.config)
        self.roles = {}
        for name in self.config.backbones:
            init_seed(3, True)
            self.roles[name] = build_role(name, self.config.role(name), self.split.train)
            with torch.no_grad():  # scores of an untrained model are all but equal
                for parameter in self.roles[name].model.parameters():
                    parameter.mul_(10)
        configs = {name: role.config for name, role in self.roles.items()}
        self.method = self.config.method_class(self.config, self.split.train, self.roles, control=control)
        self.method.refresh(0)
        self.method.train()
        self.batches = list(batch_stream(configs, self.split, lambda role: self.roles[role].model))

    def batch_of(self, role):
        return next(batch for batch in self.batches if role in batch.roles)

    def gradients(self, role) -> dict[str, float]:
        """Size of every role's gradient after the loss of one role went backward."""
        self.method.zero_grad()
        with self.method.step():
            sum(self.method.loss(role, self.batch_of(role)).values()).backward()
        return {
            name: sum(float(p.grad.abs().sum()) for p in other.model.parameters() if p.grad is not None)
            for name, other in self.roles.items()
        }


PAIRS = [
    ("BPR", "BPR"),
    ("LightGCN", "BPR"),
    ("CDAE", "BPR"),
    ("NeuMF", "BPR"),
    ("MultiVAE", "LightGCN"),
    ("BPR", "CDAE"),
]


def pair(quick, teacher, student) -> dict:
    settings = {key: value for key, value in quick.items() if "." not in key}
    return {**settings, "teacher_model": teacher, "student_model": student}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("models", PAIRS, ids="-".join)
def test_each_learner_gets_a_finite_loss_and_the_other_role_no_gradient(method, models, quick):
    scene = Scene(pair(quick, *models), model=method)
    for role in scene.method.learners:
        parts = scene.method.loss(role, scene.batch_of(role))
        assert "cf" in parts
        assert len(parts) > 1, "the method adds nothing to the model's own loss"
        assert all(part.ndim == 0 and torch.isfinite(part) for part in parts.values())
        sizes = scene.gradients(role)
        assert sizes.pop(role) > 0
        assert sum(sizes.values()) == 0


@pytest.mark.parametrize("method", METHODS)
def test_the_control_is_the_models_own_loss(method, quick):
    scene = Scene(quick, control=True, model=method)
    for role in scene.method.learners:
        batch = scene.batch_of(role)
        parts = scene.method.loss(role, batch)
        assert list(parts) == ["cf"]
        assert torch.equal(parts["cf"], scene.roles[role].model.calculate_loss(batch.interaction))
    assert not scene.method.refresh(0)


@pytest.mark.parametrize("method", METHODS)
def test_as_a_recbole_model_it_recommends_as_its_student(method, quick):
    scene = Scene(quick, model=method)
    scene.method.eval()
    batch = scene.batch_of(STUDENT).interaction
    student = scene.roles[STUDENT].model
    assert torch.equal(scene.method.predict(batch), student.predict(batch))
    assert torch.equal(scene.method.full_sort_predict(batch), student.full_sort_predict(batch))
    loss = scene.method.calculate_loss(batch)
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    names = {name.split(".")[0] for name, _ in scene.method.named_parameters()}
    assert names == {TEACHER, STUDENT}


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_learn_is_refused_before_anything_is_loaded(method):
    roles = dict.fromkeys((TEACHER, STUDENT), "BPR")
    for learner in METHODS[method].learners:
        with pytest.raises(RoleError, match="ItemKNN has no parameters"):
            METHODS[method].check_roles({**roles, learner: "ItemKNN"})


# --- BD -------------------------------------------------------------------------------------------------------------
def test_the_loss_is_the_papers(quick):
    """L_role = L_CF + lambda * BCE(z_role, sigmoid(z_other / tau)) on the drawn items."""
    scene = Scene(quick, **{"lambda_teacher_to_student": 0.3, "lambda_student_to_teacher": 0.7, "temperature": 2.0})
    for role, weight in ((STUDENT, 0.3), (TEACHER, 0.7)):
        batch = scene.batch_of(role)
        state = scene.method.sampler.generator.get_state()
        parts = scene.method.loss(role, batch)
        scene.method.sampler.generator.set_state(state)
        items = scene.method.sampler.sample(role, batch.users, 1)
        own, other = scene.roles[role].model, scene.method.other(role).model
        z, target = (
            (model.user_embedding(batch.users) * model.item_embedding(items[:, 0])).sum(1, keepdim=True)
            for model in (own, other)
        )
        assert torch.allclose(parts["cf"], own.calculate_loss(batch.interaction))
        assert torch.allclose(parts["distill"], weight * losses.pointwise_exchange(z, target, 2.0), rtol=1e-5)


def test_listwise_puts_the_batchs_positive_first(quick, monkeypatch):
    seen = {}

    def spy(logits, targets, temperature, temperature_on):
        seen["logits"] = logits
        return logits.sum()

    monkeypatch.setattr(losses, "listwise_exchange", spy)
    scene = Scene(quick, exchange="listwise", samples_per_positive=3)
    batch = scene.batch_of(STUDENT)
    scene.method.loss(STUDENT, batch)
    model = scene.roles[STUDENT].model
    positive = (model.user_embedding(batch.users) * model.item_embedding(batch.positives)).sum(1)
    assert seen["logits"].shape == (len(batch.users), 4)
    assert torch.allclose(seen["logits"][:, 0], positive)


@pytest.mark.parametrize(("directions", "taught"), [("teacher_to_student", STUDENT), ("student_to_teacher", TEACHER)])
def test_one_direction_leaves_the_other_role_to_its_own_loss(directions, taught, quick):
    scene = Scene(quick, directions=directions)
    for role in (TEACHER, STUDENT):
        assert ("distill" in scene.method.loss(role, scene.batch_of(role))) == (role == taught)
    assert list(scene.method.sampler.pools) == [taught]


@pytest.mark.parametrize("exchange", ["pointwise", "listwise"])
def test_users_without_training_items_exchange_nothing(exchange, quick, tmp_path, monkeypatch):
    from tests.conftest import block_pairs, write_inter

    for part, rows in {"train": block_pairs(), "valid": [("u0", "i47"), ("new", "i3")], "test": [("u1", "i0")]}.items():
        write_inter(tmp_path, "late", rows, part)
    settings = {**pair(quick, "CDAE", "CDAE"), "dataset": "late", "data_path": str(tmp_path)}
    scene = Scene(settings, benchmark_filename=["train", "valid", "test"], exchange=exchange)
    (batch,) = scene.batches
    late = int(scene.split.dataset.token2id("user_id", "new"))
    assert late in batch.users
    asked = []
    original = scene.roles[STUDENT].pair_logits
    monkeypatch.setattr(scene.roles[STUDENT], "pair_logits", lambda u, i: asked.append((u, i)) or original(u, i))
    parts = scene.method.loss(STUDENT, batch)
    assert torch.isfinite(parts["distill"])
    ((users, items),) = asked
    assert sorted(users.tolist()) == sorted(set(batch.users.tolist()) - {late})
    if exchange == "listwise":
        train = set(zip(*(ids.tolist() for ids in scene.split.pairs("train")), strict=True))
        assert set(zip(users.tolist(), items[:, 0].tolist(), strict=True)) <= train


def test_samples_are_drawn_anew_every_period_only(quick):
    scene = Scene(quick, refresh_period=3, distill_epochs=9)
    pools = []
    for epoch in range(1, 7):
        due = scene.method.refresh(epoch)
        assert due == (epoch % 3 == 0)
        pools.append(scene.method.sampler.pools[STUDENT].clone())
    assert torch.equal(pools[0], pools[1])
    assert not torch.equal(pools[1], pools[2])


def test_the_linear_schedule_reaches_the_full_weight(quick):
    scene = Scene(
        quick, lambda_schedule="linear", lambda_warmup_epochs=4, lambda_teacher_to_student=0.8, refresh_period=99
    )
    found = []
    for epoch in range(6):
        scene.method.refresh(epoch)
        found.append(scene.method.weight[STUDENT])
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_distilled_negatives_replace_the_sampled_ones(quick):
    scene = Scene(quick, cf_negatives="distilled")
    batch = scene.batch_of(STUDENT)
    before = batch.interaction["neg_item_id"].clone()
    state = scene.method.sampler.generator.get_state()
    cf = scene.method.loss(STUDENT, batch)["cf"]
    scene.method.sampler.generator.set_state(state)
    items = scene.method.sampler.sample(STUDENT, batch.users, 1)[:, 0]
    model = scene.roles[STUDENT].model
    user = model.user_embedding(batch.users)
    score = [(user * model.item_embedding(ids)).sum(1) for ids in (batch.positives, items)]
    assert torch.allclose(cf, -torch.log(1e-10 + torch.sigmoid(score[0] - score[1])).mean())
    assert torch.equal(batch.interaction["neg_item_id"], before)  # the teacher's negatives are its own


def test_distilled_negatives_need_pairwise_models(quick):
    with pytest.raises(ConfigError, match=r"the teacher NeuMF is not: use cf_negatives=sampled"):
        Scene(pair(quick, "NeuMF", "BPR"), cf_negatives="distilled")


def test_a_graph_model_propagates_once_a_step(quick, monkeypatch):
    from recbole.model.general_recommender import LightGCN

    scene = Scene(pair(quick, "LightGCN", "BPR"))
    calls = []
    original = LightGCN.forward
    monkeypatch.setattr(LightGCN, "forward", lambda self: calls.append(1) or original(self))
    batch = scene.batches[0]
    assert batch.roles == (TEACHER, STUDENT)
    with scene.method.step():
        total = sum(part for role in batch.roles for part in scene.method.loss(role, batch).values())
        total.backward()
    assert len(calls) == 1
