"""The command line: `recbole-bd run`, `python -m recbole_bd run` and `python run_bd.py` are the same."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from recbole_bd import __version__
from recbole_bd.cli.parser import CommandParser
from recbole_bd.data.text_file import shown
from recbole_bd.errors import BDError, ConfigError, Interrupted, did_you_mean
from recbole_bd.system.torchrun import started_rank

# Each command is the module of its name, with `command_parser()` and `execute(words)`. A module is imported when its
# command runs, since RecBole and torch take seconds to import.
COMMANDS = {
    "run": "train a teacher and a student, or one baseline",
    "leaderboard": "compare models over seeds in one table, with tests",
    "tune": "search settings by validation",
    "plots": "draw the figures of run folders again",
    "compare": "test two runs, arms or sets of seeds for a difference",
    "ensemble": "evaluate two models and the mean of their scores",
    "recommend": "write the best items for every user",
    "export": "write a trained model for other programs",
    "serve-bench": "measure latency and size of teacher and student",
    "configs": "list the shipped configuration files, or copy one",
    "schema": "print a JSON schema of all settings, for editors",
    "completion": "print the completion script of a shell",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after the program's name; None reads `sys.argv`.

    Returns:
        Exit code: 0, 2 for input the user can fix, 1 for a training that diverged, 130 and 143 for a run stopped by
        SIGINT and SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of standard output has ended, as `head` does. Python must not write to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as shells report SIGPIPE
    except Interrupted as error:
        print(f"recbole-bd: {error}", file=sys.stderr)
        return error.exit_code
    except BDError as error:
        print(f"recbole-bd: {_process_prefix()}error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        # Any question to the system about a file may fail: no permission, a name that is too long.
        if error.filename is None:
            raise
        print(f"recbole-bd: error: {shown(str(error.filename), 200)}: {error.strerror}", file=sys.stderr)
        return BDError.exit_code


def overview() -> str:
    """Help of the program: one line for each command."""
    parser = CommandParser(
        "",
        "COMMAND ...\n       recbole-bd [COMMAND] --help | recbole-bd --version",
        description="Bidirectional distillation for RecBole: a teacher and a compact student that teach each other.",
        epilog="Options and examples of a command: recbole-bd COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=argparse.ArgumentParser)
    for name, line in COMMANDS.items():
        commands.add_parser(name, help=line, add_help=False)
    return parser.format_help().replace("\n  COMMAND\n", "\n")  # argparse gives the group's name a line


def _dispatch(words: list[str]) -> int:
    if "--version" in words:
        print(f"recbole-bd {__version__}")
        return 0
    wants_help = "--help" in words or "-h" in words
    if not words or (wants_help and words[0].startswith("-")):
        print(overview(), end="")
        return 0
    name, *rest = words
    if name not in COMMANDS:
        meant = did_you_mean(name, COMMANDS) or " Available commands: " + ", ".join(COMMANDS) + "."
        raise ConfigError(f"unknown command {name!r}.{meant} See recbole-bd --help")
    command = _module_of(name)
    if wants_help:
        print(command.command_parser().format_help(), end="")
        return 0
    return command.execute(rest)


def _module_of(command: str) -> ModuleType:
    return import_module(f"recbole_bd.cli.{command.replace('-', '_')}")


def _process_prefix() -> str:
    """Name of the speaking process where several train one run; else empty."""
    rank = started_rank()
    return "" if rank is None else f"process {rank}: "
