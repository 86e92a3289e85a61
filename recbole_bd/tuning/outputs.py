"""Files of a search: every trial as a row, the best settings, and pictures."""

import csv
import io
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_bd.backbones.names import ROLES
from recbole_bd.config.recorded_paths import absolute
from recbole_bd.config.yaml_text import to_yaml
from recbole_bd.runs.text_table import grid
from recbole_bd.system.atomic_write import write_whole
from recbole_bd.tuning.study import ERROR, Search, ended, import_optuna

if TYPE_CHECKING:
    import optuna

COLUMNS = ("trial", "state", "objective", *ROLES, "seconds", "epochs", "folder", "error")


def best_trial(study: "optuna.Study") -> "optuna.trial.FrozenTrial | None":
    """The trial with the best validation; None if none has finished."""
    finished = [trial for trial in ended(study) if trial.state.name == "COMPLETE"]
    return max(finished, key=lambda trial: trial.value or 0.0) if finished else None


def rows_of(study: "optuna.Study") -> list[dict[str, Any]]:
    """A row per trial that counts: `COLUMNS`, and each drawn setting."""
    rows = []
    for trial in ended(study):
        about = trial.user_attrs
        values = about.get("values", {})
        steps = trial.intermediate_values
        rows.append(
            {
                "trial": trial.number,
                "state": {"COMPLETE": "finished", "PRUNED": "pruned"}.get(trial.state.name, "failed"),
                "objective": trial.value,
                **{role: values.get(role) for role in ROLES},
                "seconds": about.get("seconds"),
                "epochs": max(steps) + 1 if steps else None,
                "folder": about.get("folder"),
                "error": about.get(ERROR),
                **{name: value for name, value in about.get("settings", {}).items() if name in trial.params},
            }
        )
    return rows


def write_results(study: "optuna.Study", search: Search) -> list[Path]:
    """Write the results of a search so far.

    Args:
        study: the study.
        search: definition of the search; its folder receives `trials.csv`, and where a trial has finished `best.yaml`,
            `history.png`, and with two finished ones that differ `importance.png`.

    Returns:
        The files.
    """
    rows = rows_of(study)
    text = io.StringIO()
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(
        {name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()} for row in rows
    )
    files: dict[str, str | bytes] = {"trials.csv": text.getvalue()}
    if best := best_trial(study):
        about = f"# Study {study.study_name}: best of {len(rows)} trials by validation, number {best.number}: "
        about += f"{search.metric} {best.value:.6f} ({' and '.join(search.objective)}).\n"
        settings = search.settings_with(best.user_attrs["settings"])
        if "data_path" in settings:
            settings["data_path"] = absolute(settings["data_path"])
        files["best.yaml"] = about + to_yaml(settings)
        files |= _pictures(study)
    for name, content in files.items():
        write_whole(search.folder / name, content)
    return [search.folder / name for name in files]


def summary(study: "optuna.Study", search: Search, count: int = 5) -> str:
    """The best trials as text: objective, roles, and drawn settings."""
    finished = sorted((row for row in rows_of(study) if row["state"] == "finished"), key=lambda row: -row["objective"])
    roles = [role for role in ROLES if any(row[role] is not None for row in finished)]
    drawn = list(dict.fromkeys(name for row in finished for name in row if name not in COLUMNS))
    header = ["trial", search.metric, *roles, *drawn]
    lines = [
        [str(row["trial"]), f"{row['objective']:.4f}", *(f"{row[role]:.4f}" for role in roles)]
        + [f"{row.get(name, '')}" for name in drawn]
        for row in finished[:count]
    ]
    states = [row["state"] for row in rows_of(study)]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("finished", "pruned", "failed"))
    return f"{len(states)} trials: {counts}" + (f"\n\n{grid(header, lines, left=())}" if lines else "")


def _pictures(study: "optuna.Study") -> dict[str, bytes]:
    """Optuna's pictures of the trials that count, drawn outside of pyplot's windows."""
    import matplotlib

    optuna = import_optuna()
    kept = optuna.create_study(direction="maximize")
    kept.add_trials([trial for trial in ended(study) if trial.state.name == "COMPLETE"])
    drawings = optuna.visualization.matplotlib
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pictures = {"history.png": _png(drawings.plot_optimization_history(kept))}
            if _can_weigh(kept):
                pictures["importance.png"] = _png(drawings.plot_param_importances(kept))
    finally:
        matplotlib.use(before)
    return pictures


def _can_weigh(study: "optuna.Study") -> bool:
    values = {trial.value for trial in study.trials}
    shared = set.intersection(*({*trial.params} for trial in study.trials))
    return len(values) > 1 and any(len({str(trial.params[name]) for trial in study.trials}) > 1 for name in shared)


def _png(axis: Any) -> bytes:
    from matplotlib import pyplot

    stream = io.BytesIO()
    axis.figure.savefig(stream, format="png", dpi=120, bbox_inches="tight")
    pyplot.close(axis.figure)
    return stream.getvalue()
