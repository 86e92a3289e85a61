"""The text of an atomic file with its columns, and errors that name its lines."""

from dataclasses import dataclass
from pathlib import Path

from recbole_bd.data.text_file import line_error
from recbole_bd.errors import DataError

TYPES = ("token", "token_seq", "float", "float_seq")


@dataclass(frozen=True)
class Column:
    """A column as the header has it: `name:type`; the type is one of `TYPES`."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.name}:{self.type}"


@dataclass(frozen=True)
class Table:
    """The text of an atomic file whose header was checked.

    Attributes:
        path: the file, named in errors.
        content: the text in UTF-8; cells are separated by `mark`, each line ends with a line feed.
        body: where the line after the header starts, in bytes.
        columns: all columns, in the file's order.
        mark: one byte that separates cells in `content`.
        separator: what separates cells in the file.
        seq_separator: what separates the words of a sequence.
    """

    path: Path
    content: bytes
    body: int
    columns: tuple[Column, ...]
    mark: str
    separator: str
    seq_separator: str

    def line_of(self, row: int) -> int:
        """The line number in the file, from 1, of a row, from 0; blank lines are no rows."""
        lines = self.content.split(b"\n")
        return [number for number, line in enumerate(lines, start=1) if line][1 + row]

    def error(self, line: int, problem: str) -> DataError:
        """The error that names a line, from 1."""
        return line_error(self.path, line, problem)
