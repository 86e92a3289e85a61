"""Cells of a leaderboard as CSV, Markdown and LaTeX, which the page joins where its visible table is copied."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence

from recbole_bd.leaderboard.formats import md, md_cell, tex, tex_cell
from recbole_bd.leaderboard.tables import Board, Cell, Row

FORMATS = ("csv", "md", "tex")
_FAILED = "failed"


def header(names: Sequence[str], board: Board) -> dict[str, list[str]]:
    """Heads of the columns by format, each a text to be joined with those of the other visible columns.

    Args:
        names: names of the columns; in CSV a metric with several seeds has a second one, of standard deviations.
        board: a leaderboard.
    """
    spread = {name for name in board.metrics if _varies(name, board)}
    fields = [(name, f"{name} std") if name in spread else (name,) for name in names]
    return {"csv": [_csv(*one) for one in fields], "md": [md(name) for name in names], "tex": [tex(n) for n in names]}


def cells(row: Row, about: Sequence[str | int | float | None], board: Board) -> dict[str, list[str]]:
    """Cells of a row by format, in the order of the columns.

    Args:
        row: the row.
        about: values of the columns before the metrics; floats are milliseconds, None is an empty cell.
        board: its leaderboard.
    """
    shown = [_plain(value) for value in about]
    made = {"csv": [_csv(value) for value in about], "md": [md(text) for text in shown], "tex": [tex(t) for t in shown]}
    of_metrics: Mapping[str, Callable[[Cell], str]] = {"md": md_cell, "tex": tex_cell}
    for name in board.metrics:
        cell = row.cells.get(name)
        for form, text in of_metrics.items():
            made[form].append(_FAILED if cell is None else text(cell))
        numbers = [None, None] if cell is None else [cell.mean, cell.std]
        made["csv"].append(_csv(*numbers[: 1 + _varies(name, board)]))
    return made


def _varies(metric: str, board: Board) -> bool:
    """Whether a metric has a standard deviation in any row."""
    return any(row.cells[metric].std is not None for row in board.rows if row.runs)


def _plain(value: str | int | float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if isinstance(value, float) else value


def _csv(*fields: str | int | float | None) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    # The writer puts quotes around a single empty field.
    return "" if fields in ((None,), ("",)) else text.getvalue()
