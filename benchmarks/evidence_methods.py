"""Table of the methods' page: what each method gave the student, on every board."""

from collections.abc import Mapping

from evidence_claims import RIVALS, row_named, rows_of

from recbole_bd.leaderboard.formats import number
from recbole_bd.leaderboard.tables import Board, Row

# Columns: titles, and the names of their rows without the role; None is the board's own form.
_COLUMNS = {
    "separate": "separate",
    "control": "continued alone",
    "BD": None,
    "BD, one way": "BD, to the student",
    "BD, paper": "BD (paper), searched",
    **{name: name for name in RIVALS},
}


def students_table(boards: Mapping[str, Board], forms: Mapping[str, str]) -> str:
    """Write the student's mean test value for every board and each method that any has; empty where none was run.

    Args:
        boards: by name.
        forms: name of BD's row on each board, without the role.
    """
    found: dict[str, list[str]] = {}
    for name, board in boards.items():
        rows, form = rows_of(board), forms[name]
        mine = [rows.get(row_named("student", column or form, form)) for column in _COLUMNS.values()]
        found[name] = [_value(row, board.valid_metric) for row in mine]
    kept = [place for place, values in enumerate(zip(*found.values(), strict=True)) if any(values)]
    header = ["pair", *([*_COLUMNS][place] for place in kept)]
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * len(kept)}"]
    lines += [f"| {' | '.join([name, *(values[place] for place in kept)])} |" for name, values in found.items()]
    return "\n".join([*lines, ""])


def _value(row: Row | None, metric: str) -> str:
    return "" if row is None else number(row.cells[metric]).split()[0].lstrip("0")
