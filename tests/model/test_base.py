"""Tests of every distillation method; a new method in the table inherits them."""

from dataclasses import replace

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.role import Role
from recbole_bd.config.property_files import method_options
from recbole_bd.errors import ConfigError, RoleError
from recbole_bd.model import METHODS
from recbole_bd.model.base import Distiller
from tests.helpers.scenes import Scene, equal_states, pair
from tests.helpers.settings import PAPER

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

WITHOUT_DRAWS = ("FTD", "CE", "DML", "KDCL")  # their lists follow from the states of the roles
MASKED = ("RRD", "CE", "RCEKD", "DCD", "UnKD", "HetComp", "DML", "KDCL")


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
@pytest.mark.parametrize("method", ["BD", "CD", "RRD", "CE", "DCD", "UnKD", "HetComp", "DML"])
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
    weights = [one for one in options if one.key.startswith("lambda_") and not one.key.endswith("_epochs")]
    return {option.key: 0.0 for option in weights if option.type == "float"}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_zero_weights_are_bitwise_the_control_and_a_role_that_does_not_learn_stays(method, quick):
    scenes = {
        "zero": Scene(quick, model=method, distill_epochs=2, **zero_weights(method)),
        "control": Scene(quick, control=True, model=method, distill_epochs=2),
        "method": Scene(quick, model=method, distill_epochs=2),
    }
    before = scenes["zero"].states()
    assert all(equal_states(scene.states(), before) for scene in scenes.values())
    after = {}
    for name, scene in scenes.items():
        scene.trained()
        after[name] = scene.states()
    assert equal_states(after["zero"], after["control"])
    for role in (TEACHER, STUDENT):
        arms = [{k: t for k, t in states.items() if k.startswith(role)} for states in (before, *after.values())]
        learns = role in scene.method.learners
        assert equal_states(arms[0], arms[2]) != learns
        assert equal_states(arms[2], arms[3]) != learns
        assert learns or all(p.grad is None for p in scene.roles[role].model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "models"),
    [(method, models) for method in ("BD", "DE", "CE", "DML") for models in (("BPR", "BPR"), ("LightGCN", "DMF"))],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_equal_seeds_give_equal_states_and_another_seed_another(method, models, quick):
    settings = {**pair(quick, *models), "distill_epochs": 2}
    found = []
    for more in ({}, {}, {"seed": 99}):
        scene = Scene(settings, model=method, **more)
        scene.trained()
        found.append(scene.states())
    assert equal_states(found[0], found[1])
    assert not equal_states(found[0], found[2])


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
    assert not all(map(torch.equal, different, expected)) or method in WITHOUT_DRAWS


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
        # Lists may be shorter than asked for; what stands there then is masked.
        assert method in MASKED or (items > 0).all()


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
        ("CE", "top_items"),
        ("RCEKD", "top_items"),
        ("RCEKD", "sampled_items"),
        ("RCEKD", "sampled_from"),
        ("DCD", "interesting_items"),
        ("DML", "top_items"),
        ("KDCL", "top_items"),
    ],
)
def test_more_items_than_there_are_is_refused(method, option, quick):
    Scene(quick, model=method, **{option: 48})
    with pytest.raises(ConfigError, match=f"{option}=49: above the number of items, 48"):
        Scene(quick, model=method, **{option: 49})


def test_a_method_of_one_term_has_nothing_to_prepare_or_to_keep(quick):
    """A class of somebody else needs a loss alone."""

    class Own(Distiller):
        """Half of the own loss once more."""

        learners = (STUDENT,)

        def distillation_loss(self, role, batch):
            own = self.roles[role].loss(batch.interaction)
            return {"cf": own, "distill": 0.5 * own}

    scene = Scene(quick)
    method = Own(scene.config, scene.split.train, scene.roles)
    assert method.refresh(0) is False
    assert method.sampling_state() == {}
    assert method.load_sampling_state({}) is None
    assert method.new_best(STUDENT) is None
    assert method.parameters_beside(STUDENT) == []
    batch = scene.batch_of(STUDENT).interaction
    own = scene.roles[STUDENT].model.calculate_loss(batch)
    assert torch.allclose(method.calculate_loss(batch), 1.5 * own)
    assert method.other(STUDENT) is scene.roles[TEACHER]
