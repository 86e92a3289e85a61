"""`recbole-bd completion`: the script by which a shell completes commands, options and settings."""

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module

from recbole_bd.backbones.names import PAIR
from recbole_bd.cli.configs import shipped_files
from recbole_bd.cli.parser import CommandParser
from recbole_bd.config.option import Option
from recbole_bd.errors import ConfigError
from recbole_bd.system.startup import quick_imports

SHELLS = ("bash", "zsh", "fish")
# Commands that take any setting of a run.
WITH_SETTINGS = ("run", "leaderboard", "tune")
_MEANING_WIDTH = 70
_FILES, _FOLDERS = ("checkpoint",), ("checkpoint_dir", "data_path")
_DESCRIPTION = """\
Print the script by which a shell completes commands, options, settings and their choices.

examples:
  recbole-bd completion bash > ~/.local/share/bash-completion/completions/recbole-bd
  recbole-bd completion zsh > ~/.zfunc/_recbole-bd          with fpath=(~/.zfunc $fpath) before compinit in ~/.zshrc
  recbole-bd completion fish > ~/.config/fish/completions/recbole-bd.fish

Open a new shell afterwards. Choices are completed after a space, as in: recbole-bd run --exchange <TAB>"""


def command_parser() -> CommandParser:
    """The parser."""
    parser = CommandParser("completion", "|".join(SHELLS), description=_DESCRIPTION)
    parser.add_argument("shell", nargs="?", metavar="|".join(SHELLS), help="the shell that reads the script")
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd completion`.

    Args:
        words: the command line after `completion`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    shell = command_parser().parse_args(words).shell
    if shell not in SHELLS:
        given = f"{shell!r} is none of them" if shell else "its name is missing"
        raise ConfigError(f"completion: the shells are {', '.join(SHELLS)}; {given}")
    with quick_imports():
        import shtab

        from recbole_bd.cli.main import COMMANDS
    print(shtab.complete(program_parser(COMMANDS), shell))
    return 0


def program_parser(commands: dict[str, str]) -> argparse.ArgumentParser:
    """Parser of the whole program, with one subcommand for each command, and what completes its arguments.

    Args:
        commands: commands with what they do, in one line.
    """
    parser = argparse.ArgumentParser(prog="recbole-bd", description="Bidirectional distillation for RecBole.")
    parser.add_argument("--version", action="store_true", help="print the version")
    found = parser.add_subparsers(metavar="COMMAND")
    settings = list(_settings())
    for name, line in commands.items():
        command = found.add_parser(name, help=line, add_help=False)
        for action in import_module(f"recbole_bd.cli.{name.replace('-', '_')}").command_parser()._actions:
            if "--key" in action.option_strings:  # stands for any setting
                continue
            if action.help:
                action.help = _short(action.help)
            names = shipped_files() if (name, action.dest) == ("configs", "name") else ()
            command._add_action(_completed(action, action.metavar or "", names))
        for key, option, choices in settings if name in WITH_SETTINGS else ():
            if f"--{key}" not in command._option_string_actions:
                action = command.add_argument(f"--{key}", help=_short(option.meaning))
                kind = "FILE" if key in _FILES else "DIR" if key in _FOLDERS else ""
                _completed(action, kind, choices)
    return parser


def _completed(action: argparse.Action, metavar: str | tuple[str, ...], choices: Iterable[str]) -> argparse.Action:
    """Tell shtab how to complete an argument: by its choices, or by files or folders as its metavar says."""
    import shtab

    metavar = str(metavar)
    if re.fullmatch(r"[a-z]+(\|[a-z]+)+", metavar):
        choices = metavar.split("|")
    if choices := list(choices):
        action.choices = choices
    elif "FILE" in metavar or metavar == "DEST":
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif "DIR" in metavar or "RUN" in metavar:
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return action


def _settings() -> Iterator[tuple[str, Option, Iterable[str]]]:
    """Yield key, declaration and choices of every setting: those of a run, then those of each role."""
    with quick_imports():
        from recbole_bd.backbones.registry import own_backbones, recommenders
        from recbole_bd.config.known_options import role_options, top_level_options
        from recbole_bd.config.property_files import properties_path
        from recbole_bd.model import method_names
    models = [*recommenders(), *own_backbones()]
    datasets = sorted(path.stem for path in properties_path("dataset").glob("*.yaml"))
    names = {
        "dataset": datasets,
        "model": [*method_names(), *models],
        **{f"{role}_model": models for role in PAIR},
    }
    options: dict[str, Option] = {}
    for method in method_names():
        options = top_level_options(method, models) | options
    for key, option in options.items():
        if key not in (*PAIR, "backbones"):
            yield key, option, names.get(key) or _choices(option)
    of_roles: dict[str, Option] = {}
    for model in models:
        of_roles = role_options(model) | of_roles
    for role in PAIR:
        for key, option in sorted(of_roles.items()):
            yield f"{role}.{key}", option, _choices(option)


def _choices(option: Option) -> list[str]:
    """Words that a setting may have, if they are few."""
    if option.choices and "list" not in option.types:
        return option.choices
    return ["True", "False"] if option.types == {"bool"} else []


def _short(text: str) -> str:
    """The first sentence of a description in a few words, with the percent sign as argparse reads it."""
    sentence = re.split(r"\.\s", text.replace("%%", "%"), maxsplit=1)[0].rstrip(".")
    return textwrap.shorten(sentence, _MEANING_WIDTH, placeholder=" ...").replace("%", "%%")
