"""Per-user metric values in run folders, and pairs of them from two runs."""

from pathlib import Path
from typing import Any

import numpy as np

from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import ComparisonError
from recbole_bd.runs.records import not_a_run_folder, read_arrays, read_json

# Files of the values of each user, of the test part and of the validation part.
TEST_VALUES, VALIDATION_VALUES = "per_user.npz", "per_user_valid.npz"


def per_user(folder: str | Path, name: str = TEST_VALUES) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read the metric values of each user of a run.

    Args:
        folder: the run folder.
        name: `TEST_VALUES`, or `VALIDATION_VALUES`: both roles' selecting metric before distillation.

    Returns:
        Original user ids, a unicode array [n_users], and float64 [n_users] by `role/arm/metric`, e.g.
        `student/distilled/ndcg@10`, in the order of the users.

    Raises:
        ComparisonError: the file is absent, or cannot be read.
    """
    path = Path(folder) / name
    run_record(folder)
    if not path.is_file():
        raise ComparisonError(
            f"{path} does not exist: the run measured no top-k metric, did not finish, or was made by an earlier "
            "version. To create it, run the command in result.json again"
        )
    values = read_arrays(path, ComparisonError)
    users = values.pop("users", None)
    if users is None or any(array.shape != users.shape for array in values.values()):
        raise ComparisonError(f"{path} is damaged: it must contain users, and a value per user under every other key")
    return users, values


def run_record(folder: str | Path) -> dict:
    """Read the `result.json` of a run folder.

    Raises:
        ComparisonError: it is absent or cannot be read.
    """
    path = Path(folder) / "result.json"
    if not path.is_file():
        raise ComparisonError(not_a_run_folder(folder))
    record = read_json(path, ComparisonError)
    missing = {"method", "dataset", "data", "seed"} - set(record)
    data = record.get("data")
    if missing or not isinstance(data, dict) or "fingerprint" not in data:
        lacking = ", ".join(sorted(missing)) or "fingerprint"
        raise ComparisonError(f"{path} is not the record of a run: it lacks {lacking}")
    if type(record["seed"]) is not int:
        raise ComparisonError(f"{path} is damaged: seed is {record['seed']!r:.60}")
    return record


def paired(
    folder_a: str | Path, folder_b: str | Path, name: str = TEST_VALUES
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Read the per-user values of two runs of the same data and split, users matched by their ids.

    Args:
        folder_a, folder_b: the run folders.
        name: the file of the values, see `per_user`.

    Returns:
        Original user ids [n_users], sorted, then the values of each run, float64 [n_users] by `role/arm/metric`, in the
        order of these users.

    Raises:
        ComparisonError: see `per_user`; or the runs differ in data, split, test users, the candidates of sampled
            evaluation, or in whether items that a user has seen are ranked.
        ConfigError: a `config.yaml` is damaged.
    """
    users_a, values_a = per_user(folder_a, name)
    users_b, values_b = per_user(folder_b, name)
    data_a, data_b = (run_record(folder)["data"]["fingerprint"] for folder in (folder_a, folder_b))
    if data_a != data_b:
        raise ComparisonError(
            f"{folder_a} and {folder_b} have different data or splits (fingerprints {data_a} and {data_b}): "
            "compare runs with the same data settings and, if the split is random, the same split_seed or seed"
        )
    sampled_a, sampled_b = (run_record(folder)["data"].get("candidates") for folder in (folder_a, folder_b))
    part, what, seen = ("test", "test", "tested") if name == TEST_VALUES else ("valid", "validation", "validated")
    if _of(sampled_a, part) != _of(sampled_b, part):
        raise ComparisonError(
            f"{folder_a} and {folder_b} ranked the {what} items among other candidates, so their users are no pairs: "
            "compare runs with the same eval_args and the same split_seed or seed, made by the same version"
        )
    _check_repeatable(folder_a, folder_b)
    order_a, order_b = np.argsort(users_a), np.argsort(users_b)
    users = users_a[order_a]
    if not np.array_equal(users, users_b[order_b]):
        raise ComparisonError(f"{folder_a} and {folder_b} were {seen} on different users, so there are no pairs")
    of_a, of_b = (
        {key: array[order] for key, array in values.items()}
        for values, order in ((values_a, order_a), (values_b, order_b))
    )
    return users, of_a, of_b


def _check_repeatable(*folders: str | Path) -> None:
    """Refuse two runs if only one of them ranks items that a user has seen; a run without the setting fits any."""
    files = {folder: Path(folder) / "config.yaml" for folder in folders}
    values = {folder: load_yaml(file).get("repeatable") for folder, file in files.items() if file.is_file()}
    if {True, False} <= set(values.values()):
        seen, unseen = sorted(values, key=lambda folder: not values[folder])
        raise ComparisonError(
            f"{seen} also ranks items that the user has seen (repeatable: True), as sequential models do, and {unseen} "
            "does not, so their users are no pairs: compare runs with the same repeatable"
        )


def _of(candidates: Any, part: str) -> Any:
    """The hash of a part's candidates; None where its items were ranked among all items."""
    return candidates.get(part) if isinstance(candidates, dict) else candidates
