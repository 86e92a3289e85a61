"""Validation over the weight of distillation, in the published form: a picture from the records of the searches."""

import io
import json
from collections.abc import Mapping, Sequence

from evidence_claims import ROLES

# Searched arms of the published form, with their marks.
SEARCHED = {"BD (paper), searched": "o", "BD (public code), searched": "^"}
# The option that weighs what a role learns.
LAMBDAS = {"teacher": "lambda_student_to_teacher", "student": "lambda_teacher_to_student"}


def lambda_points(rows: Sequence[Mapping[str, str]], arm: str, role: str) -> list[tuple[float, float]]:
    """Read weight and validation of the trials of an arm, in order of the weight.

    Args:
        rows: rows of a trials.csv.
        arm: name of the arm.
        role: `teacher` or `student`.

    Returns:
        A pair for each trial of the first seed that was trained to its end.
    """
    ended = _ended(rows, arm, role)
    return sorted((float(json.loads(row["settings"])[LAMBDAS[role]]), float(row[role])) for row in ended)


def continued_alone(rows: Sequence[Mapping[str, str]], role: str) -> float | None:
    """Best validation of a role among the first seed's trials without distillation; None if there are none."""
    return max((float(row[role]) for row in _ended(rows, "continued alone", role)), default=None)


def _ended(rows: Sequence[Mapping[str, str]], arm: str, role: str) -> list[Mapping[str, str]]:
    """Select the trials of an arm, with the first seed, that were trained to their end."""
    first = min((int(row["seed"]) for row in rows), default=0)
    return [row for row in rows if row["arm"] == arm and int(row["seed"]) == first and row[role] and not row["pruned"]]


def lambda_picture(rows: Sequence[Mapping[str, str]]) -> bytes | None:
    """Draw each role's validation over the weight with which it learns.

    Args:
        rows: rows of a trials.csv.

    Returns:
        A PNG; None if no arm of the published form was searched.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    drawn = False
    for axis, role in zip(figure.subplots(1, len(ROLES)), ROLES, strict=True):
        for arm, mark in SEARCHED.items():
            if points := lambda_points(rows, arm, role):
                axis.plot(*zip(*points, strict=True), mark, label=arm)
                drawn = True
        if (level := continued_alone(rows, role)) is not None:
            axis.axhline(level, color="0.4", linestyle="--", linewidth=0.8, label="continued alone, best trial")
        axis.set_xscale("log")
        axis.set_xlabel(f"weight of what the {role} learns", fontsize=9)
        axis.set_title(f"{role}, validation", fontsize=10)
        axis.grid(color="0.9", linewidth=0.6)
    if not drawn:
        return None
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})
    return stream.getvalue()
