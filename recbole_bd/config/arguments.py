"""Command-line parser of the commands that read runs: words and options in any order, errors in one line."""

import argparse
from typing import Any, NoReturn

from recbole_bd.errors import ConfigError


class Arguments(argparse.ArgumentParser):
    """Argument parser that raises an error instead of printing the usage and exiting.

    Args:
        command: name of the command, for error messages.
    """

    def __init__(self, command: str):
        super().__init__(prog=f"recbole-bd {command}", add_help=False, allow_abbrev=False)
        self.command = command

    def error(self, message: str) -> NoReturn:
        """Report a wrong command line.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.command}: {message}. See recbole-bd --help")


def at_least_one(text: str) -> int:
    """Read a whole number above 0.

    Raises:
        ArgumentTypeError: the text is not such a number.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def count_of(key: str, value: Any) -> int:
    """Check an option that is a count.

    Args:
        key: name of the option, for the error message.
        value: what the user gave.

    Returns:
        The value.

    Raises:
        ConfigError: the value is not a whole number above 0.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key}={value!r}: must be a whole number of at least 1")
    return value
