"""Reading the cells of an atomic file into a frame, with finite numbers in columns of numbers."""

import csv
import io
import logging
import re
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from recbole_bd.data.columns import Table
from recbole_bd.data.text_file import shown
from recbole_bd.errors import DataError

logger = logging.getLogger(__name__)

# RecBole keeps numbers as float32.
LARGEST = float(np.finfo(np.float32).max)
# Below this size float64 tells all integers apart.
EXACT = 2.0**53
# Words that RecBole takes for a missing number, which it replaces by the mean. A column of ids has no such words.
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>")
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)


def read_cells(table: Table, content: bytes, usecols: Collection[str], dtype: Mapping[str, type]) -> pd.DataFrame:
    """Parse lines whose cells have been counted.

    Args:
        table: the file.
        content: the header and the lines to parse, without blank ones.
        usecols: columns to read, `name:type` each.
        dtype: str or float64 of each.

    Returns:
        A row per line; missing cells are NaN. Numbers are float64. A column of integers alone, of which float64 cannot
        tell some apart, is int64 or uint64.

    Raises:
        DataError: naming the first line with text, or with an infinite number, in a column of numbers.
    """
    try:
        frame = _parse(table, content, usecols, dtype)
        wrong = [column for column in usecols if not _is_finite(frame[column], column, table.seq_separator)]
    except ValueError:
        wrong = [column for column in usecols if ":float" in column]
    if wrong:
        raise _wrong_number(table, _parse(table, content, wrong, dict.fromkeys(wrong, str)))
    for column in usecols:
        if column.endswith(":float") and (frame[column].abs() >= EXACT).any():
            frame[column] = _exact(frame[column], _parse(table, content, [column], {column: str})[column], table)
    return frame


def refuse_missing_times(table: Table, times: pd.Series) -> None:
    """Refuse interactions without a time, in whose place RecBole puts the mean of all times.

    Args:
        table: the file.
        times: the column `name:float`, by which the interactions are ordered or divided.

    Raises:
        DataError: a time is missing; names the first line without one.
    """
    if (missing := times.isna().to_numpy()).any():
        raise table.error(
            table.line_of(int(missing.argmax())),
            f"no time in column {str(times.name).rpartition(':')[0]} ({missing.sum():,} in the file), by which the "
            "interactions are put in order; fill it in or leave the line out",
        )


def warn_of_missing_numbers(table: Table, frame: pd.DataFrame) -> None:
    """Log how many cells of each column of numbers are missing."""
    for column in frame:
        if column.endswith(":float") and (missing := frame[column].isna().to_numpy()).any():
            logger.warning(
                "data file %s: %s cell(s) of column %s contain no number, the first in line %d; the "
                "mean of the column takes their place",
                table.path, f"{missing.sum():,}", column.rpartition(":")[0], table.line_of(int(missing.argmax())),
            )  # fmt: skip


def _parse(table: Table, content: bytes, usecols: Collection[str], dtype: Mapping[str, type]) -> pd.DataFrame:
    return pd.read_csv(
        io.BytesIO(content),
        sep=table.mark,
        header=None,
        skiprows=1,
        names=[str(column) for column in table.columns],
        usecols=list(usecols),
        dtype=dict(dtype),
        na_values={column: list(MISSING if column.endswith(":float") else ("",)) for column in usecols},
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
        skip_blank_lines=False,
        encoding="utf-8",
        engine="c",
        low_memory=False,
        float_precision="round_trip",  # as Python reads numbers; the default differs in the last bit
    )


def _exact(rounded: pd.Series, cells: pd.Series, table: Table) -> pd.Series:
    """A column as integers, if all of its cells are integers of 64 bits, otherwise as float64."""
    try:
        known = pd.to_numeric(cells.dropna())
    except ValueError:  # above 64 bits
        return rounded
    if known.dtype.kind not in "iu":
        return rounded
    if len(known) == len(cells):
        return known
    logger.warning(
        "data file %s: column %s contains integers above 2^53 and missing cells; the integers are rounded to float64",
        table.path, str(cells.name).rpartition(":")[0],
    )  # fmt: skip
    return rounded


def _is_finite(values: pd.Series, column: str, seq_separator: str) -> bool:
    """Whether all numbers are finite in float32, missing ones left out; ValueError if a word is no number."""
    if column.endswith(":float"):
        return not (values.abs() > LARGEST).any()
    if column.endswith(":float_seq"):
        words = filter(None, seq_separator.join(values.fillna("")).split(seq_separator))
        return bool((np.abs(np.fromiter(map(float, words), np.float64)) <= LARGEST).all())
    return True


def _wrong_number(table: Table, texts: pd.DataFrame) -> DataError:
    """The error for the first cell that is no number; the cells are given as text."""
    found: list[tuple[int, str, str]] = []
    for column in texts:
        name, _, kind = column.rpartition(":")
        for row, cell in enumerate(texts[column].fillna("")):
            words = filter(None, cell.split(table.seq_separator)) if kind == "float_seq" else [cell]
            wrong = [word for word in words if not _is_number(word) and (kind != "float" or word not in MISSING)]
            if wrong:
                found.append((row, name, wrong[0]))
                break
    row, name, word = min(found)
    problem = f"column {name}: expected a number of at most {LARGEST:.1e}, found {shown(word)}"
    return table.error(table.line_of(row), problem)


def _is_number(word: str) -> bool:
    return bool(_NUMBER.fullmatch(word)) and abs(float(word)) <= LARGEST
