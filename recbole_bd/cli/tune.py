"""`recbole-bd tune`: settings searched on validation, by Optuna."""

from collections.abc import Sequence

from recbole_bd.cli.parser import CommandParser, add_settings
from recbole_bd.cli.settings_words import parse_without_dry_run
from recbole_bd.system.startup import quick_imports

_DESCRIPTION = """\
Search settings by validation, with Optuna.

examples:
  recbole-bd tune --space=properties/tuning/BD.yaml --dataset=ml-100k --trials=20 --jobs=2
  recbole-bd run --config_files=saved/tune-BD-ml-100k/best.yaml        run the best settings"""


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
        help="search space, a YAML file of lines key: {choice: [...]}, {uniform: [low, high]}, "
        "{quniform: [low, high, step]} or {loguniform: [low, high]}, or key: value for every trial; or RecBole's "
        "hyper.test",
    )
    add(
        "--trials", metavar="N", help="number of trials in all (default: 20); the same command resumes a stopped search"
    )
    add("--jobs", metavar="N", help="number of parallel trials (default: 1)")
    add(
        "--objective",
        metavar="student|teacher|both",
        help="role whose validation metric is maximised; both: the geometric mean (default: student)",
    )
    add(
        "--storage",
        metavar="WHERE",
        help="sqlite:///FILE, any SQLAlchemy URL, or a FILE.journal in a shared folder (default: OUT/study.db); "
        "machines with the same storage search together",
    )
    add("--study", metavar="NAME", help="name of the study in the storage")
    add("--out", metavar="DIR", help="folder for the results (default: CHECKPOINT_DIR/tune-STUDY)")
    add("--engine", metavar="optuna|ray", help="ray: run the trials on Ray Tune, if it is installed (default: optuna)")
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
    given = parse_without_dry_run(words)
    with quick_imports():
        from recbole_bd.tuning.command import run_tuning
    print(run_tuning(*given))
    return 0
