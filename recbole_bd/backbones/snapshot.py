"""Take the state of a model at one moment of its training, and restore it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from recbole_bd.backbones.extra_state import changed_attributes, restore_attributes
from recbole_bd.backbones.traits import caches_of
from recbole_bd.errors import CheckpointError


@dataclass
class Snapshot:
    """A model's state at one moment of its training.

    Attributes:
        state: parameters and buffers by name, on the CPU.
        other: RecBole's `other_parameter`, such as the similarities of EASE, without caches and without modules, which
            `state` holds.
        attributes: other attributes that changed since the model was built, such as a step counter.
        epoch: the epoch of its stage after which the snapshot was taken, from 0; -1 for the state that it starts from.
        valid: validation metrics of that epoch.
        earlier: states of the same training before this one, the earliest first, as `vars` of snapshots; only where a
            method asks for them.
    """

    state: dict[str, torch.Tensor]
    other: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    epoch: int = -1
    valid: dict[str, float] = field(default_factory=dict)
    earlier: list[dict[str, Any]] = field(default_factory=list)


def take_snapshot(
    model: Any,
    epoch: int = -1,
    valid: dict[str, float] | None = None,
    before: Snapshot | None = None,
    states: int = 1,
) -> Snapshot:
    """Copy a model's state to the CPU. Values in `other` are referred to, not copied.

    Args:
        model: a RecBole model.
        epoch, valid: see `Snapshot`.
        before: the snapshot that this one follows in the same training.
        states: number of states to keep, this one included. Twice as many are kept while the training goes on: see
            `chosen_states`.
    """
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    caches = caches_of(model)
    other = {
        name: value
        for name, value in model.other_parameter().items()
        if name not in caches and not isinstance(value, nn.Module)
    }
    earlier = [] if before is None or states == 1 else _with(before, 2 * states)
    return Snapshot(state, other, changed_attributes(model), epoch, dict(valid or {}), earlier)


def _with(best: Snapshot, most: int) -> list[dict[str, Any]]:
    """The states before a best one and itself; of more than `most`, that with the nearest neighbours is dropped."""
    kept = [*best.earlier, {**vars(best), "earlier": []}]
    if len(kept) > most:
        gaps = [after["epoch"] - before["epoch"] for before, after in zip(kept, kept[2:], strict=False)]
        del kept[1 + gaps.index(min(gaps))]
    return kept


def chosen_states(best: Snapshot, wanted: int) -> list[dict[str, Any]]:
    """Choose earlier states whose epochs are nearest to equal steps from the start to the best one.

    step k = 1, ..., wanted - 1 is at epoch best_epoch * k / wanted; no state is chosen twice

    Args:
        best: the best state with its `earlier`.
        wanted: number of states from early to best, the best included.

    Returns:
        The chosen ones, the earliest first; fewer than `wanted` - 1 where there are fewer.
    """
    left, chosen = list(range(len(best.earlier))), []
    for step in range(1, wanted):
        if left:
            distances = [abs(best.earlier[place]["epoch"] - best.epoch * step / wanted) for place in left]
            chosen.append(left.pop(distances.index(min(distances))))
    return [best.earlier[place] for place in sorted(chosen)]


def restore_snapshot(model: Any, snapshot: Snapshot, source: str = "snapshot") -> None:
    """Restore a state into a model.

    Args:
        model: a RecBole model.
        snapshot: the state.
        source: where the state is from, named in errors.

    Raises:
        CheckpointError: the state belongs to another model, to other sizes or to another data set.
    """
    own = model.state_dict()
    missing, foreign = own.keys() - snapshot.state.keys(), snapshot.state.keys() - own.keys()
    if missing or foreign:
        name = sorted(missing or foreign)[0]
        raise CheckpointError(
            f"{source} is not a {type(model).__name__}: parameter {name} is {'missing' if missing else 'unknown'}"
        )
    for name, tensor in snapshot.state.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{source}: {name} is {tuple(tensor.shape)} but this run's {type(model).__name__} needs "
                f"{tuple(own[name].shape)}; it was made for different sizes or a different data set"
            )
    foreign = snapshot.other.keys() - set(getattr(model, "other_parameter_name", ()))
    if foreign:  # RecBole would set any attribute of this name
        raise CheckpointError(f"{source} contains {sorted(foreign)[0]}, which {type(model).__name__} does not have")
    model.load_state_dict(snapshot.state)
    model.load_other_parameter(snapshot.other)
    restore_attributes(model, snapshot.attributes)
