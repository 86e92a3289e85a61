"""Checks of the lines of an atomic file: number of cells, ids, length of tokens; a few NumPy passes over the bytes."""

from collections.abc import Collection, Iterator

import numpy as np

from recbole_bd.data.columns import Column, Table
from recbole_bd.data.text_file import shown
from recbole_bd.errors import DataError

# RecBole keeps the ids of a column in one array as wide as its longest id. A single id of 100,000 characters beside a
# million others would take 400 GB.
LONGEST_TOKEN = 1024
PADDING = b"[PAD]"
_BLOCK = 2**24  # bytes checked together


def first_wrong_line(table: Table, wanted: Collection[str], keys: Collection[str]) -> tuple[int, DataError] | None:
    """Find the first line with a wrong number of cells or a wrong token.

    Args:
        table: the file.
        wanted: columns whose tokens are checked, `name:type` each.
        keys: names of the columns of ids, which no line may lack.

    Returns:
        Where the line starts in `table.content`, in bytes, and its error; None if all lines are right.
    """
    for start, end, first_line in _blocks(table):
        if found := _check_block(table, (start, end, first_line), wanted, keys):
            return found
    return None


def _blocks(table: Table) -> Iterator[tuple[int, int, int]]:
    """Whole lines after the header, about 16 MiB at a time: start, end, and the number of the first line."""
    content, start, line = table.content, table.body, 2
    while start < len(content):
        end = content.rfind(b"\n", start, start + _BLOCK) + 1 or content.find(b"\n", start) + 1
        yield start, end, line
        line += content.count(b"\n", start, end)
        start = end


def _check_block(
    table: Table, place: tuple[int, int, int], wanted: Collection[str], keys: Collection[str]
) -> tuple[int, DataError] | None:
    """Where the first wrong line of a block starts in the file, and its error."""
    start, end, first_line = place
    block = np.frombuffer(table.content, np.uint8, end - start, start)
    ends = np.flatnonzero(block == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    lines = np.flatnonzero(starts < ends)  # the others are blank
    if len(lines) < len(ends):
        starts, ends = starts[lines], ends[lines]
    separators = np.flatnonzero(block == ord(table.mark))
    gaps = len(table.columns) - 1
    counts = np.searchsorted(separators, ends) - np.searchsorted(separators, starts)
    problems, bad = [], np.flatnonzero(counts != gaps)
    if len(bad):
        row = bad[0]
        text = block[starts[row] : ends[row]].tobytes().replace(table.mark.encode(), table.separator.encode())
        found = f"{counts[row] + 1}: {shown(text.decode())} (field_separator={table.separator!r})"
        problems.append((row, f"expected {gaps + 1} cells, as in the header, found {found}"))
        starts, ends = starts[:row], ends[:row]
    edges = separators[: len(ends) * gaps].reshape(len(ends), gaps)
    for number, column in enumerate(table.columns):
        if str(column) in wanted and column.type != "float":
            left = edges[:, number - 1] + 1 if number else starts
            right = edges[:, number] if number < gaps else ends
            if column.name in keys:
                problems += _wrong_ids(block, left, right, column)
            problems += _long_tokens(block, left, right, column, table.seq_separator)
    if not problems:
        return None
    row, problem = min(problems, key=lambda found: found[0])
    line_start = np.flatnonzero(block == ord("\n"))[lines[row] - 1] + 1 if lines[row] else 0
    return start + int(line_start), table.error(first_line + lines[row], problem)


def _wrong_ids(block: np.ndarray, left: np.ndarray, right: np.ndarray, column: Column) -> Iterator[tuple[int, str]]:
    """The first row without an id and the first with the id of RecBole's padding, each with the problem."""
    widths = right - left
    if (empty := np.flatnonzero(widths == 0)).size:
        yield int(empty[0]), f"column {column.name} is empty, expected an id"
    for row in np.flatnonzero((widths == len(PADDING)) & (block[left] == PADDING[0])):
        if block[left[row] : right[row]].tobytes() == PADDING:
            yield int(row), f"column {column.name}: the id [PAD] is reserved for RecBole's padding"
            break


def _long_tokens(
    block: np.ndarray, left: np.ndarray, right: np.ndarray, column: Column, seq_separator: str
) -> Iterator[tuple[int, str]]:
    """The first row with a token above `LONGEST_TOKEN` bytes, with the problem."""
    for row in np.flatnonzero(right - left > LONGEST_TOKEN):
        cell = block[left[row] : right[row]].tobytes().decode()
        words = cell.split(seq_separator) if column.type.endswith("_seq") else [cell]
        longest = max(words, key=lambda word: len(word.encode()))
        if len(longest.encode()) > LONGEST_TOKEN:
            problem = f"expected at most {LONGEST_TOKEN:,} bytes, found {shown(longest)}"
            yield int(row), f"column {column.name}: {problem}"
            break
