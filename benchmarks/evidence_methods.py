"""Table of the methods' page: what each method gave the student, on every board."""

from collections.abc import Mapping

from evidence_claims import ONE_WAY, row_named, rows_of

from recbole_bd.leaderboard.formats import number
from recbole_bd.leaderboard.tables import Board

# Columns: names of rows without the role, and their titles where these differ; the last one is the board's own form.
_COLUMNS = {
    "separate": "separate",
    "continued alone": "control",
    **{name: name for name in ONE_WAY},
    "BD (paper), searched": "BD, paper's form, searched",
    "BD, to the student": "BD, one way",
}


def students_table(boards: Mapping[str, Board], forms: Mapping[str, str]) -> str:
    """Write the student's mean test value for every board and method; a cell is empty where none was run.

    Args:
        boards: by name.
        forms: name of BD's row on each board, without the role.
    """
    header = ["pair", "seeds", *_COLUMNS.values(), "BD"]
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    for name, board in boards.items():
        rows, form = rows_of(board), forms[name]
        found = [rows.get(row_named("student", column, form)) for column in (*_COLUMNS, form)]
        values = ["" if row is None else number(row.cells[board.valid_metric]).split()[0] for row in found]
        seeds = max(len(row.runs) for row in found if row is not None)
        lines.append(f"| {' | '.join([name, str(seeds), *values])} |")
    return "\n".join([*lines, ""])
