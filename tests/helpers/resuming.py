"""Comparison of a run that was stopped and resumed with one that was not."""

from collections.abc import Collection, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recbole_bd.runs.progress import PROGRESS_FILE, Progress
from recbole_bd.system.sealed_archive import load_archive

# Keys of result.json and settings that differ between equal runs. The command names the folder.
VARYING = ("timing", "peak_rss_mb", "run_folder", "pid", "command", "checkpoint_dir")
ARRAYS = ("per_user.npz", "per_user_valid.npz", "test_ranks.npz", "discrepancy.npz")


def without_times(result: dict) -> dict:
    return {key: value for key, value in result.items() if key not in VARYING}


def differences(value: Any, other: Any, place: str = "") -> list[str]:
    """Places at which two nests of plain data differ in a bit."""
    if isinstance(value, dict) and isinstance(other, dict):
        if list(value) != list(other):
            return [f"{place}: keys"]
        return [d for key in value for d in differences(value[key], other[key], f"{place}/{key}")]
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        if len(value) != len(other):
            return [f"{place}: length"]
        return [d for i, (a, b) in enumerate(zip(value, other, strict=True)) for d in differences(a, b, f"{place}/{i}")]
    if isinstance(value, torch.Tensor | np.ndarray):
        first, second = (np.asarray(array) for array in (value, other))
        same = first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
        return [] if same else [place]
    return [] if repr(value) == repr(other) else [f"{place}: {value!r} and {other!r}"]


def without(settings: dict, keys: Container[str]) -> dict:
    """The settings without some keys, in blocks too."""
    kept = {key: value for key, value in settings.items() if key not in keys}
    return {key: without(value, keys) if isinstance(value, dict) else value for key, value in kept.items()}


def run_differences(first: dict, second: dict, aside: Collection[str] = ()) -> list[str]:
    """Where two finished runs differ, times aside: results, states of every arm, losses, arrays, metrics.csv.

    Args:
        first, second: contents of result.json.
        aside: settings, and keys of result.json, that may differ.
    """
    folders = [Path(result["run_folder"]) for result in (first, second)]
    found = differences(*(without(result, {*VARYING, *aside}) for result in (first, second)), "result.json")
    kept = [load_archive(folder / PROGRESS_FILE) for folder in folders]
    found += differences(
        *(without(progress["settings"], {*VARYING, *aside}) for progress in kept), f"{PROGRESS_FILE}/settings"
    )
    for key in ("arms", "stage", "place"):
        found += differences(kept[0][key], kept[1][key], f"{PROGRESS_FILE}/{key}")
    for key in ("validations", "losses"):
        found += differences(kept[0]["journal"][key], kept[1]["journal"][key], f"{PROGRESS_FILE}/journal/{key}")
    for name in sorted({path.name for folder in folders for path in folder.glob("*.pth")}):
        states = [torch.load(folder / name, weights_only=True) for folder in folders]
        found += differences(*({k: v for k, v in state.items() if k != "about"} for state in states), name)
    for name in ARRAYS:
        if any((folder / name).exists() for folder in folders):
            arrays = []
            for folder in folders:
                with np.load(folder / name, allow_pickle=False) as stored:
                    arrays.append({key: stored[key] for key in stored.files})
            found += differences(*arrays, name)
    if (folders[0] / "metrics.csv").read_bytes() != (folders[1] / "metrics.csv").read_bytes():
        found.append("metrics.csv")
    return found


class Killed(BaseException):
    """Ends a run on the spot, as a kill does: nothing of this package handles it."""


@contextmanager
def writes_counted(
    number: int = 0, error: BaseException | None = None, instead: bool = False
) -> Iterator[SimpleNamespace]:
    """Count how often `last.ckpt` is written, as `count`.

    Args:
        number: of the write at which something happens, from 1; 0 is none.
        error: what is raised then.
        instead: raised in place of the write, and not after it.
    """
    seen, save = SimpleNamespace(count=0), Progress.save

    def counting(self, folder):
        seen.count += 1
        if not (instead and seen.count == number):
            save(self, folder)
        if seen.count == number:
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "save", counting)
        yield seen
