"""Best cells of a leaderboard, and significant differences from a reference row."""

from collections.abc import Mapping

import numpy as np

from recbole_bd.backbones.names import BASELINE, CONTINUED, SEPARATE
from recbole_bd.errors import ComparisonError, LeaderboardError
from recbole_bd.evaluator.crossed import crossed_test
from recbole_bd.evaluator.significance import holm, t_test
from recbole_bd.leaderboard.tables import FULL, SMALL, Board, Cell, Row


def judge(board: Board, reference: str | None = None) -> Board:
    """Mark the best of each column and size, and test every row against its reference.

    Args:
        board: from `tables.build`; its cells and `references` are filled in.
        reference: name of the row that all are compared with; None compares the rows of each size with its continued
            control, else with its separate model, else with its best row by the selecting metric.

    Returns:
        The same board.

    Raises:
        LeaderboardError: no such reference.
    """
    _mark_best(board)
    board.references = _references(board, reference)
    _test(board)
    return board


def _mark_best(board: Board) -> None:
    for size in (FULL, SMALL):
        rows = [row for row in board.rows if row.size == size and row.runs]
        most = max((len(row.runs) for row in rows), default=0)
        rows = [row for row in rows if len(row.runs) == most]
        for metric in board.metrics if len(rows) > 1 else ():
            # Values that print the same share the mark.
            means = [round(row.cells[metric].mean, 4) for row in rows]
            best = min(means) if board.less_is_better(metric) else max(means)
            for row, mean in zip(rows, means, strict=True):
                row.cells[metric].best = mean == best


def _references(board: Board, wanted: str | None) -> dict[str, Row]:
    rows = [row for row in board.rows if row.runs]
    if wanted is not None:
        found = [row for row in rows if row.name.lower() == wanted.lower()]
        if not found:
            names = "; ".join(row.name for row in rows)
            raise LeaderboardError(f"reference={wanted!r} is not a row; the rows are: {names}")
        return dict.fromkeys((FULL, SMALL), found[0])
    chosen = {}
    for size in (FULL, SMALL):
        mine = [row for row in rows if row.size == size]
        for arm in (CONTINUED, SEPARATE):
            controls = [row for row in mine if row.arm == arm and row.role != BASELINE]
            if controls:
                break
        if controls or mine:
            chosen[size] = (controls or mine)[0]
    return chosen


def _test(board: Board) -> None:
    """Test every row against its reference, and adjust the p values of each column and test together."""
    values = {}
    for row in board.rows:
        try:
            values[row.name] = values_of(row)
        except ComparisonError as error:
            board.notes.append(f"{row.name} is not tested: {error}")
    for metric in board.metrics:
        cells: list[Cell] = []
        over_users, crossed = [], []
        for row in board.rows:
            reference = board.references.get(row.size)
            if reference is None or row is reference or row.name not in values or reference.name not in values:
                continue
            pairs = users_by_seeds(values[row.name], values[reference.name], metric)
            if pairs is not None:
                mine, others = pairs
                cells.append(row.cells[metric])
                cells[-1].difference = float((mine - others).mean())
                cells[-1].seeds = mine.shape[1]
                over_users.append(t_test(others.mean(axis=1), mine.mean(axis=1)))
                crossed.append(crossed_test(others, mine))
        for cell, p, crossed_p in zip(cells, holm(over_users), holm(crossed), strict=True):
            cell.p, cell.crossed_p = p, crossed_p


# Ids of a run's test users, sorted, [n_users], and their values by metric, [n_users] each.
Values = tuple[np.ndarray, dict[str, np.ndarray]]


def values_of(row: Row) -> dict[int, Values]:
    """The values of the users of a row's runs, by seed.

    Raises:
        ComparisonError: a run left no such values.
    """
    return {seed: _users_of(row, seed) for seed in row.runs}


def _users_of(row: Row, seed: int) -> Values:
    users, arrays = row.runs[seed].per_user()
    order = np.argsort(users)
    prefix = f"{row.role}/{row.arm}/"
    return users[order], {
        key.removeprefix(prefix): values[order] for key, values in arrays.items() if key.startswith(prefix)
    }


def users_by_seeds(
    one: Mapping[int, Values], other: Mapping[int, Values], metric: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Pair the values of the users that two rows tested in every common seed.

    Args:
        one, other: values of the rows, from `values_of`.
        metric: e.g. `ndcg@50`.

    Returns:
        [n_users, n_seeds] of each row, paired; None where there is no common seed or user.
    """
    seeds = sorted(one.keys() & other.keys())
    if not seeds or any(metric not in side[seed][1] for side in (one, other) for seed in seeds):
        return None
    users = one[seeds[0]][0]
    for side in (one, other):
        for seed in seeds:
            if not np.array_equal(users, side[seed][0]):
                users = np.intersect1d(users, side[seed][0], assume_unique=True)
    if not len(users):
        return None

    def column(values: Values) -> np.ndarray:
        ids, by_metric = values
        same = np.array_equal(ids, users)  # spares a search of strings
        return by_metric[metric] if same else by_metric[metric][np.searchsorted(ids, users)]

    of_one, of_other = (np.stack([column(side[seed]) for seed in seeds], axis=1) for side in (one, other))
    return of_one, of_other
