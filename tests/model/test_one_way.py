"""RD, CD, DE and RRD: their losses written out, what they draw, what a run of them leaves, and that they teach."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.model.general_recommender import LightGCN

from recbole_bd import load_data_and_model, run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import RoleError
from recbole_bd.model import METHODS
from recbole_bd.model.de import Experts
from recbole_bd.runs import plots, summary
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.references import follows, generator, own_items, sigmoid
from tests.helpers.scenes import Scene, pair
from tests.helpers.settings import for_method

ONE_WAY = [name for name, method in METHODS.items() if method.learners == (STUDENT,)]


def vectors(scene: Scene, role: str) -> tuple[torch.Tensor, torch.Tensor]:
    model = scene.roles[role].model
    return model.user_embedding.weight.detach().double(), model.item_embedding.weight.detach().double()


def score(scene: Scene, role: str, user: int, item: int) -> float:
    users, items = vectors(scene, role)
    return float(users[user] @ items[item])


def ranking(scene: Scene, role: str, user: int) -> list[int]:
    """The unseen items of a user as a role ranks them, the best first."""
    known = own_items(scene.method.seen, user)
    left = [item for item in range(1, scene.split.n_items) if item not in known]
    return sorted(left, key=lambda item: -score(scene, role, user, item))


# --- RD ---------------------------------------------------------------------------------------------------------------
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


# --- CD ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("guide", [STUDENT, TEACHER])
def test_cd_draws_by_rank_of_its_guide_and_takes_the_teachers_soft_labels(guide, quick, monkeypatch):
    options = {"rank_temperature": 3.0, "temperature": 2.0, "shift": -0.5, "lambda_teacher_to_student": 0.3}
    scene = Scene(quick, model="CD", guide=guide, samples_per_positive=7, **options)
    seen = {}
    original = scene.method.learner.pair_logits
    monkeypatch.setattr(scene.method.learner, "pair_logits", lambda u, i: seen.update(u=u, i=i) or original(u, i))
    batch = scene.batch_of(STUDENT)
    parts = scene.method.loss(STUDENT, batch)
    assert seen["i"].shape == (len(batch.users), 7)
    total = 0.0
    for user, items in zip(seen["u"].tolist(), seen["i"].tolist(), strict=True):
        for item in items:
            q = sigmoid((score(scene, TEACHER, user, item) - 0.5) / 2.0)
            p = sigmoid(score(scene, STUDENT, user, item))
            total -= q * math.log(p) + (1 - q) * math.log(1 - p)
    assert float(parts["distill"]) == pytest.approx(0.3 * total / seen["i"].numel(), rel=1e-5)

    scene.method.transfer(torch.full((3000,), 5), batch)
    order = ranking(scene, guide, 5)
    counts = np.bincount(seen["i"].flatten().numpy(), minlength=scene.split.n_items)
    weight = np.exp(-np.arange(1, 31) / 3.0)  # of the head, beyond which one draw in 20,000 would be
    assert counts.sum() == counts[order[:30]].sum() == 21000
    assert follows(counts[order[:30]], 21000 * weight / weight.sum())


def test_cd_ranks_anew_only_what_moves(quick):
    for guide, period, due in ((STUDENT, 1, [1, 2, 3, 4]), (STUDENT, 2, [2, 4]), (TEACHER, 1, [])):
        scene = Scene(quick, model="CD", guide=guide, refresh_period=period)
        lists = scene.method.lists.clone()
        assert [epoch for epoch in range(1, 5) if scene.method.refresh(epoch)] == due
        with torch.no_grad():
            scene.roles[STUDENT].model.user_embedding.weight.neg_()
        scene.method.refresh(6)
        assert torch.equal(lists, scene.method.lists) == (guide == TEACHER)


# --- RRD --------------------------------------------------------------------------------------------------------------
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


# --- DE ---------------------------------------------------------------------------------------------------------------
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
        positives, negatives = scene.method._items(batch.users, batch)
        if student == "BPR":
            expected = batch.interaction["item_id"], batch.interaction["neg_item_id"]
        elif student == "DMF":  # pointwise: negatives are rows of their own
            items, label = batch.interaction["item_id"], batch.interaction["label"]
            expected = items[label == 1], items[label == 0]
        else:  # users only
            assert batch.positives is None
            known = [own_items(scene.method.seen, user) for user in batch.users.tolist()]
            assert set(positives.tolist()) <= set.union(*known)
            one = scene.method._items(torch.full((500,), 3), batch)
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


def test_de_needs_embeddings_of_both_roles():
    for role, name in ((TEACHER, "ItemKNN"), (TEACHER, "NeuMF"), (STUDENT, "CDAE"), (STUDENT, "NeuMF")):
        with pytest.raises(RoleError, match=rf"{role}: {name} has no embeddings .* use RD, CD or RRD"):
            METHODS["DE"].check_roles({TEACHER: "BPR", STUDENT: "BPR", role: name})


# --- runs -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ONE_WAY)
def test_a_run_has_all_arms_of_the_student_and_one_of_the_frozen_teacher(method, quick):
    result = run_bd(method, config_dict=for_method(quick, method))
    with open(f"{result['run_folder']}/result.json") as stream:
        assert json.load(stream) == result
    assert result["method"] == method
    assert result["teacher"].keys() == {"model", "parameters", "separate"}
    assert result["student"].keys() == {"model", "parameters", "separate", "continued", "distilled"}
    assert result["student_wins"].keys() == {"separate", "distilled"}
    rows = (Path(result["run_folder"]) / "metrics.csv").read_text().splitlines()
    assert {tuple(row.split(",")[:2]) for row in rows[1:]} == {
        ("separate", "teacher"), ("separate", "student"), ("distilled", "student"), ("continued", "student"),
    }  # fmt: skip
    shown = summary.table(result)
    assert [line.split()[0] for line in shown.splitlines()[2:]] == ["teacher", "student", "continued", "distilled"]
    assert "vs separate" in shown
    model = load_model(f"{result['run_folder']}/student.pth")[0]
    assert set(model.state) == {"user_embedding.weight", "item_embedding.weight"}
    assert load_data_and_model(f"{result['run_folder']}/teacher.pth")[1].embedding_size == 8


@pytest.mark.usefixtures("no_curves")
def test_all_methods_start_from_the_same_warm_ups_and_are_held_against_the_same_control(quick):
    results = [run_bd(method, config_dict=for_method(quick, method)) for method in METHODS]
    for arm in ("separate", "continued"):
        first, *others = [result["student"][arm] for result in results]
        assert all(other == first for other in others)
    assert len(list((Path(quick["checkpoint_dir"]) / "warmup").glob("*.pth"))) == 2


@pytest.fixture
def no_curves(monkeypatch):
    """Drawing takes longer than the runs here."""
    monkeypatch.setattr(plots, "draw", lambda *_: [])


@pytest.mark.parametrize(("method", "teacher"), [("RD", "ItemKNN"), ("CD", "ItemKNN"), ("RRD", "EASE")])
@pytest.mark.usefixtures("no_curves")
def test_a_model_without_gradient_teaches(method, teacher, quick):
    settings = {key: value for key, value in quick.items() if key != "teacher.embedding_size"}
    settings = {**for_method(settings, method), "teacher_model": teacher, "epochs": 1, "distill_epochs": 1}
    result = run_bd(method, config_dict=settings)
    assert result["status"] == "finished"
    (line,) = [line for line in (Path(result["run_folder"]) / "run.log").open() if "distilled: epoch 0 in" in line]
    assert 0 < float(line.rsplit("distill ", 1)[1]) < 10


def test_a_frozen_graph_teacher_propagates_for_refreshes_only(quick, monkeypatch):
    calls = []
    original = LightGCN.forward
    monkeypatch.setattr(LightGCN, "forward", lambda self: calls.append(1) or original(self))
    for method in ONE_WAY:
        scene = Scene(pair(quick, "LightGCN", "BPR"), model=method)
        calls.clear()
        scene.trained()
        assert len(calls) <= (3 if method == "CD" else 0)  # CD scores its new items once an epoch


# --- they teach -------------------------------------------------------------------------------------------------------
# Users of block b like items of block b, three of which are known, six times as many items are not. Student and
# separate teacher see the same; the teacher is the larger or, for RD, whose lists alone tell little, a neighbourhood.
TAUGHT = {
    "RD": {"teacher_model": "ItemKNN", "lambda_teacher_to_student": 0.3, "top_items": 6},
    "CD": {"teacher.embedding_size": 16},
    "DE": {"teacher.embedding_size": 16, "lambda_teacher_to_student": 0.3, "experts": 4},
    "RRD": {
        "teacher.embedding_size": 16, "lambda_teacher_to_student": 0.02, "interesting_items": 10,
        "uninteresting_items": 20, "rank_temperature": 5.0,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def sparse_blocks(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("taught")
    write_inter(folder, "sparse", block_pairs(n_users=120, n_items=96, blocks=8, per_user=6))
    return {
        "dataset": "sparse", "data_path": str(folder), "checkpoint_dir": str(folder / "saved"), "device": "cpu",
        "metrics": ["NDCG"], "topk": [5], "valid_metric": "NDCG@5", "show_progress": False, "train_batch_size": 128,
        "eval_args": {"split": {"RS": [0.5, 0.17, 0.33]}, "group_by": "user", "order": "RO", "mode": "full"},
        "learning_rate": 0.02, "epochs": 40, "distill_epochs": 30, "stopping_step": 30, "student.embedding_size": 4,
    }  # fmt: skip


@pytest.mark.usefixtures("no_curves")
@pytest.mark.parametrize("method", ONE_WAY)
def test_a_tiny_student_is_lifted_above_its_separate_self(method, sparse_blocks):
    results = [run_bd(method, config_dict={**sparse_blocks, **TAUGHT[method], "seed": seed}) for seed in (2021, 2022)]
    separate, continued, distilled = (
        np.mean([result["student"][arm]["test"]["ndcg@5"] for result in results])
        for arm in ("separate", "continued", "distilled")
    )
    assert distilled > separate + 0.06
    assert distilled > continued + 0.01
