"""`recbole-bd tune`: settings searched on validation, by Optuna."""

from collections.abc import Sequence

from recbole_bd.cli.parser import CommandParser, add_settings
from recbole_bd.cli.settings_words import parse_without_dry_run
from recbole_bd.tuning.command import run_tuning

_DESCRIPTION = """\
Settings searched on validation, by Optuna.

examples:
  recbole-bd tune --space=properties/tuning/BD.yaml --dataset=ml-100k --trials=20 --jobs=2
  recbole-bd run --config_files=saved/tune-BD-ml-100k/best.yaml        the best of them"""


def command_parser() -> CommandParser:
    """The parser."""
    parser = CommandParser(
        "tune",
        "--space=FILE [--trials=N] [--jobs=N] [--objective=ROLE] [--storage=WHERE] [--key=value ...]",
        description=_DESCRIPTION,
    )
    add = parser.add_argument
    add(
        "--space",
        metavar="FILE",
        help="what to search: key: {choice: [...]}, {uniform: [low, high]}, {quniform: [low, high, step]}, "
        "{loguniform: [low, high]}, or key: value for all; or RecBole's hyper.test",
    )
    add("--trials", metavar="N", help="in all, 20 by default; the same command resumes a stopped search")
    add("--jobs", metavar="N", help="trials at a time, 1 by default")
    add(
        "--objective",
        metavar="student|teacher|both",
        help="role whose validation is maximised; both: the geometric mean",
    )
    add(
        "--storage",
        metavar="WHERE",
        help="machines that name the same one search together: sqlite:///FILE, any address of SQLAlchemy's, or a "
        "FILE.journal in a shared folder; else OUT/study.db",
    )
    add("--study", metavar="NAME", help="name of the study in the storage")
    add("--out", metavar="DIR", help="folder of its files, else CHECKPOINT_DIR/tune-STUDY")
    add("--engine", metavar="optuna|ray", help="ray: the same search on Ray Tune, where that is installed")
    add_settings(parser, "settings of every trial")
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd tune`.

    Args:
        words: the command line after `tune`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    print(run_tuning(*parse_without_dry_run(words)))
    return 0
