"""A leaderboard as one HTML file that needs nothing else: no network, no other file."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recbole_bd.backbones.names import ARMS, BASELINE, SEPARATE
from recbole_bd.leaderboard.copied import cells, header
from recbole_bd.leaderboard.formats import failures, number, rules, settings_of
from recbole_bd.leaderboard.request_times import milliseconds, notes_on_times
from recbole_bd.leaderboard.tables import SMALL, Board, Cell, Row

_TEMPLATES = Path(__file__).parent / "templates"
# Each part of the script uses names of those before it.
_SCRIPTS = ("elements.js", "table.js", "axes.js", "picture.js", "details.js", "tools.js")


def page(board: Board) -> str:
    """Render the page: the table as HTML that reads without a script, and data for the pictures of its script.

    Its policy (`Content-Security-Policy`) lets the browser use this script and style, and load nothing.
    jinja2 escapes every text, since names of run folders and error messages may hold anything.

    Args:
        board: a leaderboard.

    Raises:
        RunFolderError: a file of a run is damaged.
    """
    style, script = _template("leaderboard.css"), _script()
    times = milliseconds(board)
    sizes = sorted({size for one in times for size in one})
    columns = _columns(board, sizes)
    heads = header([name for name, _ in columns], board)
    data = {
        "metric": board.valid_metric,
        "metrics": board.metrics,
        "less_is_better": [name for name in board.metrics if board.less_is_better(name)],
        "requests": sizes,
        "name": f"leaderboard-{board.dataset}",
        "columns": [{form: texts[place] for form, texts in heads.items()} for place in range(len(columns))],
        "rows": [_details(row, one, sizes, board) for row, one in zip(board.rows, times, strict=True)],
    }
    return (
        _environment()
        .get_template("leaderboard.html")
        .render(
            policy=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
            "base-uri 'none'; form-action 'none'",
            title=f"Leaderboard on {board.dataset}",
            facts=_facts(board),
            columns=columns,
            rows=[_line(row, one, sizes, board) for row, one in zip(board.rows, times, strict=True)],
            rules=[*rules(board), *notes_on_times(board)],
            has_times=bool(sizes),
            data=data,
            style=style,
            script=script,
        )
    )


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _script() -> str:
    """The parts of the script as one, which share their names and leave none to the window."""
    return '"use strict";\n(() => {\n' + "\n".join(map(_template, _SCRIPTS)) + "})();\n"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": True, "separators": (",", ":")}
    return environment


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _facts(board: Board) -> list[tuple[str, str]]:
    facts = {"seeds": ", ".join(map(str, board.seeds)), "selected by": f"validation {board.valid_metric}"}
    if board.data:
        facts = {name: f"{board.data[name]:,}" for name in ("users", "items", "interactions")} | facts
    return [*facts.items()]


def _columns(board: Board, sizes: Sequence[int]) -> list[tuple[str, str]]:
    """Name and kind of each column; the kind decides how the script sorts it."""
    columns = [("row", "text"), ("size", "text"), ("model", "text"), ("parameters", "number"), ("n", "number")]
    columns += [(f"ms, {size} user{'s' * (size != 1)}", "number") for size in sizes]
    return columns + [(name, "number") for name in board.metrics]


def _size_title(row: Row) -> str:
    return "student" if row.size == SMALL else "full"


def _line(row: Row, times: Mapping[int, float], sizes: Sequence[int], board: Board) -> dict[str, Any]:
    """One row as the template shows it."""
    return {
        "name": row.name,
        "size": row.size,
        "size_title": _size_title(row),
        "is_reference": row in board.references.values(),
        "model": row.model,
        "parameters": row.parameters,
        "count": len(row.runs),
        "times": [times.get(size) for size in sizes],
        "cells": [_cell(row.cells[name]) for name in board.metrics] if row.runs else [],
        "columns": max(len(board.metrics), 1),
        "failures": failures(row),
    }


def _cell(cell: Cell) -> dict[str, Any]:
    """One value as the template shows it."""
    mean, sign, spread = number(cell).partition(" ± ")
    test = ""
    if cell.p is not None:
        test = f"difference to the reference {cell.difference:+.4f}, p over users = {cell.p:.3g}"
    if cell.crossed_p is not None:
        test += f", p over users and seeds = {cell.crossed_p:.3g}"
    return {
        "value": _finite(cell.mean),
        "best": cell.best,
        "mean": mean,
        "spread": sign + spread,
        "test": test,
        "mark": cell.mark,
    }


def _finite(value: float | None) -> float | None:
    """None in the place of what JSON does not hold: infinities and what is no number."""
    return value if value is not None and math.isfinite(value) else None


def _details(row: Row, times: Mapping[int, float], sizes: Sequence[int], board: Board) -> dict[str, Any]:
    """What the script shows of a row: its point in the picture, its cells where they are copied, and its details.

    Details are commands, settings, and the validations of every seed by stage.
    """
    about = [row.name, _size_title(row), row.model, row.parameters, len(row.runs), *(times.get(size) for size in sizes)]
    details: dict[str, Any] = {"name": row.name, "errors": failures(row), "runs": [], "settings": {}}
    details["objective"] = row.objective
    details["copied"] = cells(row, about, board)
    details["point"] = {
        "size": row.size,
        "arm": "baseline" if row.role == BASELINE else row.arm,
        "parameters": row.parameters if row.has_size else None,
        "milliseconds": times,
        "values": {name: [_finite(cell.mean), _finite(cell.std)] for name, cell in row.cells.items()},
    }
    if row.runs:
        details["settings"] = settings_of(row)
    stages = [SEPARATE] if row.role == BASELINE else [*ARMS]
    stages = stages[: stages.index(row.arm) + 1]
    for seed, run in sorted(row.runs.items()):
        curves = {stage: _curve(run.validations, row.role, stage) for stage in stages}
        details["runs"].append(
            {
                "seed": seed,
                "folder": run.folder.name,
                "command": run.command,
                "seconds": run.result.get("timing", {}).get("total_s"),
                "curves": {stage: curve for stage, curve in curves.items() if curve["epoch"]},
            }
        )
    return details


def _curve(validations: list[dict[str, Any]], role: str, stage: str) -> dict[str, list[float | None]]:
    """Validations of one stage by column: epochs from 0, and each metric."""
    rows = [row for row in validations if (row["role"], row["stage"]) == (role, stage)]
    columns = [name for name in (rows[0] if rows else {}) if name not in ("role", "stage")]
    return {
        "epoch": [],
        **{name: [_finite(row[name]) for row in rows] for name in columns if all(name in row for row in rows)},
    }
