"""Checks of values from the command line that several commands share."""

from typing import Any

from recbole_bd.errors import ConfigError


def count_of(key: str, value: Any) -> int:
    """Check an option that is a count.

    Args:
        key: name of the option, for the error message.
        value: the value that the user gave.

    Returns:
        The value.

    Raises:
        ConfigError: the value is not a whole number above 0.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key}={value!r}: must be a whole number of at least 1")
    return value
