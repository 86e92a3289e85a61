"""Figures of a run, each from the data in its folder alone: learning curves, student wins, rank discrepancies.

Colours are Okabe and Ito's, which colour-blind readers can distinguish. Line styles and hatches serve grey print.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_bd.backbones.names import CONTINUED, DISTILLED, PAIR, PLACEBO, ROLES, SEPARATE, TEACHER
from recbole_bd.errors import RunFolderError
from recbole_bd.evaluator import student_wins
from recbole_bd.runs.records import read_arrays, read_result, read_validations
from recbole_bd.system.atomic_write import write_atomically

if TYPE_CHECKING:  # matplotlib is imported only to draw
    from matplotlib.figure import Figure

# Colour and line style of each arm; black and blue also differ in lightness.
_ARMS = {
    SEPARATE: ("#000000", ":"),
    CONTINUED: ("#E69F00", "--"),
    PLACEBO: ("#009E73", "-."),
    DISTILLED: ("#0072B2", "-"),
}
# Label, fill and hatch of the bars before and after distillation.
_BARS = {
    SEPARATE: ("before distillation", "white", ""),
    DISTILLED: ("after distillation", "#56B4E9", "////"),
}
# Colour, line style and title of the draws in each direction.
_DRAWS = {
    "teacher_to_student": ("#0072B2", "-", "teacher to student"),
    "student_to_teacher": ("#D55E00", "--", "student to teacher"),
}
# Arrays that the figures need.
_OF_WINS = ("user", "item_popularity", "user_activity", "teacher_separate", "student_separate", "student_distilled")
_OF_DISCREPANCY = ("edges", "linear_width", "unseen", "user")


def redraw(folder: str | Path) -> list[Path]:
    """Draw the figures of a finished run again.

    Args:
        folder: a run folder.

    Returns:
        The files written.

    Raises:
        RunFolderError: the folder holds no finished run, or lacks the data of a figure.
        CheckpointError: a figure cannot be written.
    """
    folder = Path(folder)
    result = read_result(folder)
    if result["status"] != "finished":
        raise RunFolderError(f"{folder}: the run has status {result['status']}, not finished; run it again")
    return draw(folder, result, read_validations(folder / "metrics.csv"))


def draw(folder: Path, result: Mapping[str, Any], validations: list[dict[str, Any]]) -> list[Path]:
    """Draw the figures of a run into its folder: for one role its learning curves, for two roles all figures.

    Args:
        folder: the run folder, which holds `test_ranks.npz` and `discrepancy.npz` where there are two roles.
        result: content of `result.json`.
        validations: rows of `metrics.csv`.

    Returns:
        The files written.

    Raises:
        RunFolderError: the folder lacks the data of a figure.
        CheckpointError: a figure cannot be written.
    """
    drawn = {"curves.png": curves_figure(result, validations)}
    if TEACHER in result:
        drawn["wins.png"] = wins_figure(result, _arrays(folder / "test_ranks.npz", _OF_WINS))
        drawn["discrepancy.png"] = discrepancy_figure(result, _arrays(folder / "discrepancy.npz", _OF_DISCREPANCY))
    for name, figure in drawn.items():
        # Leaving out matplotlib's version makes equal data give equal files. A link is replaced, not followed.
        save = partial(figure.savefig, format="png", dpi=150, metadata={"Software": None})
        write_atomically(folder / name, save)
    return [folder / name for name in drawn]


def _arrays(path: Path, needed: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise RunFolderError(
            f"{path} does not exist: the run was made by an older version; run it again with "
            f"recbole-bd run --config_files={path.parent / 'config.yaml'}"
        )
    arrays = read_arrays(path)
    if missing := [name for name in needed if name not in arrays]:
        raise RunFolderError(f"{path} lacks {', '.join(missing)}")
    return arrays


def empty_figure(**options: Any) -> "Figure":
    """Make an empty figure outside pyplot, whose global state in a caller's notebook stays unchanged."""
    from matplotlib.figure import Figure

    return Figure(layout="constrained", **options)


def _plain_axis(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.set_axisbelow(True)


def _models(result: Mapping[str, Any]) -> str:
    """Describe the run of a figure; dollar signs in names are escaped, so that they start no formula."""
    sizes = ", ".join(f"{role} {result[role]['model']} {result[role]['parameters']:,}" for role in PAIR)
    return f"{result['method']} on {result['dataset']}, seed {result['seed']} ({sizes} parameters)".replace("$", r"\$")


# --- learning curves -------------------------------------------------------------------------------------------------
def curves_figure(result: Mapping[str, Any], validations: list[dict[str, Any]]) -> "Figure":
    """Draw validation curves of each role: warm-up, distillation and controls, and levels of the other arms.

    Args:
        result: content of `result.json`.
        validations: rows of `metrics.csv`, whose epochs count from 0 in each arm; the axis counts on.
    """
    roles = [name for name in ROLES if name in result]
    metric = result["valid_metric"]
    figure = empty_figure(figsize=(5.5 * len(roles), 3.8))
    for axis, role in zip(figure.subplots(1, len(roles), squeeze=False)[0], roles, strict=True):
        start = 0
        for arm, (colour, line) in _ARMS.items():
            rows = [row for row in validations if row["role"] == role and row["stage"] == arm]
            if rows:
                epochs = [row["epoch"] + 1 + (start if arm != SEPARATE else 0) for row in rows]
                axis.plot(epochs, [row[metric] for row in rows], color=colour, linestyle=line, label=arm, marker=".")
            if arm == SEPARATE and rows:
                start = max(row["epoch"] for row in rows) + 1
                axis.axvline(start, color="0.7", linewidth=0.8)
            if arm != DISTILLED and result[role].get(arm):
                level = result[role][arm]["valid"].get(metric)
                if level is not None:
                    axis.axhline(level, color=colour, linestyle=line, linewidth=0.8, alpha=0.6)
        axis.set_title(f"{role}: {result[role]['model']}, {result[role]['parameters']:,} parameters")
        axis.set_xlabel("training epoch (vertical line: end of warm-up)")
        axis.set_ylabel(f"validation {metric}")
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    return figure


# --- wins ------------------------------------------------------------------------------------------------------------
def wins_figure(result: Mapping[str, Any], record: Mapping[str, np.ndarray]) -> "Figure":
    """Draw the student's share of wins on test interactions: overall, by item popularity, by user activity.

    Overall it is drawn twice: with and without items that never occur in training.

    Args:
        result: content of `result.json`.
        record: content of `test_ranks.npz`, see `student_wins.test_ranks_record`.
    """
    figure = empty_figure(figsize=(12, 4.2))
    axes = figure.subplots(1, 3, sharey=True, width_ratios=(1.3, 2.4, 2.4))
    records = {"all": record, "trained items": student_wins.of_trained_items(record)}
    records = {label: one for label, one in records.items() if len(one["user"])}
    labels = [f"{label}\nn = {len(one['user']):,}" for label, one in records.items()]
    _bars(axes[0], labels, [student_wins.overall(one) for one in records.values()])
    axes[0].set_xlabel("test interactions\n(trained: the item occurs in training)")
    axes[0].set_ylabel("ranked higher by the student (%)")
    titles = {
        "item_popularity": "by popularity of the item\n(its training interactions, from-to)",
        "user_activity": "by activity of the user\n(their training interactions, from-to)",
    }
    for axis, (key, title) in zip(axes[1:], titles.items(), strict=True):
        groups = student_wins.by_count(record, key)
        labels = [f"{_bounds(group.least, group.most)}\nn = {group.size:,}" for group in groups]
        _bars(axis, labels, [group.shares for group in groups])
        axis.set_xlabel(title)
    for axis in axes:
        axis.axhline(50, color="0.4", linewidth=1.0, linestyle="-.", label="half")
        axis.grid(axis="y", color="0.9", linewidth=0.8)
        _plain_axis(axis)
    axes[0].set_ylim(0, None)
    handles, labels = axes[0].get_legend_handles_labels()
    if f"teacher_{DISTILLED}" not in record:
        labels = [f"{label} of the student" if label == _BARS[DISTILLED][0] else label for label in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(
        f"Test interactions on which the student ranks the held-out item higher than the teacher\n{_models(result)}",
        fontsize=11,
    )
    return figure


def _bounds(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,}\N{EN DASH}{most:,}"


def _bars(axis: Any, labels: list[str], shares: list[dict[str, student_wins.Share]]) -> None:
    """Draw a pair of bars for each label, before and after distillation, in percent with confidence intervals."""
    width = 0.38
    for place, (arm, (title, fill, hatch)) in enumerate(_BARS.items()):
        found = [100 * np.array([share[arm].value, share[arm].low, share[arm].high]) for share in shares]
        values, lows, highs = np.array(found).T
        at = np.arange(len(labels)) + (place - 0.5) * width
        axis.bar(at, values, width, color=fill, hatch=hatch, edgecolor="black", linewidth=0.9, label=title)
        whiskers = np.maximum([values - lows, highs - values], 0)
        # A white line below the black one keeps the whisker visible on the hatch.
        for colour, line in (("white", 3.4), ("black", 1.2)):
            bars = axis.errorbar(
                at, values, yerr=whiskers, fmt="none", ecolor=colour, capsize=3, linewidth=line, capthick=line
            )
        for x, value, high in zip(at, values, highs, strict=True):
            axis.annotate(
                f"{value:.0f}" if len(labels) > 2 else f"{value:.1f}",
                (x, high), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
    bars.set_label("95 % confidence interval over users")
    axis.set_xticks(range(len(labels)), labels, fontsize=8.5)


# --- rank discrepancy ------------------------------------------------------------------------------------------------
def discrepancy_figure(result: Mapping[str, Any], record: Mapping[str, np.ndarray]) -> "Figure":
    """Draw histograms of rank differences of unseen items before distillation, and of the drawn items.

    Args:
        result: content of `result.json`.
        record: content of `discrepancy.npz`, see `rank_discrepancy.count_discrepancies`.
    """
    edges, width = record["edges"], float(record["linear_width"])
    figure = empty_figure(figsize=(8, 4.8))
    axis = figure.subplots()
    _steps(
        axis, edges, record["unseen"], fill="0.85", color="0.45", linewidth=1.0,
        label=f"all unseen items: {record['unseen'].sum():,} of {_counted_users(result, record)}",
    )  # fmt: skip
    for direction, (colour, line, title) in _DRAWS.items():
        if f"drawn_{direction}" in record:
            counts = record[f"drawn_{direction}"]
            label = f"{title} ({record[f'how_{direction}']}): {counts.sum():,} draws"
            _steps(axis, edges, counts, color=colour, linestyle=line, linewidth=2.0, label=label)
    axis.set_xscale("asinh", linear_width=width)
    furthest = edges[-1]
    ticks = 10.0 ** np.arange(np.ceil(np.log10(width)), np.log10(furthest))
    names = [f"{tick:,.0f}" for tick in ticks]
    axis.set_xticks([*-ticks[::-1], 0, *ticks], [*(f"\N{MINUS SIGN}{name}" for name in names[::-1]), "0", *names])
    axis.set_xticks([], minor=True)
    axis.set_xlim(-furthest, furthest)
    axis.set_ylim(0, 1.12 * axis.get_ylim()[1])  # room for the text at the top
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel(
        "rank by the student \N{MINUS SIGN} rank by the teacher, in positions (1 is best; "
        f"linear within \N{PLUS-MINUS SIGN}{width:,.0f}, logarithmic beyond)"
    )
    axis.set_ylabel("share of items or draws per bin (%)")
    for x, align, text in (
        (0.01, "left", "student ranks the item higher"),
        (0.99, "right", "teacher ranks the item higher"),
    ):
        axis.text(x, 0.98, text, transform=axis.transAxes, ha=align, va="top", fontsize=9, style="italic")
    _plain_axis(axis)
    figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    figure.suptitle(f"Rank discrepancy before distillation\n{_models(result)}", fontsize=11)
    return figure


def _counted_users(result: Mapping[str, Any], record: Mapping[str, np.ndarray]) -> str:
    """How many users were counted, and of how many if not of all."""
    counted, of_all = len(record["user"]), result.get("data", {}).get("users", 0)
    return f"{counted:,} users" + (f" (of {of_all:,})" if counted < of_all else "")


def _steps(axis: Any, edges: np.ndarray, counts: np.ndarray, label: str, fill: str | None = None, **style: Any) -> None:
    """Draw counts as shares in percent, one step per bin; the middle bin is too narrow and stands in the legend."""
    shares = 100 * counts / max(counts.sum(), 1)
    middle = len(shares) // 2
    label = f"{label}, {shares[middle]:.1f} % at equal ranks"
    shares[middle] = np.nan
    if fill:
        axis.stairs(shares, edges, fill=True, color=fill)
    axis.stairs(shares, edges, baseline=None, label=label, **style)
