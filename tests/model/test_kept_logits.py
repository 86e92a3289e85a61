"""Logits of a stored guide that are computed once for all drawn items."""

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.model.guides import keeps_logits
from tests.helpers.scenes import Scene, pair
from tests.helpers.settings import make_config

LISTS = {"guide_state": "best", "refresh_period": 2, "distill_epochs": 8, "samples_per_positive": 3}


def changed(role) -> None:
    with torch.no_grad():
        for parameter in role.model.parameters():
            parameter.mul_(-1.5)


def equal_targets(scene, role) -> bool:
    """Whether the targets of a batch are those of the stored guide, and are read from those that are kept."""
    guides, batch = scene.method.guides, scene.batch_of(role)
    takes = scene.method.exchanges[role].takes_positive
    lists = scene.method.drawn.draw(scene.method.sampler, role, batch, takes)
    items = torch.cat([lists.positives[:, None], lists.items], dim=1) if takes else lists.items
    found, _ = guides.target(role, lists.users, items, True, lists.places)
    expected = guides._stored(scene.method.exchanges[role]).logits(lists.users, items)
    assert torch.equal(found[:, -1], guides.kept[role].logits[lists.places[:, -1]])
    assert not found.requires_grad
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("models", [("BPR", "BPR"), ("LightGCN", "NeuMF"), ("CDAE", "BPR"), ("ConvNCF", "MF")])
@pytest.mark.parametrize("positive", [True, False])
def test_kept_logits_are_those_of_the_guide(models, positive, quick):
    lists = {f"list_positive_{direction}": positive for direction in ("teacher_to_student", "student_to_teacher")}
    scene = Scene(pair(quick, *models), **LISTS, **lists)
    for role in (TEACHER, STUDENT):
        assert equal_targets(scene, role)


@pytest.mark.parametrize("guide", ["other", "self", "untrained"])
def test_kept_logits_follow_the_guides_state_and_the_drawn_items(guide, quick):
    scene = Scene(quick, guide=guide, **LISTS)
    method = scene.method
    for epoch in (1, 2, 3):
        before = {role: method.guides.kept[role].logits.clone() for role in (TEACHER, STUDENT)}
        for role in scene.roles.values():
            changed(role)
            if epoch < 3:
                method.new_best(role.name)
        assert method.refresh(epoch) == (epoch == 2)
        for role in (TEACHER, STUDENT):
            assert equal_targets(scene, role)
            is_new = epoch == 2 or (epoch == 1 and guide != "untrained")
            assert torch.equal(method.guides.kept[role].logits, before[role]) == (not is_new)


def test_kept_logits_are_computed_anew_when_a_state_is_loaded(quick):
    scene = Scene(quick, **LISTS)
    state = scene.method.sampling_state()
    other = Scene(quick, **LISTS, seed=77)
    other.method.load_sampling_state(state)
    for role in (TEACHER, STUDENT):
        assert torch.equal(other.method.guides.kept[role].logits, scene.method.guides.kept[role].logits)


@pytest.mark.parametrize(
    "settings",
    [
        {"refresh_period": 1}, {"refresh_users": "rolling"}, {"refresh_period": 10, "eval_step": 4},
        {"guide_state": "current"}, {"guide": "shuffled"}, {"guide": "constant"},
    ],
)  # fmt: skip
def test_logits_are_not_kept_where_most_would_be_computed_in_vain(settings, quick):
    assert Scene(quick, **{**LISTS, **settings}).method.guides.kept == {}


def test_a_period_of_two_validations_keeps_logits():
    given = {"dataset": "blocks", "device": "cpu", "refresh_period": 10}
    assert keeps_logits(make_config({**given, "eval_step": 5}))
    assert not keeps_logits(make_config({**given, "eval_step": 4}))
