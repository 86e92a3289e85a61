"""Model states on disk: written at once or not at all, read without running anything they may carry."""

import json
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from recbole_bd.atomic import write_atomically
from recbole_bd.attributes import CACHES, changed_attributes, restore_attributes
from recbole_bd.errors import CheckpointError

FORMAT = "recbole-bd model"
VERSION = 1


@dataclass
class Snapshot:
    """A model's state at one moment of its training.

    Attributes:
        state: parameters and buffers by name, on the CPU.
        other: what a RecBole model keeps beside them and cannot do without (EASE's similarities); caches are left out.
        attributes: what else of the model is no longer as it was built, such as a counter of steps.
        epoch: the epoch after which it was taken, from 0; -1 before any.
        valid: validation metrics then.
    """

    state: dict[str, torch.Tensor]
    other: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    epoch: int = -1
    valid: dict[str, float] = field(default_factory=dict)


def take_snapshot(model: nn.Module, epoch: int = -1, valid: dict[str, float] | None = None) -> Snapshot:
    """Copy a model's state to the CPU."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    other = {name: value for name, value in model.other_parameter().items() if name not in CACHES}
    return Snapshot(state, other, changed_attributes(model), epoch, dict(valid or {}))


def restore_snapshot(model: nn.Module, snapshot: Snapshot, source: str = "snapshot") -> None:
    """Put a state back into a model.

    Raises:
        CheckpointError: the state belongs to another model, or to other sizes or data.
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
                f"{tuple(own[name].shape)}; it belongs to other sizes or another data set"
            )
    model.load_state_dict(snapshot.state)
    model.load_other_parameter(snapshot.other)
    restore_attributes(model, snapshot.attributes)


def save_model(path: Path, snapshot: Snapshot, about: dict[str, Any]) -> None:
    """Write a model as plain data that `torch.load(path, weights_only=True)` reads.

    Args:
        path: the file.
        snapshot: what to write.
        about: plain data that says what the model is; `model`, `fingerprint` of the data, and settings.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "about": json.dumps(about, sort_keys=True),
        "state_dict": snapshot.state,
        "other_parameter": {name: _encode(value) for name, value in snapshot.other.items()},
        "attributes": {name: _encode(value) for name, value in snapshot.attributes.items()},
        "epoch": snapshot.epoch,
        "valid": {name: float(value) for name, value in snapshot.valid.items()},
    }
    write_atomically(path, lambda stream: torch.save(content, stream))


def load_model(path: str | Path) -> tuple[Snapshot, dict[str, Any]]:
    """Read a model written by this package or by RecBole, without running what the file may carry.

    Args:
        path: a `teacher.pth` or `student.pth` of a run, or a `.pth` of RecBole's Trainer.

    Returns:
        The state, and what the file says of itself: `model`, `dataset`, and for this package's files `fingerprint`.

    Raises:
        CheckpointError: the file is missing, truncated, of an unknown kind, or asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"checkpoint {path} is truncated or not a torch file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        content = _load_recbole(path)
    except _DAMAGE as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {_first_line(error)}") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"checkpoint {path} holds no model: no state_dict in it")
    if content.get("format") == FORMAT:
        if content["version"] > VERSION:
            raise CheckpointError(f"checkpoint {path} is of version {content['version']}: update recbole-bd to read it")
        about = json.loads(content["about"])
        other = {name: _decode(value) for name, value in content["other_parameter"].items()}
        attributes = {name: _decode(value) for name, value in content.get("attributes", {}).items()}
    else:
        settings = getattr(content.get("config"), "final_config_dict", {})
        about = {key: settings[key] for key in ("model", "dataset") if key in settings}
        other = {k: v for k, v in (content.get("other_parameter") or {}).items() if k not in CACHES}
        attributes = {}
    state, epoch, valid = dict(content["state_dict"]), content.get("epoch", -1), content.get("valid") or {}
    return Snapshot(state, other, attributes, epoch, valid), about


# What torch raises on a torn or altered file, depending on where the damage is.
_DAMAGE = (RuntimeError, OSError, EOFError, ValueError, KeyError)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _encode(value: Any) -> Any:
    """RecBole models keep arrays and sparse matrices beside their tensors; the safe loader reads tensors only."""
    if sp.issparse(value):
        csr = value.tocsr()
        parts = {name: torch.from_numpy(np.asarray(getattr(csr, name))) for name in ("data", "indices", "indptr")}
        return {"kind": "csr", "shape": list(csr.shape), **parts}
    if isinstance(value, np.ndarray):
        return {
            "kind": "matrix" if isinstance(value, np.matrix) else "array",
            "data": torch.from_numpy(np.asarray(value)),
        }
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if value is None or isinstance(value, int | float | str | bool):
        return value
    raise CheckpointError(f"a {type(value).__name__} cannot be stored as plain data")


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value["kind"] == "csr":
        return sp.csr_matrix(tuple(value[name].numpy() for name in ("data", "indices", "indptr")), shape=value["shape"])
    array = value["data"].numpy()
    return np.asmatrix(array) if value["kind"] == "matrix" else array


# --- RecBole's own checkpoints: pickles of protocol 4 that hold its Config, which torch's safe loader cannot read ----
class _Inert:
    """Stands in for RecBole's Config: takes its attributes and does nothing."""


class _Named:
    """Stands in for a class or enum member that the file merely mentions."""

    def __init__(self, *args):
        self.args = args


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "device"): torch.device,
    ("torch", "Size"): torch.Size,
    ("recbole.config.configurator", "Config"): _Inert,
    ("recbole_bd.config", "RoleConfig"): _Inert,
    ("yaml.loader", "FullLoader"): _Named,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ALLOWED[_module, "_reconstruct"] = np.empty(0).__reduce__()[0]
    _ALLOWED[_module, "scalar"] = np.float64(0).__reduce__()[0]
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_ALLOWED |= {("torch", f"{name}Storage"): getattr(torch, f"{name}Storage") for name in _STORAGES}


class _AllowListUnpickler(pickle.Unpickler):
    """Gives out the few names RecBole's checkpoints need and refuses every other, naming it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "recbole.utils.enum_type" or module.startswith("recbole.model."):
            return _Named
        raise CheckpointError(f"it asks for {module}.{name}, which could run code, and is refused")


class _SafePickle:
    """The part of the pickle module that torch.load uses, on the allow-list."""

    __name__ = "recbole_bd.checkpoint"
    Unpickler = _AllowListUnpickler
    UnpicklingError = pickle.UnpicklingError

    @staticmethod
    def load(stream: BinaryIO, **options: Any) -> Any:
        return _AllowListUnpickler(stream, **options).load()


def _load_recbole(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", pickle_module=_SafePickle, weights_only=False)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {_first_line(error)}") from error
