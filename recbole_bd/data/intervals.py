"""Intervals as RecBole's filters write them."""

import re
from typing import Any

from recbole_bd.errors import ConfigError

_INTERVAL = re.compile(r"[(\[]([^,]+),([^,]+)[)\]]")


def check_interval(where: str, value: Any) -> None:
    """Check intervals, which RecBole passes over where they are none, or takes apart with a traceback.

    Args:
        where: the key, as the user wrote it.
        value: intervals as text, with semicolons between; [3, 5] is one too.

    Raises:
        ConfigError: naming the key and what is expected.
    """
    for interval in str(value).split(";"):
        found = _INTERVAL.fullmatch(interval.strip())
        try:
            low, high = (float(end) for end in found.groups()) if found else (1, 0)
        except ValueError:
            low, high = 1, 0
        if not low <= high:
            raise ConfigError(f"{where}={value!r}: expected intervals such as [5,inf) or (0,1];[3,4)")
