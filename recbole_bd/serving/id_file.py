"""Original ids that a user wrote into a file, and in messages."""

from collections.abc import Sequence
from pathlib import Path

from recbole_bd.errors import DataError, reason_of


def read_ids(path: Path, field: str, what: str, may_be_empty: bool = False) -> list[str]:
    """Read original ids from a file, one on each line.

    Empty lines and a first line with the column's name are skipped. Repeated ids are kept once.

    Args:
        path: a text file in UTF-8.
        field: name of the column of ids in the data set, e.g. `user_id`.
        what: the ids in a word, `users` or `items`, for errors.
        may_be_empty: whether a file without ids is accepted.

    Raises:
        DataError: the file cannot be read, or holds no id.
    """
    ids = [line.strip() for _, line in read_lines(path, field, what)]
    if not ids and not may_be_empty:
        raise DataError(f"{what} file {path} contains no {what}: write one id on each line")
    return list(dict.fromkeys(ids))


def read_lines(path: Path, field: str, what: str) -> list[tuple[int, str]]:
    """Read the lines of a file with their numbers, from 1, without empty ones and a first one with a column's name.

    Args:
        path, field: see `read_ids`.
        what: the content in a word, for errors.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{what} file {path} cannot be read: {reason_of(error)}") from error
    found = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if found and found[0][1].split("\t")[0].strip().split(":")[0] == field:
        del found[0]
    return found


def shortened(names: Sequence[str], shown: int = 5) -> str:
    """Join the first of some names; `...` stands for the rest."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
