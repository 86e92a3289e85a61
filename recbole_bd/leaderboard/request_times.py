"""Times of requests of a leaderboard's rows, in milliseconds, where `serve-bench` has measured their models."""

import statistics
from typing import Any

from recbole_bd.leaderboard.tables import Board, Row


def milliseconds(board: Board) -> list[dict[int, float]]:
    """Median time of a request of each row in milliseconds, by number of users in it, the fewest first.

    A time depends on a model's kind and size, not on its weights. Rows whose models have the same settings of their
    role therefore share their times, whatever the method that taught them.

    Args:
        board: a leaderboard.

    Returns:
        By row, in the order of the board: means over the measured runs of such a model, of the sizes that all of them
        have; empty if none was measured.

    Raises:
        RunFolderError: a `serving.json` is damaged.
    """
    measured: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result, record in _measured(board):
        for role, model in record["models"].items():
            if role in result["hashes"]:
                measured.setdefault((role, result["hashes"][role]), []).append(model["batches"])
    return [_means(measured.get(_model_of(row), [])) for row in board.rows]


def notes_on_times(board: Board) -> list[str]:
    """How the times were measured, in one sentence; nothing where no run was measured."""
    conditions = dict.fromkeys(_condition(record) for _, record in _measured(board))
    if not conditions:
        return []
    said = "Milliseconds: median time of a request in serve-bench; rows with the same model share it"
    if len(conditions) > 1:
        return [
            f"{said}. Runs were measured in different ways, so their times do not compare: {'; '.join(conditions)}."
        ]
    return [f"{said} ({next(iter(conditions))})."]


def _measured(board: Board) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """`result.json` and `serving.json` of each measured run."""
    runs = {run.folder: run for row in board.rows for run in row.runs.values()}
    return [(run.result, record) for run in runs.values() if (record := run.serving)]


def _model_of(row: Row) -> tuple[str, str]:
    return row.role, row.first.result["hashes"][row.role] if row.runs else ""


def _means(measured: list[dict[str, Any]]) -> dict[int, float]:
    sizes = [size for size in (measured or [{}])[0] if all(size in batches for batches in measured)]
    return {
        int(size): statistics.fmean(batches[size]["p50_ms"] for batches in measured) for size in sorted(sizes, key=int)
    }


def _condition(record: dict[str, Any]) -> str:
    """What must be the same for times to compare."""
    machine = record["machine"]
    return (
        f"top {record.get('k')}, {machine.get('device')}, {machine.get('processor')}, {machine.get('threads')} threads"
    )
