"""RecBole's atomic files, read and checked: what is wrong with one is said with its line.

A cell is what stands between two separators. RecBole reads by pandas' rules for CSV instead, by which an id `NA` or
`null` is a missing value, which it drops or calls padding, and a quotation mark takes everything up to the next one,
lines included, into its cell. Looking at a good file is a few passes of NumPy over its bytes.
"""

import csv
import io
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_bd.data.text_file import empty_error, line_at, line_error, read_text, shown
from recbole_bd.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

TYPES = ("token", "token_seq", "float", "float_seq")
# RecBole keeps the ids of a column in one array as wide as its longest: a single one of 100,000 characters beside a
# million others would take 400 GB.
LONGEST_TOKEN = 1024
# RecBole keeps numbers as float32.
LARGEST = float(np.finfo(np.float32).max)
# What RecBole takes for a missing value in a column of numbers; it fills in the mean. An id has no such words.
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>")
PADDING = b"[PAD]"
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)
_BLOCK = 2**24  # bytes looked at together
_STAND_IN = "\x1f"  # for separators of several bytes, which pandas' fast reader does not know


@dataclass(frozen=True)
class Column:
    """A column as the header has it: `name:type`; the type is one of `TYPES`."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.name}:{self.type}"


class AtomicFile:
    """One atomic file in memory, its header checked; its lines are checked by `frame`.

    Args:
        path: the file.
        encoding: of its text; see `read_text` for what is accepted.
        field_separator: between cells.
        seq_separator: inside the cells of sequences.

    Attributes:
        columns: all columns of the file, in its order.

    Raises:
        DataError: no such file, no such text, no header of known types, a column twice, or no lines behind the header.
        ConfigError: an encoding that Python does not know, or a separator that cannot be one.
    """

    def __init__(
        self, path: str | Path, encoding: str = "utf-8", field_separator: str = "\t", seq_separator: str = " "
    ):
        self.path = Path(path)
        self.separator, self.seq_separator = field_separator, seq_separator
        if not field_separator or set(field_separator) & set("\r\n\0:"):
            raise ConfigError(f"field_separator={field_separator!r}: must be a text without line end and colon")
        if not seq_separator:
            raise ConfigError(f"seq_separator={seq_separator!r}: must be a text")
        self._content = read_text(self.path, encoding)
        self._mark = field_separator
        if len(field_separator.encode()) > 1:
            self._mark = _STAND_IN
            if (place := self._content.find(_STAND_IN.encode())) >= 0:
                problem = f"the control character {_STAND_IN!r} stands in it, choose another separator"
                raise self._error(line_at(self._content, place), problem)
            self._content = self._content.replace(field_separator.encode(), _STAND_IN.encode())
        self._header_end = self._content.find(b"\n") + 1
        self.columns = self._columns()
        self._keys: frozenset[str] = frozenset()
        if not re.compile(rb"[^\n]").search(self._content, self._header_end):
            raise empty_error(self.path)

    def _columns(self) -> list[Column]:
        cells = self._content[: self._header_end - 1].decode().split(self._mark)
        for cell in cells:
            if not re.fullmatch(r"[^:]+:[^:]+", cell):
                found = shown(self.separator.join(cells))
                raise self._error(
                    1,
                    "expected a header such as user_id:token<TAB>item_id:token, "
                    f"found {found} (field_separator={self.separator!r})",
                )
        columns = [Column(*cell.split(":")) for cell in cells]
        names = [column.name for column in columns]
        for name, column in zip(names, columns, strict=True):
            if column.type not in TYPES:
                problem = f"type {shown(column.type)} of column {name} is not supported: expected {', '.join(TYPES)}"
                raise self._error(1, problem)
            if names.count(name) > 1:
                raise self._error(1, f"column {name} comes twice")
        return columns

    def require(self, names: Collection[str], keys: Collection[str] = ()) -> None:
        """Check that columns are there, and have `frame` refuse lines without an id.

        Args:
            names: the columns that the settings load.
            keys: the columns of user and item: ids, which no line may lack.

        Raises:
            DataError: a column is missing or holds no ids.
        """
        present = {column.name: column for column in self.columns}
        for name in (*keys, *names):
            if name not in present:
                found = ", ".join(present)
                raise self._error(
                    1, f"has no column {name}; it has {found} (settings load_col, USER_ID_FIELD, ITEM_ID_FIELD)"
                )
        for name in keys:
            if present[name].type != "token":
                raise self._error(1, f"ids must be of type token, found {present[name]}")
        self._keys = frozenset(keys)

    def header(self, *_: Any, **__: Any) -> io.StringIO:
        """The first line, as RecBole's `open(path, "r", encoding=...)` gives it."""
        return io.StringIO(self.separator.join(map(str, self.columns)) + "\n")

    def frame(self, _: Any, usecols: Collection[str], dtype: Mapping[str, type], **__: Any) -> pd.DataFrame:
        """The columns that are asked for, as RecBole's `pandas.read_csv(path, ...)` gives them for a harmless file.

        Args:
            usecols: what to read, `name:type` each.
            dtype: str or float64 of each.

        Returns:
            A row per line that is not blank; missing cells are NaN.

        Raises:
            DataError: naming the first line with a wrong number of cells, without an id, with the id of RecBole's
                padding, with text or an infinite number in a column of numbers, or with a token of more than 1,024
                bytes.
        """
        content = self._content
        problem = next(filter(None, (self._check_block(*block, set(usecols)) for block in self._blocks())), None)
        if problem:  # an earlier line may hold a wrong number
            content = content[: problem[0]]
        if b"\n\n" in content:
            content = re.sub(rb"\n\n+", b"\n", content)
        frame = self._numbers(content, usecols, dtype) if content.find(b"\n") < len(content) - 1 else None
        if problem:
            raise problem[1]
        self._say_missing(frame)
        return frame

    # --- cells and ids ---------------------------------------------------------------------------------------------
    def _blocks(self) -> Iterator[tuple[int, int, int]]:
        """Whole lines behind the header, about 16 MiB at a time: start, end, and the number of the first line."""
        start, line = self._header_end, 2
        while start < len(self._content):
            end = self._content.rfind(b"\n", start, start + _BLOCK) + 1 or self._content.find(b"\n", start) + 1
            yield start, end, line
            line += self._content.count(b"\n", start, end)
            start = end

    def _check_block(
        self, start: int, end: int, first_line: int, wanted: Collection[str]
    ) -> tuple[int, DataError] | None:
        """Where the first line with a wrong number or size of cells starts, and what is wrong with it."""
        block = np.frombuffer(self._content, np.uint8, end - start, start)
        ends = np.flatnonzero(block == ord("\n"))
        starts = np.concatenate([[0], ends[:-1] + 1])
        lines = np.flatnonzero(starts < ends)  # the others are blank
        if len(lines) < len(ends):
            starts, ends = starts[lines], ends[lines]
        separators = np.flatnonzero(block == ord(self._mark))
        gaps = len(self.columns) - 1
        counts = np.searchsorted(separators, ends) - np.searchsorted(separators, starts)
        problems, bad = [], np.flatnonzero(counts != gaps)
        if len(bad):
            row = bad[0]
            text = block[starts[row] : ends[row]].tobytes().replace(self._mark.encode(), self.separator.encode())
            found = f"{counts[row] + 1}: {shown(text.decode())} (field_separator={self.separator!r})"
            problems.append((row, f"expected {gaps + 1} cells, as in the header, found {found}"))
            starts, ends = starts[:row], ends[:row]
        edges = separators[: len(ends) * gaps].reshape(len(ends), gaps)
        for number, column in enumerate(self.columns):
            if str(column) in wanted and column.type != "float":
                left = edges[:, number - 1] + 1 if number else starts
                right = edges[:, number] if number < gaps else ends
                problems += self._wrong_tokens(block, left, right, column)
        if not problems:
            return None
        row, problem = min(problems, key=lambda found: found[0])
        line_start = np.flatnonzero(block == ord("\n"))[lines[row] - 1] + 1 if lines[row] else 0
        return start + int(line_start), self._error(first_line + lines[row], problem)

    def _wrong_tokens(
        self, block: np.ndarray, left: np.ndarray, right: np.ndarray, column: Column
    ) -> Iterator[tuple[int, str]]:
        """The first row of each kind of wrong token, and what is wrong with it."""
        widths = right - left
        if column.name in self._keys:
            if (empty := np.flatnonzero(widths == 0)).size:
                yield int(empty[0]), f"column {column.name} is empty, expected an id"
            for row in np.flatnonzero((widths == len(PADDING)) & (block[left] == PADDING[0])):
                if block[left[row] : right[row]].tobytes() == PADDING:
                    yield int(row), f"column {column.name}: the id [PAD] is RecBole's padding"
                    break
        for row in np.flatnonzero(widths > LONGEST_TOKEN):
            cell = block[left[row] : right[row]].tobytes().decode()
            words = cell.split(self.seq_separator) if column.type.endswith("_seq") else [cell]
            longest = max(words, key=lambda word: len(word.encode()))
            if len(longest.encode()) > LONGEST_TOKEN:
                yield (
                    int(row),
                    f"column {column.name}: expected at most {LONGEST_TOKEN:,} bytes, found {shown(longest)}",
                )
                break

    # --- numbers -----------------------------------------------------------------------------------------------------
    def _numbers(self, content: bytes, usecols: Collection[str], dtype: Mapping[str, type]) -> pd.DataFrame:
        """The columns of a text whose cells have been counted, with finite numbers in columns of numbers."""
        try:
            frame = self._parse(content, usecols, dtype)
            wrong = [column for column in usecols if not self._is_finite(frame[column], column)]
        except ValueError:
            wrong = [column for column in usecols if ":float" in column]
        if wrong:
            raise self._wrong_number(self._parse(content, wrong, dict.fromkeys(wrong, str)))
        return frame

    def _parse(self, content: bytes, usecols: Collection[str], dtype: Mapping[str, type]) -> pd.DataFrame:
        return pd.read_csv(
            io.BytesIO(content),
            sep=self._mark,
            header=None,
            skiprows=1,
            names=[str(column) for column in self.columns],
            usecols=list(usecols),
            dtype=dict(dtype),
            na_values={column: list(MISSING if column.endswith(":float") else ("",)) for column in usecols},
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,
            skip_blank_lines=False,
            encoding="utf-8",
            engine="c",
            low_memory=False,
        )

    def _is_finite(self, values: pd.Series, column: str) -> bool:
        """Whether all is finite in float32; a missing number is no wrong one. ValueError where a word is no number."""
        if column.endswith(":float"):
            return not (values.abs() > LARGEST).any()
        if column.endswith(":float_seq"):
            words = filter(None, self.seq_separator.join(values.fillna("")).split(self.seq_separator))
            return bool((np.abs(np.fromiter(map(float, words), np.float64)) <= LARGEST).all())
        return True

    def _wrong_number(self, texts: pd.DataFrame) -> DataError:
        """The error for the first cell, here as text, that is no number."""
        found: list[tuple[int, str, str]] = []
        for column in texts:
            name, _, kind = column.rpartition(":")
            for row, cell in enumerate(texts[column].fillna("")):
                words = filter(None, cell.split(self.seq_separator)) if kind == "float_seq" else [cell]
                wrong = [word for word in words if not _is_number(word) and (kind != "float" or word not in MISSING)]
                if wrong:
                    found.append((row, name, wrong[0]))
                    break
        if not found:
            return DataError(f"data file {self.path} cannot be read: a column of numbers holds something else")
        row, name, word = min(found)
        problem = f"column {name}: expected a number of at most {LARGEST:.1e}, found {shown(word)}"
        return self._error(self._line(row), problem)

    def _say_missing(self, frame: pd.DataFrame) -> None:
        for column in frame:
            if column.endswith(":float") and (missing := frame[column].isna().to_numpy()).any():
                logger.warning(
                    "data file %s: %s cell(s) of column %s have no number, the first in line %d; they count as missing",
                    self.path, f"{missing.sum():,}", column.rpartition(":")[0], self._line(int(missing.argmax())),
                )  # fmt: skip

    # --- errors ------------------------------------------------------------------------------------------------------
    def _line(self, row: int) -> int:
        """The number in the file, from 1, of a row, from 0; blank lines are no rows."""
        lines = self._content.split(b"\n")
        return [number for number, line in enumerate(lines, start=1) if line][1 + row]

    def _error(self, line: int, problem: str) -> DataError:
        return line_error(self.path, line, problem)


def _is_number(word: str) -> bool:
    return bool(_NUMBER.fullmatch(word)) and abs(float(word)) <= LARGEST
