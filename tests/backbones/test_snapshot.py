"""States of models: taken as copies, restored whole or refused."""

import numpy as np
import pytest
import torch
from torch import nn

from recbole_bd.backbones.snapshot import Snapshot, chosen_states, restore_snapshot, take_snapshot
from recbole_bd.errors import CheckpointError


class Model(nn.Module):
    """A model as RecBole's are: parameters, a buffer, a table beside them, and a number that training changes."""

    other_parameter_name = ("similarity",)

    def __init__(self, fill: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 3), fill))
        self.register_buffer("count", torch.tensor(int(fill)))
        self.similarity = np.full(3, fill)
        self.step = 0

    def other_parameter(self):
        return {name: getattr(self, name) for name in self.other_parameter_name}

    def load_other_parameter(self, values):
        for name, value in values.items():
            setattr(self, name, value)


def test_a_state_comes_back_into_another_model():
    one, other = Model(1.0), Model(2.0)
    take_snapshot(one), take_snapshot(other)  # both are noted as they were built
    one.step = 7
    snapshot = take_snapshot(one, 4, {"ndcg@5": 0.25})
    with torch.no_grad():
        one.weight.zero_()  # what was taken is a copy
    restore_snapshot(other, snapshot)
    assert other.weight.tolist() == [[1.0] * 3] * 2
    assert (int(other.count), other.similarity.tolist(), other.step) == (1, [1.0] * 3, 7)
    assert (snapshot.epoch, snapshot.valid, snapshot.attributes) == (4, {"ndcg@5": 0.25}, {"step": 7})
    assert not snapshot.state["weight"].requires_grad


def test_validation_figures_are_copied_and_may_be_absent():
    figures = {"ndcg@5": 0.25}
    snapshot = take_snapshot(Model(1.0), 0, figures)
    figures["ndcg@5"] = 0.5
    assert snapshot.valid == {"ndcg@5": 0.25}
    assert (take_snapshot(Model(1.0)).epoch, take_snapshot(Model(1.0)).valid) == (-1, {})


def test_a_refused_state_changes_nothing():
    model = Model(1.0)
    state = {**Model(2.0).state_dict(), "extra": torch.ones(1)}
    with pytest.raises(CheckpointError) as error:
        restore_snapshot(model, Snapshot(state), "file x")
    assert str(error.value) == "file x is not a Model: parameter extra is unknown"
    assert model.weight.tolist() == [[1.0] * 3] * 2


def test_attributes_that_a_model_does_not_keep_are_not_set():
    model = torch.nn.Linear(3, 2)
    snapshot = Snapshot(model.state_dict(), {"forward": 1})
    with pytest.raises(CheckpointError, match="contains forward, which Linear does not have"):
        restore_snapshot(model, snapshot)


def test_other_sizes_and_other_models_are_refused():
    model = torch.nn.Linear(3, 2)
    model.other_parameter = dict
    with pytest.raises(CheckpointError, match=r"weight is \(4, 3\) but this run's Linear needs \(2, 3\)"):
        restore_snapshot(model, Snapshot({"weight": torch.ones(4, 3), "bias": torch.ones(2)}))
    with pytest.raises(CheckpointError, match="parameter bias is missing"):
        restore_snapshot(model, Snapshot({"weight": torch.ones(2, 3)}))
    with pytest.raises(CheckpointError, match="parameter extra is unknown"):
        restore_snapshot(model, Snapshot({"weight": torch.ones(2, 3), "bias": torch.ones(2), "extra": torch.ones(1)}))


def test_stale_caches_are_not_kept():
    cached = nn.Module()
    cached.other_parameter = lambda: {"restore_user_e": torch.ones(2), "item_similarity": np.ones(2)}
    assert list(take_snapshot(cached).other) == ["item_similarity"]


def along(epochs, states):
    """The snapshot of the last epoch, after snapshots of the others."""
    best = None
    for epoch in epochs:
        best = take_snapshot(Model(float(epoch)), epoch, None, best, states)
        assert len(best.earlier) <= 2 * states
    return best


def test_a_snapshot_has_the_earlier_ones_that_are_asked_for():
    assert along(range(5), 1).earlier == []
    best = along([0, 3, 9], 4)
    assert [state["epoch"] for state in best.earlier] == [0, 3]
    assert [float(state["state"]["weight"][0, 0]) for state in best.earlier] == [0.0, 3.0]
    assert all(state["earlier"] == [] for state in best.earlier)


def test_the_earlier_snapshots_stay_spread_over_the_epochs():
    epochs = [state["epoch"] for state in along(range(101), 4).earlier]
    assert epochs[0] == 0
    assert max(b - a for a, b in zip(epochs, [*epochs[1:], 100], strict=True)) <= 2 * 100 / len(epochs)


@pytest.mark.parametrize(
    ("epochs", "wanted", "chosen"),
    [
        (range(0, 101, 10), 4, [20, 50, 70]),  # nearest to 25, 50 and 75 of those kept
        ([0, 1, 2, 3, 100], 4, [1, 2, 3]),
        ([0, 100], 4, [0]),
        ([0, 50, 100], 2, [50]),
        ([0, 50, 100], 1, []),
        ([7], 4, []),
    ],
)
def test_states_nearest_to_equal_steps_are_chosen(epochs, wanted, chosen):
    assert [state["epoch"] for state in chosen_states(along(epochs, 6), wanted)] == chosen


def test_modules_that_recbole_lists_beside_the_parameters_are_kept_once():
    model = Model(1.0)
    model.features = nn.Linear(2, 1)
    model.other_parameter_name = ("similarity", "features")
    snapshot = take_snapshot(model)
    assert snapshot.other.keys() == {"similarity"}
    assert {"features.weight", "features.bias"} <= snapshot.state.keys()
    with torch.no_grad():
        model.features.weight.add_(1.0)
    restore_snapshot(model, snapshot)
    assert torch.equal(model.features.weight, snapshot.state["features.weight"])
