"""Copies of roles in their best state."""

import copy

import pytest
import torch
from recbole.utils import init_seed

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import RoleError
from recbole_bd.model.best_guide import BestGuide, StoredGuide, untrained_role
from tests.helpers.scenes import Scene, pair


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


def test_what_teaches_changes_no_random_number(quick):
    drawn = []
    for state in ("current", "best"):
        Scene(quick, guide_state=state)
        drawn.append(torch.rand(1))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "MultiVAE"])
def test_a_state_goes_to_another_copy(model, quick):
    scene = Scene(pair(quick, model, "BPR"))
    role = scene.roles[TEACHER]
    users, items = torch.tensor([1, 1, 5]), torch.tensor([[1, 2], [3, 4], [5, 6]])
    first = BestGuide(role, scene.split.train)
    expected, state = first.logits(users, items), copy.deepcopy(first.state_dict())
    assert expected.shape == (3, 2)
    with torch.no_grad():
        for parameter in role.model.parameters():
            parameter.mul_(-0.5)
    second = BestGuide(role, scene.split.train)
    assert not torch.allclose(second.logits(users, items), expected)
    second.load_state_dict(state)
    assert torch.equal(second.logits(users, items), expected)


def test_an_attribute_that_training_changed_is_part_of_the_state(quick):
    scene = Scene(pair(quick, "MultiVAE", "BPR"))
    role = scene.roles[TEACHER]
    role.model.update = 7
    guide = BestGuide(role, scene.split.train)
    assert guide.state_dict()["attributes"] == {"update": 7}
    role.model.update = 9
    assert guide.state_dict()["attributes"] == {"update": 7}
    guide.take(role)
    assert guide.state_dict()["attributes"] == {"update": 9}


def test_a_new_model_moves_no_random_number_and_has_a_seed_of_its_own(quick):
    scene = Scene(pair(quick, "BPR", "BPR"))
    role = scene.roles[TEACHER]
    before = torch.get_rng_state()
    first, second = (untrained_role(role, scene.split.train).model.user_embedding.weight for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    init_seed(role.config["seed"], True)
    assert not torch.equal(build_role(TEACHER, role.config, scene.split.train).model.user_embedding.weight, first)


def test_what_is_never_untrained_is_refused_by_name(quick, tmp_path):
    scene = Scene(pair(quick, "NeuMF", "BPR"))
    role = scene.roles[TEACHER]
    path = tmp_path / "start.pth"
    torch.save({"state_dict": role.model.state_dict()}, path)
    for key in ("mf_pretrain_path", "mlp_pretrain_path"):
        role.config[key] = str(path)
    role.config["use_pretrain"] = True
    with pytest.raises(RoleError, match=r"teacher: NeuMF starts from .*start.pth, so it is never untrained"):
        untrained_role(role, scene.split.train)


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "MultiVAE"])
def test_all_items_are_scored_as_the_role_scores_them(model, quick):
    scene = Scene(pair(quick, model, "BPR"))
    role, users = scene.roles[TEACHER], torch.tensor([1, 4, 9])
    guide = BestGuide(role, scene.split.train)
    items = torch.tensor([[3, 5], [1, 2], [8, 8]])
    with role.scoring():
        for chosen in (None, torch.tensor([7, 2, 30]), items):
            assert torch.allclose(guide.all_logits(users, chosen), role.all_logits(users, chosen), atol=1e-5)


@pytest.mark.parametrize(("model", "is_kept"), [("BPR", True), ("LightGCN", True), ("MultiVAE", False)])
def test_vectors_are_kept_for_all_items_where_there_are_some(model, is_kept, quick):
    role = Scene(pair(quick, model, "BPR")).roles[TEACHER]
    guide = StoredGuide(role, for_all_items=True)
    assert guide.keep_vectors() is is_kept
    assert guide.keep_vectors() is False
    users = torch.tensor([4, 2, 9])
    with role.scoring():
        expected = role.all_logits(users)
    assert torch.allclose(guide.all_logits(users), expected, atol=1e-6)
    with torch.no_grad():
        for parameter in role.model.parameters():
            parameter.mul_(-0.5)
    assert torch.allclose(guide.all_logits(users), expected, atol=1e-6) is is_kept
