"""`recbole-bd recommend`: the best items of users, written to a file."""

from collections.abc import Sequence
from pathlib import Path

from recbole_bd.cli.chosen_model import chosen_model
from recbole_bd.cli.parser import CommandParser, model_parser, positive_integer
from recbole_bd.errors import ConfigError
from recbole_bd.serving.recommend import ALL, UNKNOWN, read_users, recommend, shortened, writer_of
from recbole_bd.serving.recommender import EXCLUDED, Recommender

_DESCRIPTION = """\
Write the best items for users, in the original ids of the data.

examples:
  recbole-bd recommend saved/RUN --out=recs.parquet        the best 10 items for every user
  recbole-bd recommend saved/RUN --users=users.txt -k 20 --out=recs.csv"""


def command_parser() -> CommandParser:
    """The parser."""
    parser = model_parser(
        "recommend",
        "RUN --out=FILE [--users=all|FILE] [-k N] [--role=NAME] [--unknown=NAME] [--exclude=NAME] [--data_path=DIR]",
        description=_DESCRIPTION,
    )
    add = parser.add_argument
    add(
        "--users",
        default=ALL,
        metavar="all|FILE",
        help="file with one user id per line, or all users of the data (default: all)",
    )
    add("-k", "--k", type=positive_integer, default=10, metavar="N", help="number of items per user (default: 10)")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help=".csv, .jsonl or .parquet file; a row per user and item with rank and logit",
    )
    add(
        "--unknown",
        choices=UNKNOWN,
        default="skip",
        help="for users who are not in the data: no items, the most popular items, or an error (default: skip)",
    )
    add(
        "--exclude",
        choices=EXCLUDED,
        default="train",
        help="items not to recommend: a user's training items, all their items in the data, or none (default: train)",
    )
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd recommend`.

    Args:
        words: the command line after `recommend`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    options = command_parser().parse_intermixed_args(words)
    if options.out is None:
        raise ConfigError("recommend: --out=FILE is missing: name a .csv, .jsonl or .parquet file")
    writer_of(options.out)  # reports a wrong ending before the data is loaded
    trained = chosen_model(options, "recommend")
    dataset = trained.split.dataset
    users = None if options.users == ALL else read_users(Path(options.users), dataset.uid_field)
    recommender = Recommender(trained.role, trained.split, options.k, options.exclude)
    summary = recommend(recommender, trained.split, users, options.out, options.unknown)
    print(f"{summary.users} users, {recommender.count} items each by the {trained.role.name}: {options.out}")
    if summary.unknown:
        done = "skipped" if options.unknown == "skip" else "given popular items"
        print(f"{len(summary.unknown)} users are not in the data and were {done}: {shortened(summary.unknown)}")
    return 0
