"""RecBole's atomic files, read and checked; an error names the line.

A cell is the text between two separators. RecBole instead reads by pandas' rules for CSV, with two surprises:

- An id `NA` or `null` is a missing value, which is dropped or becomes padding.
- A quotation mark takes everything up to the next one into its cell, line ends included.
"""

import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_bd.data.columns import TYPES, Column, Table
from recbole_bd.data.line_checks import first_wrong_line
from recbole_bd.data.number_checks import read_cells, refuse_missing_times, warn_of_missing_numbers
from recbole_bd.data.text_file import header_alone_error, line_at, line_error, read_text, shown
from recbole_bd.errors import ConfigError, DataError

_STAND_IN = "\x1f"  # replaces separators of several bytes, which pandas' C engine does not support


class AtomicFile:
    """One atomic file in memory with a checked header; `frame` checks its lines.

    Args:
        path: the file.
        encoding: encoding of its text; see `read_text` for what is accepted.
        field_separator: separates cells.
        seq_separator: separates the words in cells of sequences.

    Attributes:
        columns: all columns of the file, in its order.

    Raises:
        DataError: the file is missing, is not text, has no header of known types, names a column twice, or has no
            lines after the header.
        ConfigError: Python does not know the encoding, or a separator cannot be one.
    """

    def __init__(
        self, path: str | Path, encoding: str = "utf-8", field_separator: str = "\t", seq_separator: str = " "
    ):
        self.path = Path(path)
        if not field_separator or set(field_separator) & set("\r\n\0:"):
            raise ConfigError(f"field_separator={field_separator!r}: must be a string without line breaks and colons")
        if not seq_separator:
            raise ConfigError(f"seq_separator={seq_separator!r}: must not be empty")
        content, mark = read_text(self.path, encoding), field_separator
        if len(field_separator.encode()) > 1:
            mark = _STAND_IN
            if (place := content.find(_STAND_IN.encode())) >= 0:
                problem = f"the line contains the control character {_STAND_IN!r}; choose a separator of one byte"
                raise self._error(line_at(content, place), problem)
            content = content.replace(field_separator.encode(), _STAND_IN.encode())
        body = content.find(b"\n") + 1
        self.columns = self._columns(content[: body - 1].decode().split(mark), field_separator)
        self._table = Table(self.path, content, body, tuple(self.columns), mark, field_separator, seq_separator)
        self._keys: frozenset[str] = frozenset()
        self._time: str | None = None
        if not re.compile(rb"[^\n]").search(content, body):
            raise header_alone_error(self.path)

    def _columns(self, cells: list[str], separator: str) -> list[Column]:
        for cell in cells:
            if not re.fullmatch(r"[^:]+:[^:]+", cell):
                found = shown(separator.join(cells))
                raise self._error(
                    1,
                    f"expected a header such as user_id:token{_shown_separator(separator)}item_id:token, "
                    f"found {found} (field_separator={separator!r})",
                )
        columns = [Column(*cell.split(":")) for cell in cells]
        names = [column.name for column in columns]
        for name, column in zip(names, columns, strict=True):
            if column.type not in TYPES:
                problem = f"type {shown(column.type)} of column {name} is not supported: expected {', '.join(TYPES)}"
                raise self._error(1, problem)
            if names.count(name) > 1:
                raise self._error(1, f"column {name} appears more than once")
        return columns

    def require(
        self, names: Collection[str], keys: Collection[str] = (), time: str | None = None, orders: bool = False
    ) -> None:
        """Check that columns exist, and let `frame` refuse lines without an id or a time that is needed.

        Args:
            names: the columns that the settings load.
            keys: the columns of user and item ids, which no line may lack.
            time: the column of the interactions' times, without which some models and orders cannot be used.
            orders: whether times order or divide the interactions, so that no line may lack one.

        Raises:
            DataError: a column is missing or holds no ids.
        """
        self._time = time if orders else None
        present = {column.name: column for column in self.columns}
        for name in (*keys, *names):
            if name not in present:
                found = ", ".join(present)
                way_out = "settings load_col, USER_ID_FIELD, ITEM_ID_FIELD"
                if name == time:
                    way_out = (
                        "name the column of times in TIME_FIELD; without one leave out sequential models and order: TO"
                    )
                raise self._error(1, f"has no column {name}; it has {found} ({way_out})")
        for name in keys:
            if present[name].type != "token":
                raise self._error(1, f"ids must be of type token, found {present[name]}")
        self._keys = frozenset(keys)

    def header(self, *_: Any, **__: Any) -> io.StringIO:
        """The first line, as RecBole's `open(path, "r", encoding=...)` gives it."""
        return io.StringIO(self._table.separator.join(map(str, self.columns)) + "\n")

    def frame(self, _: Any, usecols: Collection[str], dtype: Mapping[str, type], **__: Any) -> pd.DataFrame:
        """The requested columns, as RecBole's `pandas.read_csv(path, ...)` gives them for a harmless file.

        Args:
            usecols: columns to read, `name:type` each.
            dtype: str or float64 of each.

        Returns:
            A row per line that is not blank; missing cells are NaN.

        Raises:
            DataError: naming the first wrong line. A line is wrong if its number of cells is, if it lacks an id, has
                the id of RecBole's padding or a token of more than 1,024 bytes, or if a column of numbers holds text or
                an infinite number. It is wrong, too, if it lacks the time that orders the interactions.
        """
        content = self._table.content
        if wrong := first_wrong_line(self._table, set(usecols), self._keys):
            start, error = wrong
            earlier = _without_blank_lines(content[:start])
            if earlier.find(b"\n") < len(earlier) - 1:
                read_cells(self._table, earlier, usecols, dtype)  # raises if an earlier line holds a wrong number
            raise error
        frame = read_cells(self._table, _without_blank_lines(content), usecols, dtype)
        if (times := f"{self._time}:float") in frame:
            refuse_missing_times(self._table, frame[times])
        warn_of_missing_numbers(self._table, frame)
        return frame

    def _error(self, line: int, problem: str) -> DataError:
        return line_error(self.path, line, problem)


def _shown_separator(separator: str) -> str:
    """The separator as a message shows it: names for those that are blank."""
    return {"\t": "<TAB>", " ": "<SPACE>"}.get(separator, separator)


def _without_blank_lines(content: bytes) -> bytes:
    return re.sub(rb"\n\n+", b"\n", content) if b"\n\n" in content else content
