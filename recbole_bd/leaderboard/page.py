"""A leaderboard as one HTML file that needs nothing else: no network, no other file."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recbole_bd.backbones.names import ARMS, BASELINE, SEPARATE
from recbole_bd.leaderboard.formats import best_settings, failures, number, rules
from recbole_bd.leaderboard.tables import SMALL, Board, Cell, Row

_TEMPLATES = Path(__file__).parent / "templates"


def page(board: Board) -> str:
    """Render the page: the table as HTML that reads without a script, and the curves as data for its script.

    Its policy (`Content-Security-Policy`) lets the browser use this script and style, and load nothing.
    jinja2 escapes every text, since names of run folders and error messages may hold anything.

    Args:
        board: a leaderboard.
    """
    style, script = ((_TEMPLATES / f"leaderboard.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return (
        _environment()
        .get_template("leaderboard.html")
        .render(
            policy=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
            "base-uri 'none'; form-action 'none'",
            title=f"Leaderboard on {board.dataset}",
            facts=_facts(board),
            columns=_columns(board),
            rows=[_line(row, board) for row in board.rows],
            rules=rules(board),
            data={"metric": board.valid_metric, "rows": [_details(row) for row in board.rows]},
            style=style,
            script=script,
        )
    )


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


def _columns(board: Board) -> list[tuple[str, str]]:
    """Name and kind of each column; the kind decides how the script sorts it."""
    columns = [("row", "text"), ("size", "text"), ("model", "text"), ("parameters", "number"), ("n", "number")]
    return columns + [(name, "number") for name in board.metrics]


def _line(row: Row, board: Board) -> dict[str, Any]:
    """One row as the template shows it."""
    return {
        "name": row.name,
        "size": row.size,
        "size_title": "student" if row.size == SMALL else "full",
        "is_reference": row in board.references.values(),
        "model": row.model,
        "parameters": row.parameters,
        "count": len(row.runs),
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
        "value": repr(cell.mean),
        "best": cell.best,
        "mean": mean,
        "spread": sign + spread,
        "test": test,
        "mark": cell.mark,
    }


def _details(row: Row) -> dict[str, Any]:
    """Content of an opened row: commands, settings, and the validations of every seed by stage."""
    details: dict[str, Any] = {"name": row.name, "errors": failures(row), "runs": [], "settings": {}}
    details["objective"] = row.objective
    if row.runs:
        details["settings"] = best_settings(row)
    stages = [SEPARATE] if row.role == BASELINE else [*ARMS]
    stages = stages[: stages.index(row.arm) + 1]
    for seed, run in sorted(row.runs.items()):
        curves = {stage: _curve(run.validations, row.role, stage) for stage in stages}
        details["runs"].append(
            {
                "seed": seed,
                "folder": run.folder.name,
                "command": run.result["command"],
                "seconds": run.result.get("timing", {}).get("total_s"),
                "curves": {stage: curve for stage, curve in curves.items() if curve["epoch"]},
            }
        )
    return details


def _curve(validations: list[dict[str, Any]], role: str, stage: str) -> dict[str, list[float]]:
    """Validations of one stage by column: epochs from 0, and each metric."""
    rows = [row for row in validations if (row["role"], row["stage"]) == (role, stage)]
    columns = [name for name in (rows[0] if rows else {}) if name not in ("role", "stage")]
    return {"epoch": [], **{name: [row[name] for row in rows] for name in columns if all(name in row for row in rows)}}
