"""A leaderboard as one HTML file that needs nothing else: no network, no other file."""

import base64
import hashlib
import html
import json
from pathlib import Path
from string import Template
from typing import Any

from recbole_bd.backbones.names import BASELINE, CONTINUED, DISTILLED, SEPARATE
from recbole_bd.leaderboard.formats import best_settings, failures, number, rules
from recbole_bd.leaderboard.tables import SMALL, Board, Cell, Row

_TEMPLATES = Path(__file__).parent / "templates"


def page(board: Board) -> str:
    """The page: the table as HTML that reads without a script, and the curves as data for our own.

    Its policy (`Content-Security-Policy`) lets the browser use this script and style, and load nothing.
    Every string is escaped, since names of run folders and error messages are anybody's text.

    Args:
        board: a leaderboard.
    """
    style, script = ((_TEMPLATES / f"leaderboard.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return Template((_TEMPLATES / "leaderboard.html").read_text(encoding="utf-8")).substitute(
        policy=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        title=html.escape(f"Leaderboard on {board.dataset}"),
        facts=_facts(board),
        head=_head(board),
        body="\n".join(_line(row, place, board) for place, row in enumerate(board.rows)),
        rules="\n".join(f"<li>{html.escape(line)}</li>" for line in rules(board)),
        data=_json({"metric": board.valid_metric, "rows": [_details(row) for row in board.rows]}),
        style=style,
        script=script,
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(content: Any) -> str:
    """JSON that no text in it can end early: `<` is written as an escape."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _facts(board: Board) -> str:
    facts = {"seeds": ", ".join(map(str, board.seeds)), "selected by": f"validation {board.valid_metric}"}
    if board.data:
        facts = {name: f"{board.data[name]:,}" for name in ("users", "items", "interactions")} | facts
    return "\n".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(fact)}</dd></div>" for name, fact in facts.items()
    )


def _head(board: Board) -> str:
    columns = [("row", "text"), ("size", "text"), ("model", "text"), ("parameters", "number"), ("n", "number")]
    columns += [(name, "number") for name in board.metrics]
    return "\n".join(
        f'<th scope="col" class="{kind}" aria-sort="none"><button type="button" data-kind="{kind}">{html.escape(name)}'
        '<span class="arrow" aria-hidden="true"></span></button></th>'
        for name, kind in columns
    )


def _line(row: Row, place: int, board: Board) -> str:
    name = html.escape(row.name)
    reference = ' <span class="badge">reference</span>' if row in board.references.values() else ""
    cells = [
        f'<th scope="row" data-value="{name}"><button type="button" class="open" aria-expanded="false">{name}</button>'
        f"{reference}</th>",
        f'<td data-value="{row.size}">{"student" if row.size == SMALL else "full"}</td>',
        f'<td data-value="{html.escape(row.model)}">{html.escape(row.model)}</td>',
    ]
    if row.runs:
        cells.append(f'<td class="number" data-value="{row.parameters}">{row.parameters:,}</td>')
        cells.append(f'<td class="number" data-value="{len(row.runs)}">{len(row.runs)}</td>')
        cells += [_cell(row.cells[name]) for name in board.metrics]
    else:
        cells.append('<td class="number"></td><td class="number" data-value="0">0</td>')
        cells.append(f'<td class="failed" colspan="{max(len(board.metrics), 1)}">{html.escape(failures(row))}</td>')
    return f'<tr class="row size-{row.size}" data-row="{place}">{"".join(cells)}</tr>'


def _cell(cell: Cell) -> str:
    mean, sign, spread = number(cell).partition(" ± ")
    text = f"<b>{mean}</b>" if cell.best else mean
    text += f'<span class="spread">{sign}{spread}</span>' if sign else ""
    mark, said = "", ""
    if cell.p is not None:
        said = f' title="difference to the reference {cell.difference:+.4f}, p = {cell.p:.3g}"'
        mark = "*" if cell.significant else ""
    return f'<td class="number" data-value="{cell.mean!r}"{said}>{text}<span class="mark">{mark}</span></td>'


def _details(row: Row) -> dict[str, Any]:
    """What a click on a row shows: commands, settings, and the validations of every seed by stage."""
    details: dict[str, Any] = {"name": row.name, "errors": failures(row), "runs": [], "settings": {}}
    details["objective"] = row.objective
    if row.runs:
        details["settings"] = best_settings(row)
    stages = [SEPARATE] if row.role == BASELINE else [SEPARATE, CONTINUED, DISTILLED]
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
    """One stage's validations by column: epochs from 0, and each metric."""
    rows = [row for row in validations if (row["role"], row["stage"]) == (role, stage)]
    columns = [name for name in (rows[0] if rows else {}) if name not in ("role", "stage")]
    return {"epoch": [], **{name: [row[name] for row in rows] for name in columns if all(name in row for row in rows)}}
