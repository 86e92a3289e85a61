"""`recbole-bd leaderboard`: methods and baselines beside each other, every model with every seed."""

from collections.abc import Sequence
from pathlib import Path

from recbole_bd.cli.parser import CommandParser, add_settings
from recbole_bd.cli.settings_words import parse_without_dry_run
from recbole_bd.errors import ConfigError
from recbole_bd.system.startup import quick_imports

_DESCRIPTION = """\
Compare methods and baselines in one table, every model with every seed.

examples:
  recbole-bd leaderboard --dataset=ml-100k --models=Pop,BPR,LightGCN,BD --seeds=2020,2021 --jobs=2
  recbole-bd leaderboard --from=saved/leaderboard-ml-100k       write table and pages again, from the run folders"""


def command_parser() -> CommandParser:
    """The parser."""
    parser = CommandParser(
        "leaderboard",
        "--models=NAME,... --seeds=N,... [--jobs=N] [--out=DIR] [--reference=ROW] [--key=value ...]\n"
        "       recbole-bd leaderboard --from=DIR [--out=DIR] [--reference=ROW]",
        description=_DESCRIPTION,
    )
    add = parser.add_argument
    add("--models", metavar="NAME,...", help="methods of this package and RecBole's recommenders")
    add("--seeds", metavar="N,...", help="one run per seed; finished runs with the same settings are reused")
    add("--jobs", metavar="N", help="number of parallel processes; they share the cores unless --threads is given")
    add("--out", metavar="DIR", help="folder for table and pages (default: CHECKPOINT_DIR/leaderboard-DATASET)")
    add(
        "--reference", metavar="ROW", help="row that the others are tested against (default: the control of their size)"
    )
    add(
        "--from",
        metavar="DIR",
        help="read finished runs from a folder of run folders or the folder of a leaderboard, and run nothing. "
        "--dataset, --models and --seeds choose among the runs",
    )
    add_settings(
        parser,
        "settings of the runs. A setting that only some models have is ignored by the others; --BD.temperature=2 "
        "applies to one model only, as does a block `BD:` in a file",
    )
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd leaderboard`.

    Args:
        words: the command line after `leaderboard`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    if words and Path(words[0]).is_dir():
        raise ConfigError(f"{str(words[0])!r} is not a setting: to show the runs of a folder, write --from={words[0]}")
    given = parse_without_dry_run(words)
    with quick_imports():
        from recbole_bd.leaderboard.command import run_leaderboard
    print(run_leaderboard(*given))
    return 0
