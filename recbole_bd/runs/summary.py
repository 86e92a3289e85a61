"""Summary of a finished run for the terminal, from its result alone."""

from typing import Any

from recbole_bd.backbones.names import ARMS, CONTINUED, DATA, DISTILLED, PLACEBO, ROLES, SEPARATE
from recbole_bd.runs.text_table import epoch_text, grid

ONE_SEED = (
    "One seed: the changes are between these two models. Whether a method is better takes several seeds: "
    "recbole-bd compare."
)


def report(result: dict[str, Any]) -> str:
    """Format all that a run prints at its end: the table, what is said of both roles, warnings, and the folder.

    Args:
        result: content of `result.json`.

    Returns:
        Lines of text.
    """
    parts = [table(result)]
    if "student_wins" in result:
        lines = [wins_line(result)]
        if "complementarity" in result:
            lines.append(complementarity_line(result["complementarity"], result["valid_metric"]))
        parts.append("\n".join([*lines, ONE_SEED]))
    if result["warnings"]:
        parts.append(warnings_text(result))
    return "\n\n".join([*parts, f"run folder: {result['run_folder']}"])


def table(result: dict[str, Any]) -> str:
    """Format the table of a run: a row per role and arm, with test metrics and gains.

    Args:
        result: content of `result.json`.

    Returns:
        Lines of text. They show the first cut-off of each metric, at most four, always including `valid_metric`.
        Gains are relative changes of `valid_metric`, in percent. Epochs count from 0; `start` is the state before.
    """
    roles = [name for name in ROLES if name in result]
    shown = _shown_metrics(result)
    selected = result["valid_metric"]
    header = ["role", "model", "parameters", "arm", "best epoch", *shown]
    compared = any(DISTILLED in result[role] for role in roles)
    if compared:
        bases = {SEPARATE: (CONTINUED, PLACEBO, DISTILLED), CONTINUED: (PLACEBO, DISTILLED)}
        if any(PLACEBO in result[role] for role in roles):
            bases[PLACEBO] = (DISTILLED,)
        header += [f"{selected} vs {SEPARATE}", *(f"vs {base}" for base in [*bases][1:])]
    rows = []
    for role in roles:
        entries = {arm: result[role][arm] for arm in ARMS if result[role].get(arm)}
        for index, (arm, entry) in enumerate(entries.items()):
            about = [role, result[role]["model"], f"{result[role]['parameters']:,}"] if index == 0 else [""] * 3
            row = [*about, arm, epoch_text(entry["best_epoch"]), *(f"{entry['test'][name]:.4f}" for name in shown)]
            if compared:
                for base, where in bases.items():
                    known = arm in where and base in entries
                    row.append(_gain(entry["test"][selected], entries[base]["test"][selected]) if known else "")
            rows.append(row)
    return grid(header, rows)


def wins_line(result: dict[str, Any]) -> str:
    """Describe the share of test interactions on which the student ranks the item higher than the teacher."""
    wins, trained = result["student_wins"], result.get("student_wins_trained")
    said = (
        f"The student ranks the held-out item higher than the teacher on {wins[SEPARATE]:.1%} of test interactions "
        f"before distillation, on {wins[DISTILLED]:.1%} after."
    )
    if trained is None:  # of an earlier version, or no item has training interactions
        return said
    return f"{said} Without items that never occur in training: {trained[SEPARATE]:.1%}, then {trained[DISTILLED]:.1%}."


def complementarity_line(found: dict[str, Any], metric: str) -> str:
    """Describe whether the student can teach, from `complementarity` of `result.json`.

    Args:
        found: the entry; what is not known is left out.
        metric: the selecting metric.
    """
    share = "none" if found["ratio"] is None else f"{found['ratio']:.0%}"
    said = f"Before distillation the student has {share} of the teacher's validation {metric}"
    if found["correlation"] is not None:
        said += f"; over users, the correlation of their values is {found['correlation']:.2f}"
    if found["headroom"] is not None:
        said += f"; the better role for each user would give {found['headroom']:.1%} more than one role for all"
    return said + "."


def warnings_text(result: dict[str, Any]) -> str:
    """Format the warnings of a run, one per line; empty if there are none."""
    return "\n".join(f"warning: {_place(warning)}: {warning['message']}" for warning in result["warnings"])


def _shown_metrics(result: dict[str, Any]) -> list[str]:
    role = next(name for name in ROLES if name in result)
    first: dict[str, str] = {}
    for name in result[role][SEPARATE]["test"]:
        first.setdefault(name.partition("@")[0], name)
    shown = list(first.values())[:4]
    if result["valid_metric"] not in shown:
        shown[-1:] = [result["valid_metric"]]
    return shown


def _gain(value: float, base: float) -> str:
    return f"{(value - base) / base:+.1%}" if base else "n/a"


def _place(warning: dict[str, Any]) -> str:
    if warning["stage"] == DATA:
        return DATA
    return f"{warning['role']} {warning['stage']}, epoch {warning['epoch']}"
