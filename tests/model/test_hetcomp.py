"""HetComp: both losses written out, and the way of users along the teacher's states."""

import math

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.snapshot import take_snapshot
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.model.hetcomp import HetComp
from recbole_bd.runs.prepare import kept_states
from tests.helpers.rankings import ranking, score
from tests.helpers.scenes import Scene
from tests.helpers.settings import make_config

OPTIONS = {"top_items": 20, "rest_items": 5, "refresh_period": 1, "lambda_teacher_to_student": 0.3, "kept_states": 3}


def scene_with_states(quick, **more) -> tuple[Scene, list[dict[int, list[int]]]]:
    """A scene whose teacher has two earlier states; and every state's list of each user, by hand."""
    scene = Scene(quick, model="HetComp", **{**OPTIONS, **more})
    teacher, lists = scene.roles[TEACHER], []
    users = range(1, scene.split.n_users)
    best = take_snapshot(teacher.model)
    for seed in (1, 2):
        with torch.no_grad():
            for parameter in teacher.model.parameters():
                parameter.copy_(3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
        teacher.earlier.append(vars(take_snapshot(teacher.model, seed)))
        lists.append({user: ranking(scene, TEACHER, user)[:20] for user in users})
    teacher.model.load_state_dict(best.state)
    lists.append({user: ranking(scene, TEACHER, user)[:20] for user in users})
    scene.method.lists = scene.method.stages = scene.method.distances = None
    scene.method.refresh(0)
    return scene, lists


def by_hand(scene: Scene, user: int, listed: list[int], is_ordered: bool) -> float:
    """One user's loss, with all items that are neither listed nor seen in the place of the drawn ones."""
    own = [math.exp(score(scene, STUDENT, user, item)) for item in listed]
    drawn = [item for item in scene.method.rest[user].tolist() if item]
    left = len(ranking(scene, TEACHER, user)) - len(listed)
    rest = sum(math.exp(score(scene, STUDENT, user, item)) for item in drawn) * left / len(drawn)
    if not is_ordered:
        return -sum(math.log(z / (z + rest)) for z in own)
    return -sum(math.log(own[k] / (sum(own[k:]) + rest)) for head in (10, 2) for k in range(head))


@pytest.mark.parametrize("is_ordered", [False, True])
@pytest.mark.parametrize("rest_items", [5, 48])
def test_hetcomp_is_its_equation_once_per_user(is_ordered, rest_items, quick):
    scene, lists = scene_with_states(quick, rest_items=rest_items)
    if is_ordered:
        scene.method.stages.fill_(2)
    else:
        scene.method.stages[::2] = 1
    scene.method.refresh(1) if is_ordered else scene.method.refresh(0)
    assert scene.method.is_ordered == is_ordered
    batch, total = scene.batch_of(STUDENT), 0.0
    users = sorted(set(batch.users.tolist()))
    for user in users:
        stage = int(scene.method.stages[user])
        assert not set(scene.method.rest[user].tolist()) & set(lists[stage][user])
        total += by_hand(scene, user, lists[stage][user], is_ordered)
    parts = scene.method.loss(STUDENT, batch)
    assert float(parts["distill"].detach()) == pytest.approx(0.3 * total / len(users), rel=1e-5)


def test_the_states_are_ranked_from_early_to_best_and_the_teacher_stays_its_best(quick):
    scene, lists = scene_with_states(quick)
    assert scene.method.lists.shape[0] == 3
    for stage, by_user in enumerate(lists):
        assert all(scene.method.lists[stage, user].tolist() == listed for user, listed in by_user.items())
    assert ranking(scene, TEACHER, 5)[:20] == lists[2][5]


def test_users_go_from_state_to_state_and_the_order_comes_last(quick):
    scene, _ = scene_with_states(quick, refresh_period=2)
    method, before = scene.method, scene.method.stages.clone()
    assert (before == 0).all()
    method.refresh(1)
    assert (method.stages == 0).all()  # no comparison in this epoch
    method.distances.zero_()  # nearer than ever before, so that the student is now farther away
    for epoch, stage in ((2, 1), (4, 2)):
        method.refresh(epoch)
        assert (method.stages[1:] == stage).all()
        method.distances.zero_()
        assert method.is_ordered == (stage == 2)
    lists = method.lists
    method.refresh(6)
    assert method.lists is lists
    assert (method.stages[1:] == 2).all()


def test_a_patience_that_ends_before_the_best_state_is_told(quick, caplog):
    scene_with_states(quick, refresh_period=4, stopping_epochs=8)
    assert "after" not in caplog.text
    scene_with_states(quick, refresh_period=4, stopping_epochs=7)
    assert "best state after 8 epochs or more, but the student stops after 7 without improvement; use" in caplog.text


def test_fewer_states_are_asked_for_than_there_are(quick):
    scene, lists = scene_with_states(quick, kept_states=2)
    assert scene.method.lists.shape[0] == 2
    assert scene.method.lists[0, 5].tolist() == lists[1][5]


def test_a_teacher_without_earlier_states_has_one_list_in_order(quick):
    scene = Scene(quick, model="HetComp", **OPTIONS)
    assert len(scene.method.lists) == 1
    assert scene.method.is_ordered


def test_a_restored_method_stands_where_it_stood(quick):
    first, second = scene_with_states(quick)[0], scene_with_states(quick)[0]
    first.method.stages.fill_(2)
    first.method.refresh(1)
    assert first.method.is_ordered > second.method.is_ordered
    second.method.load_sampling_state(first.method.sampling_state())
    assert second.method.is_ordered
    assert torch.equal(first.method.rest, second.method.rest)


STATES = {"kept_states": 3, "refresh_period": 7, "step_threshold": 2.0}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"teacher_model": "ItemKNN"}, "ItemKNN as the teacher is not trained by gradient, so it has one state"),
        ({"teacher_lists": "lists.tsv"}, "Lists as the teacher is not trained by gradient, so it has one state"),
        ({"taught_by": "untrained"}, "an untrained teacher has one state"),
        ({"teacher.epochs": 0}, "the teacher is not trained (epochs is 0), so it has one state"),
    ],
)
def test_what_a_teacher_of_one_state_does_not_read_is_told(settings, reason):
    """Nor does it need a checkpoint that holds several, and its line names no states."""
    config = make_config({"dataset": "ml-100k", "model": "HetComp", **STATES, **settings})
    told = [f"{option}={value!r} is not read in this run: {reason}" for option, value in STATES.items()]
    assert sorted(note for note in settings_notes(config) if note.partition("=")[0] in STATES) == sorted(told)
    assert kept_states(config, TEACHER) == 1
    (text,) = HetComp.distillation_terms(config, STUDENT)
    assert text.startswith("0.003 * order(the top 100 of the ")
    assert "states" not in text
    assert "a step after" not in text
    several = make_config({"dataset": "ml-100k", "model": "HetComp", **STATES, "teacher.epochs": 1})
    assert settings_notes(several) == []
    assert (kept_states(several, TEACHER), kept_states(several, STUDENT)) == (3, 1)
    assert "set_then_order(the top 100 of 3 states of the teacher, " in HetComp.distillation_terms(several, STUDENT)[0]


@pytest.mark.parametrize(
    ("method", "alone", "option"),
    [("HetComp", "kept_states", "step_threshold"), ("UnKD", "popularity_groups", "share_power")],
)
def test_what_one_state_or_one_group_does_not_read_is_told(method, alone, option):
    settings = {"dataset": "ml-100k", "model": method, option: 2.0}
    (note,) = settings_notes(make_config(settings, **{alone: 1}))
    assert note == f"{option}=2.0 is not read in this run: {alone} is 1"
    assert not any(option in note for note in settings_notes(make_config(settings)))
