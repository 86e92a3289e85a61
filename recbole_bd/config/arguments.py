"""Command lines of the commands that read runs: words and options in any order, and one line for what is wrong."""

import argparse
from typing import Any, NoReturn

from recbole_bd.errors import ConfigError


class Arguments(argparse.ArgumentParser):
    """Raises what is wrong instead of printing the usage and leaving.

    Args:
        command: named in errors.
    """

    def __init__(self, command: str):
        super().__init__(prog=f"recbole-bd {command}", add_help=False, allow_abbrev=False)
        self.command = command

    def error(self, message: str) -> NoReturn:
        """Refuse the words.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.command}: {message}. See recbole-bd --help")


def at_least_one(text: str) -> int:
    """Read a whole number above 0.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def count_of(key: str, value: Any) -> int:
    """Check an option that says how many.

    Raises:
        ConfigError: it is no whole number above 0.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key}={value!r}: must be a whole number of at least 1")
    return value
