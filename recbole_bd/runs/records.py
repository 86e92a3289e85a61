"""Readers of the files in run folders; any problem of a file is an error of one line that names it.

No file that is read can run code, and no name in a file leads out of a folder. This module imports neither torch nor
RecBole.
"""

import csv
import difflib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_bd.backbones.names import ARMS, BASELINE, PAIR, SEPARATE
from recbole_bd.config.yaml_text import is_name
from recbole_bd.errors import BDError, RunFolderError, named_damage, objects_refused

# Version of result.json, raised when a key changes its meaning or disappears. Since 2 the state that a stage starts
# from is a candidate for its best one: `best_epoch` -1.
SCHEMA = 2
# Keys of every result.json and their types.
_TYPES = {
    "schema": int, "status": str, "method": str, "dataset": str, "seed": int, "valid_metric": str, "learners": list,
    "config_hash": str, "hashes": dict, "command": str,
}  # fmt: skip
# Counts in the statistics of the data.
COUNTS = ("users", "items", "interactions")


def read_json(path: Path, error: type[BDError] = RunFolderError) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: the file.
        error: class of the error below.

    Raises:
        BDError: of class `error`: the file cannot be read, or holds no JSON object.
    """
    try:
        text = path.read_bytes()
    except OSError as failure:
        raise error(f"{path} cannot be read: {failure.strerror}") from failure
    with named_damage(str(path), error):
        content = json.loads(text.decode())
    if not isinstance(content, dict):
        raise error(f"{path} is damaged: it contains a {type(content).__name__}, not a JSON object")
    return content


def schema_error(result: dict[str, Any]) -> str | None:
    """Describe the first violation of the schema of `result.json` in its content; None if there is none."""
    if missing := [key for key in _TYPES if key not in result]:
        return f"it lacks {', '.join(missing)}"
    for key, kind in _TYPES.items():
        if not isinstance(result[key], kind) or isinstance(result[key], bool):
            return f"{key} is {result[key]!r:.60}"
    if not is_name(result["dataset"]):  # a leaderboard's folder is named after it
        return f"dataset is {result['dataset']!r:.60}, which is not a name"
    if not all(isinstance(text, str) for text in (*result["learners"], *result["hashes"].values())):
        return f"learners or hashes are not text: {result['learners']!r:.60}, {result['hashes']!r:.60}"
    for key in ("error", "label"):
        if not isinstance(result.get(key, ""), str):
            return f"{key} is {result[key]!r:.60}"
    if not _is_objective(result.get("objective", {})):
        return f"objective is {result['objective']!r:.60}"
    roles = PAIR if result["learners"] else (BASELINE,)
    shared = ("settings", "control") if result["learners"] else ("settings",)
    if missing := [name for name in (*shared, *roles) if name not in result["hashes"]]:
        return f"hashes lacks {', '.join(missing)}"
    return _finished_schema_error(result, roles) if result["status"] == "finished" else None


def _is_objective(stated: Any) -> bool:
    """Whether a value holds texts by arm and role; runs of earlier versions have none."""
    arms = list(stated.values()) if isinstance(stated, dict) else [stated]
    return all(isinstance(arm, dict) and all(isinstance(text, str) for text in arm.values()) for arm in arms)


def _finished_schema_error(result: dict[str, Any], roles: tuple[str, ...]) -> str | None:
    data, timing = result.get("data"), result.get("timing", {"total_s": 0})
    if (
        not isinstance(data, dict)
        or "fingerprint" not in data
        or any(type(data.get(key, 0)) is not int for key in COUNTS)
    ):
        return f"data is {data!r:.60}"
    if not isinstance(timing, dict) or not _is_number(timing.get("total_s")):
        return f"timing is {timing!r:.60}"
    less_is_better = result.get("less_is_better", [])
    if not isinstance(less_is_better, list) or not all(isinstance(name, str) for name in less_is_better):
        return f"less_is_better is {less_is_better!r:.60}"
    if not _is_complementarity(result.get("complementarity", {})):
        return f"complementarity is {result['complementarity']!r:.60}"
    for name in roles:
        if problem := _role_schema_error(name, result.get(name), result["valid_metric"]):
            return problem
    return None


def _is_complementarity(found: Any) -> bool:
    """Whether a value has the numbers of `Complementarity`, or null; runs of earlier versions have none."""
    if found == {}:
        return True
    names = ("correlation", "ratio", "headroom")
    return isinstance(found, dict) and all(
        name in found and (found[name] is None or _is_number(found[name])) for name in names
    )


def _role_schema_error(name: str, role: Any, metric: str) -> str | None:
    if not isinstance(role, dict) or not isinstance(role.get("model"), str) or type(role.get("parameters")) is not int:
        return f"{name} is {role!r:.60}"
    arms = [role.get(SEPARATE), *(role[arm] for arm in ARMS[1:] if role.get(arm))]
    for arm in arms:
        parts = [arm.get(part) for part in ("valid", "test")] if isinstance(arm, dict) else [None]
        numbers = all(isinstance(part, dict) and all(map(_is_number, part.values())) for part in parts)
        if not numbers or type(arm.get("best_epoch")) is not int:
            return f"an arm of {name} is {arm!r:.60}"
        if arm["test"].keys() != arms[0]["test"].keys() or metric not in arm["test"]:
            return f"the arms of {name} have different metrics, or lack {metric}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def not_a_run_folder(path: str | Path) -> str:
    """Say that a path is not a run folder, why, and the way out."""
    return f"{path} is not a run folder{why_no_run(path)}"


def why_no_run(path: str | Path) -> str:
    """Say what a path is that is not a run folder, and name runs in or beside it, in words that end a message."""
    if Path(path).is_file():
        return f" but a file; name its folder, {Path(path).parent}"
    if not Path(path).is_dir():
        return f": no such folder{runs_beside(path)}"
    return f": it has no result.json{runs_inside(path)}"


def runs_inside(folder: str | Path) -> str:
    """Name runs in a folder, in words that end a message: the folder of all runs is easily taken for one of them."""
    return _listed("in it", _runs_in(folder))


def runs_beside(path: str | Path) -> str:
    """Name the runs that a path which does not exist may mean, in words that end a message."""
    beside = _runs_in(Path(path).parent)
    if not beside:
        return "; a run prints its folder at its end"
    names = {Path(run).name: run for run in beside}
    nearest = difflib.get_close_matches(Path(path).name, names, n=1)
    return f". Did you mean {names[nearest[0]]}?" if nearest else _listed(f"in {Path(path).parent}", beside)


def _runs_in(folder: str | Path) -> list[str]:
    return sorted(str(path.parent) for path in Path(folder).glob("*/result.json"))


def _listed(where: str, runs: list[str]) -> str:
    more = ", ..." if len(runs) > 3 else ""
    return f"; run folders {where}: {', '.join(runs[:3])}{more}" if runs else ""


def read_result(folder: Path) -> dict[str, Any]:
    """Read the `result.json` of a run folder.

    Raises:
        RunFolderError: it is absent, damaged, or not of this package.
    """
    path = folder / "result.json"
    if not path.is_file():
        raise RunFolderError(not_a_run_folder(folder))
    result = read_json(path)
    if problem := schema_error(result):
        raise RunFolderError(f"{path} is damaged: {problem}")
    return result


def read_serving(folder: Path) -> dict[str, Any] | None:
    """Read the `serving.json` that `serve-bench` left in a run folder; None where it has not run.

    Raises:
        RunFolderError: the file is damaged.
    """
    path = folder / "serving.json"
    if not path.is_file():
        return None
    record = read_json(path)
    if problem := serving_schema_error(record):
        raise RunFolderError(f"{path} is damaged: {problem}. Run recbole-bd serve-bench {folder} again, or remove it")
    return record


def serving_schema_error(record: Any) -> str | None:
    """Describe the first violation of the schema of `serving.json` in its content; None if there is none."""
    if not isinstance(record, dict) or not isinstance(record.get("models"), dict):
        return f"it has no models: {record!r:.60}"
    if not isinstance(record.get("machine"), dict):
        return f"machine is {record.get('machine')!r:.60}"
    for name, model in record["models"].items():
        batches = model.get("batches") if isinstance(model, dict) else None
        if not isinstance(batches, dict) or not all(map(_is_latency, batches.items())):
            return f"batches of {name} are {batches!r:.60}"
    return None


def _is_latency(entry: tuple[str, Any]) -> bool:
    """Whether an entry is a number of users and their times, in milliseconds."""
    size, times = entry
    median = times.get("p50_ms") if isinstance(times, dict) else None
    is_time = isinstance(median, int | float) and not isinstance(median, bool) and 0 <= median < math.inf
    return size.isdecimal() and len(size) < 10 and is_time


def is_less_better(result: Mapping[str, Any], metric: str) -> bool:
    """Whether lower values of a metric with values of each user are better; it is then the user's own.

    Args:
        result: content of `result.json`.
        metric: e.g. `ndcg@10`.
    """
    return metric.partition("@")[0] in result.get("less_is_better", ())


def read_arrays(path: Path, error: type[BDError] = RunFolderError) -> dict[str, np.ndarray]:
    """Read the plain arrays of a `.npz` file after checking their checksums.

    Args:
        path: the file.
        error: class of the error below.

    Returns:
        The arrays by name.

    Raises:
        BDError: of class `error`: the file cannot be read, is damaged, or contains Python objects.
    """
    with named_damage(str(path), error):
        with zipfile.ZipFile(path) as archive:
            # NumPy does not reach the checksum of an array whose damaged header makes it shorter.
            if damaged := archive.testzip():
                raise error(f"the checksum of {damaged} is wrong")
        with np.load(path, allow_pickle=False) as content:
            return {name: _plain_array(content, name, error) for name in content.files}


def _plain_array(content: Any, name: str, error: type[BDError]) -> np.ndarray:
    with objects_refused(name, error):
        return content[name]


def read_validations(path: Path) -> list[dict[str, Any]]:
    """Read the rows of `metrics.csv`; empty if nothing was validated.

    Returns:
        One dict per row: `stage` (its arm), `role`, `epoch` (int, from 0) and each metric (float).

    Raises:
        RunFolderError: the file is damaged.
    """
    if not path.is_file():
        return []
    with named_damage(str(path), RunFolderError):
        text = path.read_text(encoding="utf-8")
        if not text.endswith("\n"):
            raise ValueError("its last line is cut off")
        return [
            {"stage": row.pop("stage"), "role": row.pop("role"), "epoch": int(row.pop("epoch"))}
            | {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(io.StringIO(text), strict=True)
        ]
