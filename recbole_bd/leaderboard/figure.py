"""A leaderboard as pictures that read in grey: a line per row with its seeds, and quality against parameters."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from recbole_bd.leaderboard.tables import FULL, Board, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and orange of Okabe and Ito differ in lightness too; markers distinguish them in print.
_STYLES = {FULL: ("#0072B2", "s", "full size"), "student": ("#D55E00", "o", "student")}


def picture(board: Board) -> bytes:
    """The selecting metric of every row that finished, as PNG; the same bytes for the same runs.

    Args:
        board: a leaderboard.
    """
    # Avoid pyplot, which would change the backend of a notebook.
    from matplotlib.figure import Figure

    metric = board.valid_metric
    rows = [row for row in board.rows if row.runs]
    figure = Figure(figsize=(8, 1.6 + 0.36 * max(len(rows), 1)), layout="constrained")
    axis = figure.subplots()
    named = set()
    for place, row in enumerate(rows):
        colour, marker, title = _STYLES[row.size]
        cell = row.cells[metric]
        values = list(cell.values.values())
        if len(values) > 1:
            axis.plot(values, [place] * len(values), linestyle="", marker="|", markersize=9, color="0.45", zorder=2)
        axis.errorbar(
            cell.mean, place, xerr=cell.std or None, marker=marker, markersize=7 if cell.best else 6, color=colour,
            markerfacecolor=colour if cell.best else "white", markeredgewidth=1.6, capsize=3, linewidth=1.4, zorder=3,
            label=None if title in named else title,
        )  # fmt: skip
        named.add(title)
    sizes = [row.size for row in rows]
    for place in range(1, len(rows)):
        if sizes[place] != sizes[place - 1]:
            axis.axhline(place - 0.5, color="0.7", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [_plain(row.name) for row in rows])
    axis.invert_yaxis()
    axis.grid(axis="x", color="0.88", linewidth=0.8)
    axis.set_axisbelow(True)
    many = len(board.seeds) > 1
    spread = f"mean ± standard deviation of {len(board.seeds)} seeds, | one seed" if many else "one seed"
    axis.set_xlabel(f"test {metric} ({spread}; filled: best of its size)")
    _finish(axis, board, len(named) > 1)
    return _png(figure)


def parameters_picture(board: Board) -> bytes:
    """The selecting metric of every row with a size against its parameters, as PNG; same runs give the same bytes.

    A dashed line joins the rows to which no smaller row is equal, and these are named.

    Args:
        board: a leaderboard.
    """
    from matplotlib.figure import Figure

    metric = board.valid_metric
    rows = [row for row in board.rows if row.has_size]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.set_xscale("log")
    sizes = {row.parameters or 1 for row in rows}
    if len(sizes) < 2:  # matplotlib has no logarithmic axis around one value
        middle = min(sizes, default=1)
        axis.set_xlim(middle / 2, middle * 2)
    for size, (colour, marker, title) in _STYLES.items():
        cells = [(row.parameters or 1, row.cells[metric]) for row in rows if row.size == size]
        if cells:
            axis.errorbar(
                [count for count, _ in cells], [cell.mean for _, cell in cells],
                yerr=[cell.std or 0.0 for _, cell in cells], linestyle="", marker=marker, markersize=6, color=colour,
                markerfacecolor="white", markeredgewidth=1.4, elinewidth=0.8, label=title,
            )  # fmt: skip
    best = front(rows, board)
    axis.plot(
        [row.parameters or 1 for row in best], [row.cells[metric].mean for row in best], linestyle="--",
        linewidth=1, color="0.45", zorder=1,
    )  # fmt: skip
    for row in best:
        axis.annotate(
            _plain(row.name), (row.parameters or 1, row.cells[metric].mean), xytext=(0, 9), textcoords="offset points",
            ha="center", fontsize=8,
        )  # fmt: skip
    axis.margins(x=0.15, y=0.12)
    axis.grid(axis="y", color="0.88", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.set_xlabel("parameters (dashed: no smaller row is as good)")
    axis.set_ylabel(f"test {metric}")
    _finish(axis, board, len({row.size for row in rows}) > 1)
    return _png(figure)


def front(rows: list[Row], board: Board) -> list[Row]:
    """Rows to which no row with fewer or as many parameters is equal by the selecting metric, the smallest first."""
    metric = board.valid_metric
    sign = -1 if board.less_is_better(metric) else 1
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.parameters, -sign * row.cells[metric].mean)):
        if not found or sign * row.cells[metric].mean > sign * found[-1].cells[metric].mean:
            found.append(row)
    return found


def _plain(text: str) -> str:
    """Text whose dollar signs begin no formula, as names come from run folders."""
    return text.replace("$", r"\$")


def _finish(axis: Axes, board: Board, has_legend: bool) -> None:
    axis.set_title(_plain(board.dataset))
    axis.spines[["top", "right"]].set_visible(False)
    if has_legend:
        axis.legend(frameon=False, loc="best")


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    return stream.getvalue()
