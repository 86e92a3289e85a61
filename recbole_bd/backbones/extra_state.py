"""State that some RecBole models keep outside `state_dict`: MultiVAE's step counter, DiffRec's loss history.

RecBole's own checkpoints lack it, so training resumed from one differs. Here checkpoints contain it: every number,
dense tensor or array among the attributes of a model's modules that changed since the model was built.

Changes model instances: adds the attribute `_attributes_as_built`, and sets attributes when a state is restored.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_bd.backbones.traits import caches_of, traits_of
from recbole_bd.errors import CheckpointError

_BUILT = "_attributes_as_built"
# Initial values larger than this (16 MiB) are not kept for a reset.
_LARGEST_KEPT = 2**24


def note_attributes(model: nn.Module) -> None:
    """Remember the attributes of a model as it was built. Call it once, before any training.

    Args:
        model: keeps the note as an attribute. Tensors and arrays of up to 16 MiB are copied.
    """
    built = {}
    for name, value in _attributes(model):
        mark = _mark(value)
        kept = value if _is_number(value) else _copied(value) if value.nbytes <= _LARGEST_KEPT else None
        built[name] = (mark, kept)
    object.__setattr__(model, _BUILT, built)


def changed_attributes(model: nn.Module) -> dict[str, Any]:
    """Copy to the CPU the numbers, tensors and arrays that changed since the model was built, by dotted name."""
    built = _noted(model)
    return {name: _copied(value) for name, value in _attributes(model) if _has_changed(value, *built.get(name, ()))}


def restore_attributes(model: nn.Module, changed: dict[str, Any]) -> None:
    """Restore attributes; those not in `changed` get the values they had when the model was built.

    Initial values above 16 MiB are not kept: such tensors and arrays stay as they are if `changed` lacks them.

    Args:
        model: a model after `note_attributes`.
        changed: the result of `changed_attributes` for this model or for one built with the same settings.

    Raises:
        CheckpointError: the model has no such attribute.
    """
    built = _noted(model)
    modules = dict(model.named_modules())
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    for name, value in list(_attributes(model)):
        mark, first = built.get(name, (None, None))
        if name not in changed and first is not None and _has_changed(value, mark, first):
            _set(modules, name, _copied(first), device)
    for name, value in changed.items():
        if name in traits_of(model).by_products:  # in states kept before these were told apart
            continue
        _set(modules, name, _copied(value), device)


def _noted(model: nn.Module) -> dict[str, tuple]:
    if not hasattr(model, _BUILT):
        note_attributes(model)
    return getattr(model, _BUILT)


def _attributes(model: nn.Module) -> Iterator[tuple[str, Any]]:
    elsewhere = {"training", *caches_of(model), *traits_of(model).by_products}
    elsewhere.update(getattr(model, "other_parameter_name", None) or ())
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") or name in elsewhere:
                continue
            dense = isinstance(value, torch.Tensor) and value.layout == torch.strided
            numeric = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
            if _is_number(value) or dense or numeric:
                yield f"{prefix}.{name}" if prefix else name, value


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _mark(value: Any) -> tuple:
    """Fingerprint of a value that shows a change without comparing large values number by number."""
    if isinstance(value, torch.Tensor):
        return (value, value._version)  # holds the tensor, so that no other one can have its id
    if isinstance(value, np.ndarray):
        flat = np.ascontiguousarray(np.asarray(value)).reshape(-1)
        return (value.dtype.str, value.shape, zlib.crc32(flat.view(np.uint8).data))
    return (type(value), repr(value))


def _has_changed(value: Any, mark: tuple = (), first: Any = None) -> bool:
    now = _mark(value)
    if isinstance(value, torch.Tensor):
        if mark and mark[0] is value and mark[1:] == now[1:]:
            return False
        return not (isinstance(first, torch.Tensor) and torch.equal(first, value.detach().cpu()))
    return now != mark


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def _set(modules: dict[str, nn.Module], name: str, value: Any, device: torch.device) -> None:
    path, _, attribute = name.rpartition(".")
    held = vars(modules[path]).get(attribute, modules) if path in modules else modules
    if attribute == "training" or not (held is None or _is_number(held) or isinstance(held, torch.Tensor | np.ndarray)):
        raise CheckpointError(f"the model has no number or array named {name}")
    setattr(modules[path], attribute, value.to(device) if isinstance(value, torch.Tensor) else value)
