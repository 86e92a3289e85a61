"""`recbole-bd plots`: the pictures of run folders, drawn again."""

from collections.abc import Sequence

from recbole_bd.cli.parser import CommandParser
from recbole_bd.errors import ConfigError
from recbole_bd.system.startup import quick_imports

_DESCRIPTION = """\
Draw the figures of run folders again, from their data alone.

example:
  recbole-bd plots saved/RUN"""


def command_parser() -> CommandParser:
    """The parser."""
    parser = CommandParser("plots", "RUN ...", description=_DESCRIPTION)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd plots`.

    Args:
        words: the command line after `plots`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    if not words or any(word.startswith("-") for word in words):
        raise ConfigError("plots takes run folders and no settings: recbole-bd plots saved/RUN")
    folders = command_parser().parse_args(words).runs
    with quick_imports():
        from recbole_bd.runs.plots import redraw
    for folder in folders:
        for path in redraw(folder):
            print(path)
    return 0
