"""Checkpoints of models: written atomically, read without running any code they may carry."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_bd.backbones.recbole_pickle import load_recbole_pickle
from recbole_bd.backbones.snapshot import Snapshot
from recbole_bd.backbones.traits import CACHES
from recbole_bd.errors import CheckpointError, named_damage
from recbole_bd.system.sealed_archive import checked_csr, is_sealed, load_archive, save_archive

FORMAT = "recbole-bd model"
VERSION = 2
_WITHOUT_CHECKSUM = 1


def save_model(path: Path, snapshot: Snapshot, about: dict[str, Any]) -> None:
    """Write a model as plain data that `torch.load(path, weights_only=True)` reads.

    Args:
        path: the file.
        snapshot: the state to write.
        about: plain metadata: `model`, `dataset`, `fingerprint` of the data, `columns` where it reads others
            than user and item, and settings.

    Raises:
        CheckpointError: the file cannot be written, or the state holds something other than plain data.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "about": json.dumps(about),
        "state_dict": snapshot.state,
        "other_parameter": snapshot.other,
        "attributes": snapshot.attributes,
        "epoch": snapshot.epoch,
        "valid": {name: float(value) for name, value in snapshot.valid.items()},
    }
    if snapshot.earlier:
        content["earlier"] = snapshot.earlier
    save_archive(path, content)


def load_model(path: str | Path) -> tuple[Snapshot, dict[str, Any]]:
    """Read a model written by this package or by RecBole, without running any code in the file.

    Since version 2, files of this package end with a checksum. In other files the checksum of every record is verified.

    Args:
        path: a `teacher.pth` or `student.pth` of a run, or a `.pth` of RecBole's Trainer.

    Returns:
        The state and the file's metadata: `model` and `dataset`, as far as they are recorded. A file of this package
        also has `fingerprint`, a file of RecBole `recbole`: its `settings`, None if it has none, and the best value of
        its validation, `best_valid_score`.

    Raises:
        CheckpointError: the file is missing, truncated, altered, of an unknown kind, or asks for code to be run.
    """
    sealed = is_sealed(path)
    content = load_archive(path) if sealed else load_recbole_pickle(path)
    if not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"checkpoint {path} contains no model: it has no state_dict")
    ours = content.get("format") == FORMAT
    if ours and not sealed and content.get("version") != _WITHOUT_CHECKSUM:
        raise CheckpointError(f"checkpoint {path} is damaged: its checksum is missing")
    if ours and content["version"] > VERSION:
        version = content["version"]
        raise CheckpointError(f"checkpoint {path} has format version {version}: update recbole-bd to read it")
    with named_damage(f"checkpoint {path}", CheckpointError):
        about = _metadata(content["about"]) if ours else _metadata_of_recbole(content)
        other = content.get("other_parameter") or {}
        if ours and not sealed:
            other = {name: _decode_first(value) for name, value in other.items()}
        snapshot = Snapshot(
            _only_tensors(content["state_dict"]),
            {name: value for name, value in other.items() if name not in CACHES},
            (content.get("attributes") or {}) if ours else {},
            int(content.get("epoch", -1)),
            {name: float(value) for name, value in (content.get("valid") or {}).items()},
            [_earlier(state) for state in content.get("earlier") or ()] if ours else [],
        )
    return snapshot, about


def load_warmup(path: Path) -> tuple[Snapshot, dict[str, Any]]:
    """Read a warm-up that an earlier run kept.

    Returns:
        See `load_model`; the metadata also holds the warm-up's `validations` and `warnings`, and its `losses` and
        `learning_rates`, which earlier versions did not keep.

    Raises:
        CheckpointError: see `load_model`; the message advises to delete the file.
    """
    try:
        snapshot, about = load_model(path)
        for name in ("validations", "warnings", "losses", "learning_rates"):
            rows = about.get(name, None if name in ("validations", "warnings") else [])
            if not isinstance(rows, list) or not all(
                isinstance(row, dict) and {"stage", "role", "epoch"} <= row.keys() for row in rows
            ):
                raise CheckpointError(f"checkpoint {path} is not a cached warm-up: it has no {name}")
    except CheckpointError as error:
        raise CheckpointError(f"{error}. Delete it to train the warm-up again") from error
    return snapshot, about


def _metadata(text: str) -> dict[str, Any]:
    about = json.loads(text)
    if not all(isinstance(about[key], str) for key in ("model", "dataset", "fingerprint")):
        raise CheckpointError("its metadata lacks the model, the data set or the fingerprint")
    if not isinstance(about.get("settings", {}), dict):
        raise CheckpointError("its settings are not a mapping")
    if not isinstance(about.get("columns", {}), dict):
        raise CheckpointError("its columns are not a mapping")
    return about


def _metadata_of_recbole(content: dict[str, Any]) -> dict[str, Any]:
    settings, score = content.get("config"), content.get("best_valid_score")
    settings = settings if isinstance(settings, dict) else None
    names = {key: settings[key] for key in ("model", "dataset") if key in settings} if settings else {}
    return {**names, "recbole": {"settings": settings, "best_valid_score": score if _is_finite(score) else None}}


def settings_recorded_in(content: dict[str, Any]) -> dict[str, Any] | None:
    """The settings in the content of a model file of this package or of RecBole; None if there are none.

    Raises:
        CheckpointError: they are damaged.
    """
    settings = content.get("config")
    if content.get("format") == FORMAT:
        settings = _metadata(content["about"]).get("settings")
    return settings if isinstance(settings, dict) else None


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _only_tensors(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            kind = type(tensor).__name__
            raise CheckpointError(f"its state_dict contains {name!r} of type {kind}, which is not a parameter")
    return dict(state)


def _earlier(state: dict[str, Any]) -> dict[str, Any]:
    """Check a state of the same training that a file holds before its own."""
    snapshot = Snapshot(**state)
    return {**vars(snapshot), "state": _only_tensors(snapshot.state)}


def _decode_first(value: Any) -> Any:
    """Decode an array or sparse matrix as version 1 of the format wrote it."""
    if not isinstance(value, dict):
        return value
    if value["kind"] == "csr":
        parts = tuple(value[name].numpy() for name in ("data", "indices", "indptr"))
        return checked_csr(parts, value["shape"])
    array = value["data"].numpy()
    return np.asmatrix(array) if value["kind"] == "matrix" else array
