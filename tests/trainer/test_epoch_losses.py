"""Sums of losses over an epoch, and the step at which one is not finite."""

import math

import pytest
import torch

from recbole_bd.backbones.names import STUDENT
from recbole_bd.errors import TrainingError
from recbole_bd.system.distributed import Group
from recbole_bd.trainer import epoch_losses
from recbole_bd.trainer.epoch_losses import EpochLosses

CPU = torch.device("cpu")


def test_means_are_taken_over_the_steps_by_part():
    losses = EpochLosses(STUDENT, "distilled", 0, CPU)
    for cf, distill in ((1.0, 8.0), (2.0, 0.5), (6.0, 0.5)):
        losses.add({"cf": torch.tensor(cf, requires_grad=True), "distill": torch.tensor(distill)})
    assert losses.means() == {"cf": 3.0, "distill": 3.0}
    assert losses.steps == 3
    assert not any(value.requires_grad for value in losses.state_dict()["sums"].values())


def test_an_epoch_without_steps_has_no_parts():
    assert EpochLosses(STUDENT, "distilled", 0, CPU).means() == {}


def test_parts_that_come_later_have_their_own_sums():
    """A batch without a pair for the exchange has one part less."""
    losses = EpochLosses(STUDENT, "distilled", 0, torch.device("cuda"))
    for parts in ({"cf": 1.0, "distill": 4.0}, {"cf": 2.0}, {"cf": 3.0, "distill": 2.0}):
        losses.add({name: torch.tensor(value) for name, value in parts.items()})
    assert losses.means() == {"cf": 2.0, "distill": 2.0}


def test_kept_sums_are_gone_on_with():
    first, second = (EpochLosses(STUDENT, "distilled", 0, CPU) for _ in range(2))
    for losses in (first, first, second):
        losses.add({"cf": torch.tensor(5.0)})
    second.load_state_dict(first.state_dict())
    second.add({"cf": torch.tensor(2.0)})
    assert (second.steps, second.means(), first.means()) == (3, {"cf": 4.0}, {"cf": 5.0})


def test_shares_of_several_processes_are_summed(monkeypatch):
    class Pair(Group):
        def all_reduce(self, tensor):
            return tensor * 3  # the other process has twice as much

    monkeypatch.setattr(epoch_losses, "group", lambda: Pair(0, 2))
    losses = EpochLosses(STUDENT, "distilled", 0, CPU, is_shared=True)
    losses.add({"cf": torch.tensor([1.0]), "distill": torch.tensor(0.5)})
    assert losses.means() == {"cf": 3.0, "distill": 1.5}


def test_the_error_names_the_parts_the_place_and_the_way_out():
    losses = EpochLosses(STUDENT, "distilled", 3, CPU, "lower x")
    losses.add({"cf": torch.tensor(0.5)})
    with pytest.raises(TrainingError) as error:
        losses.add({"cf": torch.tensor(0.25), "distill": torch.tensor(-math.inf)})
    assert str(error.value) == (
        "the student's loss is not finite (cf 0.25, distill -inf; arm distilled, epoch 3, step 2): its updates were "
        "most likely too large; lower x"
    )


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_first_bad_step_is_named_also_where_steps_are_looked_at_together(device, monkeypatch):
    monkeypatch.setattr(epoch_losses, "_CHECKED_TOGETHER", 50)
    losses = EpochLosses(STUDENT, "distilled", 3, torch.device(device))
    with pytest.raises(TrainingError, match=r"\(cf 0.5, distill nan; arm distilled, epoch 3, step 61\)"):  # noqa: PT012
        for step in range(1, 200):
            losses.add({"cf": torch.tensor(0.5), "distill": torch.tensor(math.nan if step == 61 else 1.0)})
    assert losses.steps == (61 if device == "cpu" else 100)
    losses = EpochLosses(STUDENT, "distilled", 3, torch.device(device))
    for value in (1.0, 3.0):
        losses.add({"cf": torch.tensor(value)})
    assert losses.means() == {"cf": 2.0}


def test_sums_that_were_kept_go_on_where_the_losses_are():
    losses = EpochLosses(STUDENT, "distilled", 3, torch.device("meta"))
    losses.load_state_dict({"steps": 2, "sums": {"cf": torch.tensor([3.0])}})
    losses.add({"cf": torch.ones(1, device="meta")})
    assert losses._sums["cf"].device.type == "meta"


def test_a_bad_step_is_found_before_its_mean_is_taken():
    losses = EpochLosses(STUDENT, "distilled", 3, torch.device("cuda"))
    losses.add({"cf": torch.tensor(1.0)})
    losses.add({"cf": torch.tensor(math.inf)})
    with pytest.raises(TrainingError, match="step 2"):
        losses.means()
