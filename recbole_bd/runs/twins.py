"""A teacher's student beside its twin, the same model of another seed: which of them the teacher could learn from.

This module reads run folders and imports neither torch nor RecBole.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_bd.backbones.names import SEPARATE, STUDENT, TEACHER
from recbole_bd.errors import ComparisonError
from recbole_bd.evaluator.complementarity import Complementarity, complementarity
from recbole_bd.runs.per_user import VALIDATION_VALUES, paired, run_record
from recbole_bd.runs.records import is_less_better, read_arrays

TWIN = "twin"
_RANKS = "test_ranks.npz"
_NEEDED = ("user", "item", "item_popularity", f"{TEACHER}_{SEPARATE}", f"{STUDENT}_{SEPARATE}")


@dataclass(frozen=True)
class Pair:
    """The teacher of a run, before distillation, and another model.

    Attributes:
        other: `student`, or `twin`.
        by_validation: both compared by the selecting metric of the validation users, the teacher first.
        wins: share of test interactions whose item the other model ranks strictly higher than the teacher, in [0, 1].
        wins_trained: likewise, without items that never occur in training; None if there are no other items.
    """

    other: str
    by_validation: Complementarity
    wins: float
    wins_trained: float | None


@dataclass(frozen=True)
class Twins:
    """A run, its twin, and what their records show.

    Attributes:
        run, twin: contents of `result.json`.
        users: number of validation users.
        pairs: teacher and student, then teacher and twin.
    """

    run: dict[str, Any]
    twin: dict[str, Any]
    users: int
    pairs: list[Pair]


def twins(folder: str | Path, twin: str | Path) -> Twins:
    """Compare what a run's student and its teacher's twin know beside the teacher, from what both runs have stored.

    Args:
        folder: the run folder.
        twin: folder of a run with the same teacher of another seed, on the same data and split.

    Raises:
        ComparisonError: the runs do not fit together, or lack stored values.
    """
    records = [run_record(one) for one in (folder, twin)]
    _check_teachers(folder, twin, *records)
    users, own, others = paired(folder, twin, VALIDATION_VALUES)
    metric = str(records[0].get("valid_metric"))
    name = f"{TEACHER}/{SEPARATE}/{metric}"
    if name not in own or name not in others:
        raise ComparisonError(f"{folder} and {twin} were not selected by the same metric over users")
    ranks, of_twin = (_ranks(one) for one in (folder, twin))
    if any(not np.array_equal(ranks[key], of_twin[key]) for key in ("user", "item")):
        raise ComparisonError(f"{folder} and {twin} have different test interactions")
    models = {
        STUDENT: (own[f"{STUDENT}/{SEPARATE}/{metric}"], ranks[f"{STUDENT}_{SEPARATE}"]),
        TWIN: (others[name], of_twin[f"{TEACHER}_{SEPARATE}"]),
    }
    trained, less_is_better = ranks["item_popularity"] > 0, is_less_better(records[0], metric)
    pairs = []
    for other, (values, rank) in models.items():
        won = rank < ranks[f"{TEACHER}_{SEPARATE}"]
        of_trained = float(won[trained].mean()) if trained.any() else None
        pairs.append(Pair(other, complementarity(own[name], values, less_is_better), float(won.mean()), of_trained))
    return Twins(records[0], records[1], len(users), pairs)


def _check_teachers(folder: str | Path, twin: str | Path, run: dict[str, Any], other: dict[str, Any]) -> None:
    """Refuse a twin that is not the same model of another seed."""
    about = []
    for path, record in ((folder, run), (twin, other)):
        teacher = record.get(TEACHER)
        if not isinstance(teacher, dict) or not isinstance(teacher.get(SEPARATE), dict):
            raise ComparisonError(f"{path} has no teacher that was evaluated; name a finished run of two roles")
        about.append((teacher.get("model"), teacher.get("parameters")))
    if about[0] != about[1]:
        told = " and ".join(f"{model} with {parameters} parameters" for model, parameters in about)
        raise ComparisonError(f"{folder} and {twin} have the teachers {told}; a twin is the same model of another seed")
    if run["seed"] == other["seed"]:
        raise ComparisonError(f"{folder} and {twin} both have seed {run['seed']}; a twin has another seed")


def _ranks(folder: str | Path) -> dict[str, np.ndarray]:
    """Read the ranks of the held-out items of a run; all arrays have one length."""
    path = Path(folder) / _RANKS
    if not path.is_file():
        raise ComparisonError(f"{path} does not exist: the run did not finish, or was made by an earlier version")
    arrays = read_arrays(path, ComparisonError)
    found = {name: arrays[name] for name in _NEEDED if name in arrays}
    if len(found) < len(_NEEDED) or len({array.shape for array in found.values()}) > 1 or not len(found["user"]):
        raise ComparisonError(f"{path} is damaged: it must contain {', '.join(_NEEDED)}, of one length")
    return found
