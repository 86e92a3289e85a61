"""Table of the methods' page: what each method gave the student, on every board."""

from collections.abc import Mapping

from evidence_claims import ONE_WAY, row_named, rows_of

from recbole_bd.leaderboard.formats import number
from recbole_bd.leaderboard.tables import Board

# Columns: titles, and the names of their rows without the role; None is the board's own form.
_COLUMNS = {
    "separate": "separate",
    "control": "continued alone",
    "BD": None,
    "BD, one way": "BD, to the student",
    "BD, paper": "BD (paper), searched",
    **{name: name for name in ONE_WAY},
}


def students_table(boards: Mapping[str, Board], forms: Mapping[str, str]) -> str:
    """Write the student's mean test value for every board and method; a cell is empty where none was run.

    Args:
        boards: by name.
        forms: name of BD's row on each board, without the role.
    """
    lines = [f"| {' | '.join(['pair', *_COLUMNS])} |", f"|---|{'---:|' * len(_COLUMNS)}"]
    for name, board in boards.items():
        rows, form = rows_of(board), forms[name]
        found = [rows.get(row_named("student", column or form, form)) for column in _COLUMNS.values()]
        values = ["" if row is None else number(row.cells[board.valid_metric]).split()[0].lstrip("0") for row in found]
        lines.append(f"| {' | '.join([name, *values])} |")
    return "\n".join([*lines, ""])
