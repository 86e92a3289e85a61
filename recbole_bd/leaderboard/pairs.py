"""Notes of a leaderboard on its pairs of teacher and student before distillation."""

import statistics
from collections.abc import Iterable
from typing import Any

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.leaderboard.run_reader import Run
from recbole_bd.runs.summary import complementarity_line


def pair_notes(runs: Iterable[Run]) -> list[str]:
    """Say of each pair whether its student can teach, as a mean over seeds.

    Args:
        runs: finished runs; methods that start from the same warm-ups share a note. Baselines and records of earlier
            versions have none.

    Returns:
        One line for each pair, in the order of the runs.
    """
    found: dict[tuple[str, str], dict[int, Run]] = {}
    for run in runs:
        if run.result.get("complementarity"):
            hashes = run.result["hashes"]
            found.setdefault((hashes[TEACHER], hashes[STUDENT]), {}).setdefault(run.result["seed"], run)
    return [_note([run.result for run in seeds.values()]) for seeds in found.values()]


def _note(results: list[dict[str, Any]]) -> str:
    values: dict[str, float | None] = {}
    for name in results[0]["complementarity"]:
        known = [value for one in results if (value := one["complementarity"].get(name)) is not None]
        values[name] = statistics.fmean(known) if known else None
    pair = (results[0][role] for role in (TEACHER, STUDENT))
    models = " and ".join(f"{role['model']} ({role['parameters']:,} parameters)" for role in pair)
    averaged = f", mean of {len(results)} seeds" if len(results) > 1 else ""
    return f"{models}{averaged}: {complementarity_line(values, results[0]['valid_metric'])}"
