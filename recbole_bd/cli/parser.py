"""Parsers of the commands: argparse, with errors of one line and a help that keeps its examples as written."""

import argparse
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, NoReturn

from recbole_bd.backbones.names import ROLES
from recbole_bd.errors import ConfigError, did_you_mean


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps descriptions as written, and gives each command of the overview one line."""

    def _iter_indented_subactions(self, action: argparse.Action) -> Iterator[argparse.Action]:  # type: ignore[override]
        # argparse indents the commands but computes the column of their help without the indentation.
        yield from getattr(action, "_get_subactions", list)()


class CommandParser(argparse.ArgumentParser):
    """Parser of one command, which raises errors instead of printing the usage and exiting.

    Args:
        command: name of the command; empty for the program itself.
        arguments: the words after the name, as the usage shows them; empty lets argparse write them.
        options: of `argparse.ArgumentParser`, such as `description` and `epilog`.
    """

    def __init__(self, command: str, arguments: str = "", **options: Any):
        program = f"recbole-bd {command}".strip()
        super().__init__(
            prog=program,
            usage=f"{program} {arguments}" if arguments else None,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            **options,
        )
        self.command = command
        self._words: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See `argparse.ArgumentParser`; keeps the words, by which `error` tells what is meant."""
        self._words = self._words or list(args or ())
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Refuse the words.

        Raises:
            ConfigError: always.
        """
        text = self._plain(message)
        end = "" if text.endswith("?") else "."
        raise ConfigError(f"{self.command}: {text}{end} See recbole-bd {self.command} --help")

    def _plain(self, message: str) -> str:
        """A message of argparse with the way out, where argparse leaves it open."""
        if found := re.fullmatch(r"argument (\S+): ignored explicit argument (.*)", message):
            return f"{found[1]} takes no value, found {found[2]}"
        head, colon, words = message.partition("unrecognized arguments: ")
        if head or not colon:
            return message
        if words.startswith("--"):
            name = words.split()[0].partition("=")[0]
            meant = did_you_mean(name, self._option_string_actions, cutoff=0.75)
            return f"{message}.{meant}" if meant else message
        before = [word for word in takewhile(lambda word: word != words, self._words) if word.startswith("-")]
        option = before[-1].partition("=")[0] if before else ""
        if str(getattr(self._option_string_actions.get(option), "metavar", "")).endswith(",..."):
            return f"{message}; several values have commas between them: {option}=A,B"
        return message


def model_parser(command: str, arguments: str, **options: Any) -> CommandParser:
    """Parser of a command that takes one trained model: a run folder or a model file, and a role."""
    parser = CommandParser(command, arguments, **options)
    parser.add_argument("run", nargs="?", metavar="RUN", help="folder of a finished run, or a model file in it")
    parser.add_argument("--role", choices=ROLES, help="role whose model is used (default: student)")
    add_data_path(parser)
    add_allow_code(parser)
    return parser


def add_data_path(parser: CommandParser) -> None:
    """Add `--data_path`, for data that is no longer where the run read it."""
    parser.add_argument(
        "--data_path",
        metavar="DIR",
        help="folder that holds the data set's folder (default: where the run read it, or beside the moved run)",
    )


def add_allow_code(parser: CommandParser) -> None:
    """Add the option that lets a command import the classes that a model's file names."""
    parser.add_argument(
        "--allow_code",
        action="store_true",
        help="import a class that is not RecBole's, which runs the code of its module; for files you trust",
    )


def add_settings(parser: CommandParser, whose: str) -> None:
    """Describe `--key=value` and `--config_files` in the help of a command that takes any setting of a run."""
    group = parser.add_argument_group("settings")
    group.add_argument("--key", metavar="VALUE", help=f"{whose}. Write --key=VALUE or --key VALUE; values are YAML")
    group.add_argument(
        "--config_files", metavar="FILE", nargs="+", help="YAML files of settings; later files override earlier ones"
    )


def positive_integer(text: str) -> int:
    """Read a whole number above 0.

    Raises:
        ArgumentTypeError: the text is not such a number.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
