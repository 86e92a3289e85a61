"""Intervals in the notation of RecBole's filters."""

import math
import re
from decimal import Decimal
from typing import Any

from recbole_bd.data.number_checks import EXACT
from recbole_bd.errors import ConfigError

_INTERVAL = re.compile(r"([(\[])([^,]+),([^,]+)([)\]])")


def check_interval(where: str, value: Any) -> None:
    """Check intervals; RecBole would ignore malformed ones or fail with a traceback.

    Args:
        where: the key, as the user wrote it.
        value: intervals as text, separated by semicolons; the list [3, 5] is accepted as well.

    Raises:
        ConfigError: an interval is malformed; names the key and the expected form.
    """
    try:
        ordered = all(low <= high for _, low, high, _ in parse_intervals(value))
    except ValueError:
        ordered = False
    if not ordered:
        raise ConfigError(f"{where}={value!r}: expected intervals such as [5,inf) or (0,1];[3,4)")


def parse_intervals(value: Any) -> list[tuple[str, float, float, str]]:
    """Parse intervals as RecBole does, but with exact integers for ends from 2^53 on.

    Args:
        value: intervals, see `check_interval`.

    Returns:
        Opening bracket, lower end, upper end and closing bracket of each interval.

    Raises:
        ValueError: an interval is malformed.
    """
    found = [_INTERVAL.fullmatch(interval.strip()) for interval in str(value).split(";")]
    if not all(found):
        raise ValueError(f"{value!r} is malformed")
    parts = [interval.groups() for interval in found if interval]
    return [(opening, _end(low), _end(high), closing) for opening, low, high, closing in parts]


def nothing_kept(column: str, wanted: Any, values: Any) -> str:
    """Say that a filter leaves no interaction, beside the values that there are.

    Args:
        column: name of a column of val_interval.
        wanted: its intervals, or the list of the values to keep.
        values: pandas' column of numbers or of words before the filter.

    Returns:
        One line.
    """
    if isinstance(wanted, list):
        there = f"its values are such as {', '.join(map(str, values.dropna().unique()[:3]))}"
    else:
        there = f"its values are from {values.min():.15g} to {values.max():.15g}"
    return f"val_interval: {column}={wanted!r} keeps nothing of {column}: {there}"


def _end(text: str) -> float:
    """The end of an interval: an int where integers are too large for float64 to tell them apart."""
    end = float(text)
    if EXACT <= abs(end) < math.inf and (exact := Decimal(text.strip())) == int(exact):
        return int(exact)
    return end
