"""Intervals in the notation of RecBole's filters."""

import re
from typing import Any

from recbole_bd.errors import ConfigError

_INTERVAL = re.compile(r"[(\[]([^,]+),([^,]+)[)\]]")


def check_interval(where: str, value: Any) -> None:
    """Check intervals; RecBole would ignore malformed ones or fail with a traceback.

    Args:
        where: the key, as the user wrote it.
        value: intervals as text, separated by semicolons; the list [3, 5] is accepted as well.

    Raises:
        ConfigError: an interval is malformed; names the key and the expected form.
    """
    for interval in str(value).split(";"):
        found = _INTERVAL.fullmatch(interval.strip())
        try:
            low, high = (float(end) for end in found.groups()) if found else (1, 0)
        except ValueError:
            low, high = 1, 0
        if not low <= high:
            raise ConfigError(f"{where}={value!r}: expected intervals such as [5,inf) or (0,1];[3,4)")
