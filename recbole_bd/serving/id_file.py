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
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{what} file {path} cannot be read: {reason_of(error)}") from error
    ids = [line.strip() for line in lines if line.strip()]
    if ids and ids[0].split(":")[0] == field:
        del ids[0]
    if not ids and not may_be_empty:
        raise DataError(f"{what} file {path} contains no {what}: write one id on each line")
    return list(dict.fromkeys(ids))


def shortened(names: Sequence[str], shown: int = 5) -> str:
    """Join the first of some names; `...` stands for the rest."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
