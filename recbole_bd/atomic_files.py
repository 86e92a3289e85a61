"""RecBole's atomic files, read and checked: what is wrong with one is said with its line.

A cell is what stands between two separators. RecBole reads by pandas' rules for CSV instead, by which an id `NA` or
`null` is a missing value, which it drops or calls padding, and a quotation mark takes everything up to the next one,
lines included, into its cell. Looking at a good file is a few passes of NumPy over its bytes.
"""

import codecs
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
_NEWLINE = ord("\n")
_STAND_IN = "\x1f"  # for separators of several bytes, which pandas' fast reader does not know


@dataclass(frozen=True)
class Column:
    """A column as the header has it: `name:type`."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.name}:{self.type}"


class AtomicFile:
    """One atomic file in memory, its header checked; its lines are checked by `frame`.

    A byte order mark, `\\r\\n` or `\\r` for the end of a line, blank lines and a missing last line end are accepted.

    Args:
        path: the file.
        encoding: of its text.
        field_separator: between cells.
        seq_separator: inside the cells of sequences.

    Attributes:
        columns: all columns of the file, in its order.

    Raises:
        DataError: no such file, other text than `encoding` says, no header, or no lines behind it.
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
        self._content = self._one_byte_separator(self._line_ends(self._text(encoding)))
        self._header_end = self._content.find(b"\n") + 1
        self.columns = self._columns()
        self._keys: frozenset[str] = frozenset()

    # --- the text ------------------------------------------------------------------------------------------------
    def _text(self, encoding: str) -> bytes:
        """The file's text in UTF-8, without byte order mark."""
        try:
            codec = codecs.lookup(encoding).name
        except LookupError as error:
            raise ConfigError(f"encoding={encoding!r}: Python knows no such encoding") from error
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise DataError(f"data file {self.path} cannot be read: {error.strerror}") from error
        try:
            if codec != "utf-8" and codec != "utf-8-sig":
                content = content.decode(codec).encode()
            elif not content.isascii():
                content.decode()
        except UnicodeError as error:
            start = getattr(error, "start", 0)
            before = content[:start].decode(codec, errors="ignore")
            line = 1 + len(re.findall("\r\n|\r|\n", before))
            raise DataError(
                f"data file {self.path} line {line}: byte {content[start : start + 1].hex()} is no {encoding} text "
                "(setting encoding)"
            ) from error
        return content.removeprefix(codecs.BOM_UTF8)

    def _line_ends(self, content: bytes) -> bytes:
        """The text with a line feed, and no other sign, at the end of each line."""
        if b"\r" in content:
            content = content.replace(b"\r\n", b"\n")
            if b"\n" not in content:
                content = content.replace(b"\r", b"\n")
            elif (place := content.find(b"\r")) >= 0:
                raise self._error(content.count(b"\n", 0, place) + 1, "a carriage return stands inside the line")
        if (place := content.find(b"\0")) >= 0:
            raise self._error(content.count(b"\n", 0, place) + 1, "a zero byte stands in it, which no text has")
        if not content.strip(b"\n"):
            raise self._empty()
        return content if content.endswith(b"\n") else content + b"\n"

    def _one_byte_separator(self, content: bytes) -> bytes:
        self._mark = self.separator
        if len(self.separator.encode()) > 1:
            self._mark = _STAND_IN
            if (place := content.find(_STAND_IN.encode())) >= 0:
                line = content.count(b"\n", 0, place) + 1
                raise self._error(line, f"the control character {_STAND_IN!r} stands in it, choose another separator")
            content = content.replace(self.separator.encode(), _STAND_IN.encode())
        return content

    # --- the header ----------------------------------------------------------------------------------------------
    def _columns(self) -> list[Column]:
        cells = self._content[: self._header_end - 1].decode().split(self._mark)
        for cell in cells:
            if not re.fullmatch(r"[^:]+:[^:]+", cell):
                found = self.separator.join(cells)
                raise self._error(
                    1,
                    "expected a header such as user_id:token<TAB>item_id:token, "
                    f"found {_shown(found)} (field_separator={self.separator!r})",
                )
        columns = [Column(*cell.split(":")) for cell in cells]
        names = [column.name for column in columns]
        for column in columns:
            if column.type not in TYPES:
                raise self._error(
                    1,
                    f"type {_shown(column.type)} of column {column.name} is not supported: expected {', '.join(TYPES)}",
                )
            if names.count(column.name) > 1:
                raise self._error(1, f"column {column.name} comes twice")
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
                raise DataError(
                    f"data file {self.path} line 1: it has no column {name}; it has {', '.join(present)} "
                    "(settings load_col, USER_ID_FIELD, ITEM_ID_FIELD)"
                )
        for name in keys:
            if present[name].type != "token":
                raise self._error(1, f"ids must be of type token, found {present[name]}")
        self._keys = frozenset(keys)

    def header(self, *_: Any, **__: Any) -> io.StringIO:
        """The first line, as RecBole's `open(path, "r", encoding=...)` gives it."""
        return io.StringIO(self.separator.join(map(str, self.columns)) + "\n")

    # --- the lines -----------------------------------------------------------------------------------------------
    def frame(self, _: Any, usecols: Collection[str], dtype: Mapping[str, type], **__: Any) -> pd.DataFrame:
        """The columns that are asked for, as RecBole's `pandas.read_csv(path, ...)` gives them for a harmless file.

        Args:
            usecols: what to read, `name:type` each.
            dtype: str or float64 of each.

        Returns:
            A row per line that is not blank; missing cells are NaN.

        Raises:
            DataError: naming the first line with a wrong number of cells, without an id, with text or an infinite
                number in a column of numbers, or with an id longer than 1,024 bytes.
        """
        content = self._content
        blanks = sum(self._check_block(*block, frozenset(usecols)) for block in self._blocks())
        if blanks:
            content = re.sub(rb"\n\n+", b"\n", content)
        try:
            frame = self._parse(content, usecols, dtype)
        except ValueError as error:
            texts = self._parse(content, usecols, dict.fromkeys(dtype, str))
            raise self._wrong_number(texts, [c for c, kind in dtype.items() if kind is not str], str(error)) from error
        for column in frame:
            if column.endswith(":float"):
                self._check_numbers(frame, column)
            elif column.endswith(":float_seq"):
                self._check_number_lists(frame, column)
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

    def _blocks(self) -> Iterator[tuple[int, int, int]]:
        """Whole lines behind the header, about 16 MiB at a time: start, end, and the number of the first line."""
        start, line, size = self._header_end, 2, len(self._content)
        if not self._content.strip(b"\n").count(b"\n"):
            raise self._empty()
        while start < size:
            end = self._content.rfind(b"\n", start, start + _BLOCK) + 1 or self._content.find(b"\n", start) + 1
            yield start, end, line
            line += self._content.count(b"\n", start, end)
            start = end

    def _check_block(self, start: int, end: int, first_line: int, wanted: Collection[str]) -> int:
        """Check number and size of cells. Returns the number of blank lines."""
        block = np.frombuffer(self._content, np.uint8, end - start, start)
        ends = np.flatnonzero(block == _NEWLINE)
        starts = np.concatenate([[0], ends[:-1] + 1])
        lines = np.flatnonzero(starts < ends)
        blanks = len(ends) - len(lines)
        if blanks:
            starts, ends = starts[lines], ends[lines]
        separators = np.flatnonzero(block == ord(self._mark))
        gaps = len(self.columns) - 1
        counts = np.searchsorted(separators, ends) - np.searchsorted(separators, starts)
        if (counts != gaps).any():
            row = np.flatnonzero(counts != gaps)[0]
            text = block[starts[row] : ends[row]].tobytes().replace(self._mark.encode(), self.separator.encode())
            raise self._error(
                first_line + lines[row],
                f"expected {gaps + 1} cells, as in the header, found {counts[row] + 1}: {_shown(text.decode())} "
                f"(field_separator={self.separator!r})",
            )
        edges = separators.reshape(len(ends), gaps)
        for number, column in enumerate(self.columns):
            if str(column) in wanted and column.type != "float":
                left = edges[:, number - 1] + 1 if number else starts
                right = edges[:, number] if number < gaps else ends
                self._check_tokens(block, left, right, column, first_line + lines)
        return blanks

    def _check_tokens(
        self, block: np.ndarray, left: np.ndarray, right: np.ndarray, column: Column, lines: np.ndarray
    ) -> None:
        widths = right - left
        is_key = column.name in self._keys
        if is_key and (widths == 0).any():
            raise self._error(lines[widths.argmin()], f"column {column.name} is empty, expected an id")
        if is_key:
            for row in np.flatnonzero((widths == len(PADDING)) & (block[left] == PADDING[0])):
                if block[left[row] : right[row]].tobytes() == PADDING:
                    raise self._error(
                        lines[row], f"column {column.name}: RecBole calls its padding [PAD], so no id may"
                    )
        for row in np.flatnonzero(widths > LONGEST_TOKEN):
            cell = block[left[row] : right[row]].tobytes().decode()
            words = cell.split(self.seq_separator) if column.type.endswith("_seq") else [cell]
            longest = max(words, key=lambda word: len(word.encode()))
            if len(longest.encode()) > LONGEST_TOKEN:
                raise self._error(
                    lines[row],
                    f"column {column.name} has more than {LONGEST_TOKEN:,} bytes: {_shown(longest)}",
                )

    def _check_numbers(self, frame: pd.DataFrame, column: str) -> None:
        values = frame[column].to_numpy()
        missing = np.isnan(values)
        if missing.any():
            name, first = column.rpartition(":")[0], self._line(missing.argmax())
            logger.warning(
                "data file %s: %s cell(s) of column %s have no number, the first in line %d; they count as missing",
                self.path, f"{missing.sum():,}", name, first,
            )  # fmt: skip
        if (np.abs(values) > LARGEST).any():
            texts = self._parse_again([column])
            raise self._wrong_number(texts, [column], "a number is infinite")

    def _check_number_lists(self, frame: pd.DataFrame, column: str) -> None:
        cells = frame[column].fillna("")
        words = filter(None, self.seq_separator.join(cells).split(self.seq_separator))
        try:
            wrong = (~(np.abs(np.fromiter(map(float, words), np.float64)) <= LARGEST)).any()
        except ValueError:
            wrong = True
        if wrong:
            raise self._wrong_number(frame, [column], "no sequence of numbers")

    def _parse_again(self, columns: list[str]) -> pd.DataFrame:
        return self._parse(re.sub(rb"\n\n+", b"\n", self._content), columns, dict.fromkeys(columns, str))

    # --- errors --------------------------------------------------------------------------------------------------
    def _wrong_number(self, texts: pd.DataFrame, columns: list[str], otherwise: str) -> DataError:
        """The error for the first cell, as text, that is no number; `otherwise` says what is known where all are."""
        found: list[tuple[int, str, str]] = []
        for column in columns:
            name, _, kind = column.rpartition(":")
            for row, cell in enumerate(texts[column].fillna("")):
                words = filter(None, cell.split(self.seq_separator)) if kind == "float_seq" else [cell]
                wrong = [word for word in words if not _is_number(word) and (kind != "float" or word not in MISSING)]
                if wrong:
                    found.append((row, name, wrong[0]))
                    break
        if not found:
            return DataError(f"data file {self.path} cannot be read: {' '.join(otherwise.split())}")
        row, name, word = min(found)
        return self._error(
            self._line(row), f"column {name}: expected a number of at most {LARGEST:.1e}, found {_shown(word)}"
        )

    def _line(self, row: int) -> int:
        """The line of a row, from 1; blank lines are no rows."""
        lines = self._content.split(b"\n")
        return [number for number, line in enumerate(lines, start=1) if line][1 + row]

    def _empty(self) -> DataError:
        return DataError(f"data file {self.path} is empty: it needs a header and at least one line of cells")

    def _error(self, line: int, problem: str) -> DataError:
        return DataError(f"data file {self.path} line {line}: {problem}")


def _is_number(word: str) -> bool:
    return bool(_NUMBER.fullmatch(word)) and abs(float(word)) <= LARGEST


def _shown(text: str, length: int = 60) -> str:
    """Some text for one line of a message."""
    return repr(text) if len(text) <= length else f"{text[:length]!r}... ({len(text):,} characters)"
