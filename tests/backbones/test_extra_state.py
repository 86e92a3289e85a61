import numpy as np
import pytest
import torch
from torch import nn

from recbole_bd.backbones.checkpoint import load_model, save_model
from recbole_bd.backbones.extra_state import changed_attributes, note_attributes, restore_attributes
from recbole_bd.backbones.snapshot import restore_snapshot, take_snapshot
from recbole_bd.backbones.traits import BackboneTraits
from recbole_bd.data.batches import train_loader
from recbole_bd.errors import CheckpointError
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.role_trainer import warm_up
from tests.helpers.scenes import Scene
from tests.helpers.settings import alone


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.history = torch.zeros(3)
        self.order = np.arange(4)


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.weight = nn.Parameter(torch.ones(2))
        self.update, self.size, self.name = 0, 7, "outer"
        self.restore_user_e = None


def noted() -> Outer:
    model = Outer()
    note_attributes(model)
    return model


def test_nothing_has_changed_at_first():
    assert changed_attributes(noted()) == {}


def test_numbers_tensors_and_arrays_that_changed_are_found_wherever_they_are():
    model = noted()
    model.update += 3
    model.inner.history[1] = 2.0  # in place
    model.inner.order[[0, 3]] = [3, 0]
    model.restore_user_e = torch.ones(5)  # a cache
    model.weight.data += 1  # a parameter: part of the state
    changed = changed_attributes(model)
    assert changed.keys() == {"update", "inner.history", "inner.order"}
    model.inner.history[1] = 9.0
    assert changed["inner.history"].tolist() == [0, 2, 0]


def test_they_go_back_and_the_others_become_what_they_were():
    first, second = noted(), noted()
    first.update, first.inner.order = 5, np.array([1, 0, 3, 2])
    second.update, second.size, second.inner.history = 9, 8, torch.full((3,), 4.0)
    restore_attributes(second, changed_attributes(first))
    assert (second.update, second.size) == (5, 7)
    assert second.inner.history.tolist() == [0, 0, 0]
    assert second.inner.order.tolist() == [1, 0, 3, 2]
    assert changed_attributes(second).keys() == {"update", "inner.order"}


@pytest.mark.parametrize("name", ["forward", "name", "inner.training", "outer.update", "inner.nothing", "weight"])
def test_what_is_no_number_or_array_of_the_model_is_never_set(name):
    model = noted()
    with pytest.raises(CheckpointError, match=f"has no number or array named {name}"):
        restore_attributes(model, {name: 1})
    assert changed_attributes(model) == {}


@pytest.mark.parametrize("name", ["MultiVAE", "MacridVAE", "LINE", "DiffRec"])
def test_models_of_recbole_keep_them_through_a_file(name, quick, tmp_path):
    settings = {**alone(quick), "epochs": 2, "teacher_model": name, "student_model": name}
    scene = Scene(settings)
    role = scene.roles["teacher"]
    snapshot = warm_up(role, train_loader(role.config, scene.split), scene.split.valid_loader, Journal(), False)
    changed = changed_attributes(role.model)
    assert changed, f"{name} keeps something outside its state"
    save_model(tmp_path / "model.pth", snapshot, {"model": name, "dataset": "blocks", "fingerprint": "f"})
    fresh = Scene(settings).roles["teacher"].model
    restore_snapshot(fresh, load_model(tmp_path / "model.pth")[0])
    again = take_snapshot(fresh).attributes
    assert again.keys() == snapshot.attributes.keys()
    for key, value in snapshot.attributes.items():
        assert np.array_equal(np.asarray(value), np.asarray(again[key])), key


def test_by_products_of_a_pass_are_neither_kept_nor_restored(monkeypatch):
    monkeypatch.setattr(Outer, "bd_traits", BackboneTraits("FullSortScores", by_products=("left",)), raising=False)
    model, other = noted(), noted()
    model.left, model.update = torch.ones(3), 2
    assert changed_attributes(model) == {"update": 2}
    restore_attributes(other, {"update": 2, "left": torch.ones(3)})
    assert (other.update, hasattr(other, "left")) == (2, False)
