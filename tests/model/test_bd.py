"""What every distillation method keeps to, and what is BD's own. A new method in the table inherits the first part."""

import copy
import re
from dataclasses import replace

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.role import Role
from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.config.known_options import method_options
from recbole_bd.errors import ConfigError, RoleError
from recbole_bd.model import METHODS, losses
from recbole_bd.model.exchange import EXCHANGE_LOSSES
from tests.helpers.paths import ROOT
from tests.helpers.scenes import Scene, pair
from tests.helpers.settings import PAPER


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


PAIRS = [
    ("BPR", "BPR"),
    ("LightGCN", "BPR"),
    ("CDAE", "BPR"),
    ("NeuMF", "BPR"),
    ("MultiVAE", "LightGCN"),
    ("BPR", "CDAE"),
    ("LightGCN", "SimpleX"),
    ("NCEPLRec", "DMF"),
    ("GCMC", "ENMF"),
    ("ItemKNN", "BPR"),
    ("EASE", "CDAE"),
    ("Pop", "NeuMF"),
    ("RecVAE", "ENMF"),
]


def accepts(method: str, teacher: str, student: str) -> bool:
    try:
        METHODS[method].check_roles({TEACHER: teacher, STUDENT: student})
    except RoleError:
        return False
    return True


CASES = [(method, *models) for method in METHODS for models in PAIRS if accepts(method, *models)]


@pytest.mark.parametrize(("method", "teacher", "student"), CASES)
def test_each_learner_gets_a_finite_loss_and_the_other_role_no_gradient(method, teacher, student, quick):
    scene = Scene(pair(quick, teacher, student), model=method)
    for role in scene.method.learners:
        parts = scene.method.loss(role, scene.batch_of(role))
        assert "cf" in parts
        assert len(parts) > 1, "the method adds nothing to the model's own loss"
        assert all(part.ndim == 0 and torch.isfinite(part) for part in parts.values())
        sizes = scene.gradients(role)
        assert sizes.pop(role) > 0
        assert sum(sizes.values()) == 0


@pytest.mark.parametrize("backbone", ["BPR", "NeuMF", "MultiVAE", "CDAE", "ConvNCF"])
@pytest.mark.parametrize("method", ["BD", "CD", "RRD"])
def test_the_term_weighs_an_interaction_as_the_own_loss_does(method, backbone, quick, monkeypatch):
    """The own loss is the mean over interactions, over users of their sum, the sum of all, or the sum over rows."""
    scene = Scene(pair(quick, "BPR", backbone), model=method, lambda_teacher_to_student=0.3)
    batch = scene.batch_of(STUDENT)
    if method == "BD":
        exchange = replace(scene.method.exchanges[STUDENT], loss=lambda *given: torch.tensor(1.0))
        monkeypatch.setitem(scene.method.exchanges, STUDENT, exchange)
    else:
        monkeypatch.setattr(scene.method, "transfer", lambda *given: torch.tensor(1.0))
    users = scene.split.pairs("train")[0]
    positives = len(users) / len(set(users.tolist()))
    times = {"MultiVAE": positives, "CDAE": len(batch.users) * positives, "ConvNCF": len(batch.users)}
    assert float(scene.method.loss(STUDENT, batch)["distill"]) == pytest.approx(0.3 * times.get(backbone, 1))


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
    beside = {id(parameter) for role in scene.method.learners for parameter in scene.method.parameters_beside(role)}
    names = {name.split(".")[0] for name, own in scene.method.named_parameters() if id(own) not in beside}
    assert names == {TEACHER, STUDENT}


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_learn_is_refused_before_anything_is_loaded(method):
    roles = dict.fromkeys((TEACHER, STUDENT), "BPR")
    for role in roles:
        with pytest.raises(RoleError, match="unknown model 'BRP'"):
            METHODS[method].check_roles({**roles, role: "BRP"})
    for learner in METHODS[method].learners:
        with pytest.raises(RoleError, match="ItemKNN has no parameters"):
            METHODS[method].check_roles({**roles, learner: "ItemKNN"})


def zero_weights(method: str) -> dict:
    options = method_options(method).values()
    return {option.key: 0.0 for option in options if option.key.startswith("lambda_") and option.type == "float"}


@pytest.mark.parametrize("method", METHODS)
def test_zero_weights_are_bitwise_the_control_and_a_role_that_does_not_learn_stays(method, quick):
    scenes = {
        "zero": Scene(quick, model=method, **zero_weights(method)),
        "control": Scene(quick, control=True, model=method),
        "method": Scene(quick, model=method),
    }
    before = scenes["zero"].states()
    assert all(equal(scene.states(), before) for scene in scenes.values())
    after = {}
    for name, scene in scenes.items():
        scene.trained()
        after[name] = scene.states()
    assert equal(after["zero"], after["control"])
    for role in (TEACHER, STUDENT):
        arms = [{k: t for k, t in states.items() if k.startswith(role)} for states in (before, *after.values())]
        learns = role in scene.method.learners
        assert equal(arms[0], arms[2]) != learns
        assert equal(arms[2], arms[3]) != learns
        assert learns or all(p.grad is None for p in scene.roles[role].model.parameters())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("models", [("BPR", "BPR"), ("LightGCN", "DMF")], ids="-".join)
def test_equal_seeds_give_equal_states_and_another_seed_another(method, models, quick):
    settings = {**pair(quick, *models), "distill_epochs": 2}
    found = []
    for more in ({}, {}, {"seed": 99}):
        scene = Scene(settings, model=method, **more)
        scene.trained()
        found.append(scene.states())
    assert equal(found[0], found[1])
    assert not equal(found[0], found[2])


@pytest.mark.parametrize("method", METHODS)
def test_a_restored_method_goes_on_bitwise_equal(method, quick):
    first, second = Scene(quick, model=method), Scene(quick, model=method, distill_epochs=9)

    def go_on(scene) -> list[torch.Tensor]:
        found = []
        for epoch in (11, 12, 13):  # those in which RD's dynamic weights draw too
            scene.method.refresh(epoch)
            found += [scene.method.loss(STUDENT, scene.batch_of(STUDENT))["distill"].detach() for _ in range(2)]
        return found

    second.batches = first.batches
    first.method.refresh(10)
    for _ in range(3):
        first.method.loss(STUDENT, first.batch_of(STUDENT))
    state = first.method.sampling_state()
    different = go_on(second)
    expected = go_on(first)
    second.method.load_state_dict(first.method.state_dict())
    second.method.load_sampling_state(state)
    assert all(map(torch.equal, go_on(second), expected))
    assert not all(map(torch.equal, different, expected))


@pytest.mark.parametrize("method", METHODS)
def test_no_training_item_and_no_padding_is_exchanged(method, quick, monkeypatch):
    scene = Scene({**quick, **PAPER} if method == "BD" else quick, model=method)  # without positives in lists
    asked = []
    original = Role.pair_logits

    def spy(self, users, items):
        if self.name in scene.method.learners:
            asked.append((users, items))
        return original(self, users, items)

    monkeypatch.setattr(Role, "pair_logits", spy)
    train = set(zip(*(ids.tolist() for ids in scene.split.pairs("train")), strict=True))
    for epoch in range(12):
        scene.method.refresh(epoch)
        for role in scene.method.learners:
            for batch in scene.batches:
                scene.method.loss(role, batch)
    for users, items in asked:
        pairs = set(zip(users.repeat_interleave(items.shape[1]).tolist(), items.flatten().tolist(), strict=True))
        assert not pairs & train
        # RRD's lists may be shorter than asked for; what stands there then is masked.
        assert method == "RRD" or (items > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_graph_student_propagates_once_a_step_and_a_frozen_graph_teacher_never(method, quick, monkeypatch):
    from recbole.model.general_recommender import LightGCN

    scene = Scene(pair(quick, "LightGCN", "LightGCN"), model=method)
    calls = []
    original = LightGCN.forward
    monkeypatch.setattr(LightGCN, "forward", lambda self: calls.append(self) or original(self))
    for batch in scene.batches[:2]:  # in the first one also guides that stay as they are
        calls.clear()
        with scene.method.step():
            total = sum(part for role in batch.roles for part in scene.method.loss(role, batch).values())
            total.backward()
    assert len(calls) == len(scene.method.learners)
    assert {id(model) for model in calls} == {id(scene.roles[role].model) for role in scene.method.learners}


@pytest.mark.parametrize("method", METHODS)
def test_stopping_on_a_role_that_does_not_learn_is_refused(method, quick):
    for role in {TEACHER, STUDENT} - set(METHODS[method].learners):
        with pytest.raises(ConfigError, match=f"stop_on={role}: the {role} does not learn in {method}; use stop_on="):
            Scene(quick, model=method, stop_on=role)


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("BD", "samples_per_positive"),
        ("CD", "samples_per_positive"),
        ("RD", "top_items"),
        ("RRD", "interesting_items"),
        ("RRD", "uninteresting_items"),
    ],
)
def test_more_items_than_there_are_is_refused(method, option, quick):
    Scene(quick, model=method, **{option: 48})
    with pytest.raises(ConfigError, match=f"{option}=49: above the number of items, 48"):
        Scene(quick, model=method, **{option: 49})


# --- BD -------------------------------------------------------------------------------------------------------------
def test_the_loss_is_the_papers(quick):
    """L_role = L_CF + lambda * BCE(z_role, sigmoid(z_other / tau)) on the drawn items."""
    weights = {"lambda_teacher_to_student": 0.3, "lambda_student_to_teacher": 0.7}
    scene = Scene(quick, **{**PAPER, **weights, "temperature": 2.0})
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


def test_each_direction_may_have_an_exchange_and_a_temperature_of_its_own(quick):
    """The student's loss is that of a run with the one kind in both directions, the teacher's that with the other."""

    def distill(role, **more):
        scene = Scene(quick, samples_per_positive=3, **more)
        return scene.method.loss(role, scene.batch_of(role))["distill"]

    kinds = {"exchange_teacher_to_student": "pairwise", "exchange_student_to_teacher": "pointwise"}
    each = {**kinds, "exchange": "listwise", "temperature": 4.0, "temperature_student_to_teacher": 3.0}
    assert torch.equal(distill(STUDENT, **each), distill(STUDENT, exchange="pairwise", temperature=4.0))
    assert torch.equal(distill(TEACHER, **each), distill(TEACHER, exchange="pointwise", temperature=3.0))
    rest = {"exchange_teacher_to_student": "listwise", "temperature_teacher_to_student": 3.0}
    assert torch.equal(distill(TEACHER, exchange="pointwise", **rest), distill(TEACHER, exchange="pointwise"))
    assert not torch.equal(distill(STUDENT, exchange="pointwise", **rest), distill(STUDENT, exchange="pointwise"))


@pytest.mark.parametrize("exchange", ["listwise", "pairwise"])
def test_the_batchs_positive_comes_first(exchange, quick, monkeypatch):
    seen = {}

    def spy(logits, targets, temperature, temperature_on):
        seen["logits"] = logits
        return logits.sum()

    monkeypatch.setitem(EXCHANGE_LOSSES, exchange, spy)
    scene = Scene(quick, exchange=exchange, samples_per_positive=3, list_positive_teacher_to_student=True)
    batch = scene.batch_of(STUDENT)
    scene.method.loss(STUDENT, batch)
    model = scene.roles[STUDENT].model
    positive = (model.user_embedding(batch.users) * model.item_embedding(batch.positives)).sum(1)
    assert seen["logits"].shape == (len(batch.users), 4)
    assert torch.allclose(seen["logits"][:, 0], positive)


def test_a_list_without_the_positive_holds_what_was_sampled(quick, monkeypatch):
    seen = []
    monkeypatch.setitem(EXCHANGE_LOSSES, "listwise", lambda logits, *_, **__: seen.append(logits.shape) or logits.sum())
    scene = Scene(quick, exchange="listwise", samples_per_positive=3, list_positive_teacher_to_student=False)
    batch = scene.batch_of(STUDENT)
    monkeypatch.setattr(scene.method.seen, "random_positive", None)
    scene.method.loss(STUDENT, batch)
    assert seen == [(len(batch.users), 3)]
    with pytest.raises(ConfigError, match="a list of one item says nothing"):
        Scene(quick, exchange="listwise", samples_per_positive=1, list_positive_student_to_teacher=False)


@pytest.mark.parametrize(("directions", "taught"), [("teacher_to_student", STUDENT), ("student_to_teacher", TEACHER)])
def test_one_direction_leaves_the_other_role_to_its_own_loss(directions, taught, quick):
    scene = Scene(quick, directions=directions)
    for role in (TEACHER, STUDENT):
        assert ("distill" in scene.method.loss(role, scene.batch_of(role))) == (role == taught)
    assert list(scene.method.sampler.pools) == [taught]


@pytest.mark.parametrize("exchange", ["pointwise", "listwise", "pairwise"])
def test_users_without_training_items_exchange_nothing(exchange, quick, tmp_path, monkeypatch):
    from tests.helpers.data import block_pairs, write_inter

    for part, rows in {"train": block_pairs(), "valid": [("u0", "i47"), ("new", "i3")], "test": [("u1", "i0")]}.items():
        write_inter(tmp_path, "late", rows, part)
    settings = {**pair(quick, "CDAE", "CDAE"), "dataset": "late", "data_path": str(tmp_path)}
    scene = Scene(settings, benchmark_filename=["train", "valid", "test"], **{**PAPER, "exchange": exchange})
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
    if exchange != "pointwise":
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
    scene = Scene(quick, **{**PAPER, "cf_negatives": "distilled"})
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


@pytest.mark.parametrize(("state", "first"), [("current", 1), ("best", 2)])
def test_a_graph_model_propagates_once_a_step(state, first, quick, monkeypatch):
    from recbole.model.general_recommender import LightGCN

    scene = Scene(pair(quick, "LightGCN", "BPR"), guide_state=state)
    calls = []
    original = LightGCN.forward
    monkeypatch.setattr(LightGCN, "forward", lambda self: calls.append(1) or original(self))
    counts = []
    for number, batch in enumerate(scene.batches[:3]):
        assert batch.roles == (TEACHER, STUDENT)
        if number == 2:
            scene.method.new_best(TEACHER)
        calls.clear()
        with scene.method.step():
            total = sum(part for role in batch.roles for part in scene.method.loss(role, batch).values())
            total.backward()
        counts.append(len(calls))
    assert counts == [first, 1, first]  # a best state propagates once


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "DMF", "NeuMF"])
def test_a_best_state_scores_as_the_role_did(model, quick):
    scene = Scene(pair(quick, model, "BPR"), guide_state="best")
    batch, role = scene.batch_of(STUDENT), scene.roles[TEACHER]
    items = torch.arange(1, 6).repeat(len(batch.users), 1)
    for _ in range(2):
        expected = role.target_logits(batch.users, items, learning=False)
        with torch.no_grad():
            next(role.model.parameters()).mul_(-0.5)
        found = scene.method.best_guides[TEACHER].logits(batch.users, items)
        assert torch.allclose(found, expected, atol=1e-6)
        assert not found.requires_grad
        scene.method.new_best(TEACHER)


def test_the_best_state_teaches_until_there_is_a_better_one(quick):
    scene = Scene(quick, guide_state="best")
    batch = scene.batch_of(STUDENT)
    items = torch.arange(1, 6).repeat(len(batch.users), 1)

    def targets():
        return scene.method.best_guides[TEACHER].logits(batch.users, items)

    teacher = scene.roles[TEACHER]
    first = teacher.target_logits(batch.users, items, learning=False)
    assert torch.equal(targets(), first)
    with torch.no_grad():
        teacher.model.item_embedding.weight.mul_(-1)
    assert torch.equal(targets(), first)
    state = scene.method.sampling_state()
    state = {**state, "guides": copy.deepcopy(state["guides"])}
    scene.method.new_best(TEACHER)
    assert torch.equal(targets(), -first)
    scene.method.load_sampling_state(state)
    assert torch.equal(targets(), first)
    assert scene.gradients(STUDENT)[TEACHER] == 0
    assert not any(name.startswith("best_guides") for name, _ in scene.method.named_parameters())


def test_what_teaches_changes_no_random_number(quick):
    drawn = []
    for state in ("current", "best"):
        Scene(quick, guide_state=state)
        drawn.append(torch.rand(1))
    assert drawn[0] == drawn[1]


def ablations() -> dict[str, dict]:
    """What the README's table of ablations says, as settings."""
    text = (ROOT / "README.md").read_text().partition("### Ablations of BD")[2]
    rows = re.findall(r"^\| (.+?) \| `(--.+?)` \|$", text.partition("##")[0], re.MULTILINE)
    return {name: parse_arguments(options.split())[0] for name, options in rows}


def test_ablations_are_configuration_only(quick):
    def trained(**settings) -> dict[str, torch.Tensor]:
        scene = Scene(quick, **{**PAPER, "eps_e": 0.1, "eps_t": 0.1, **settings})
        scene.trained()
        return scene.states()

    found = {name: trained(**settings) for name, settings in ablations().items()} | {"BD": trained()}
    assert len(found) == 18, "the README's tables"
    names = list(found)
    for place, name in enumerate(names):
        assert not any(equal(found[name], found[other]) for other in names[:place]), f"{name} changes nothing"
