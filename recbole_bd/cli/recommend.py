"""`recbole-bd recommend`: the best items of users, written to a file."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_bd.cli.chosen_model import chosen_model
from recbole_bd.cli.parser import CommandParser, model_parser, positive_integer
from recbole_bd.errors import ConfigError
from recbole_bd.serving.id_file import read_ids, shortened
from recbole_bd.serving.names import ALL, EXCLUDED, MEASURED, UNKNOWN, UNKNOWN_ITEMS, UNTRAINED_ITEMS
from recbole_bd.serving.rows import writer_of
from recbole_bd.system.startup import quick_imports

if TYPE_CHECKING:
    from recbole_bd.runs.trained_model import Trained
    from recbole_bd.serving.history_file import GivenHistories
    from recbole_bd.serving.recommend import RecommendationSummary

_DESCRIPTION = """\
Write the best items for users, in the original ids of the data.

examples:
  recbole-bd recommend saved/RUN --out=recs.parquet        the best 10 items for every user
  recbole-bd recommend saved/RUN --users=users.txt -k 20 --out=recs.csv
  recbole-bd recommend saved/RUN --items=stock.txt --out=recs.csv              only items in stock
  recbole-bd recommend saved/RUN --history=sessions.tsv --out=recs.csv         the next items of a sequential model
  recbole-bd recommend saved/RUN --filter='genre=Comedy;Drama' --filter='price=[0,10)' --out=recs.csv"""


def command_parser() -> CommandParser:
    """The parser."""
    parser = model_parser(
        "recommend",
        "RUN --out=FILE [--users=all|FILE | --history=FILE] [-k N] [--role=NAME] [--unknown=NAME] [--exclude=NAME] "
        "[--items=FILE] [--exclude_items=FILE] [--filter=COLUMN=VALUE] [--data_path=DIR] [--allow_code]",
        description=_DESCRIPTION,
    )
    add = parser.add_argument
    add(
        "--users",
        default=ALL,
        metavar="all|FILE",
        help="file with one user id per line, or all users of the data (default: all); a sequential model recommends "
        "what comes after all of a user's items in the data",
    )
    add(
        "--history",
        type=Path,
        metavar="FILE",
        help="for sequential models: recommend after these sequences, which the data need not have; on each line a "
        "user, a tab and items in order of time, separated by blanks; the last MAX_ITEM_LIST_LENGTH items count",
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
        help="for users who are not in the data or have no training interaction, or whose history has no known item: "
        "no items, the most popular items, or an error (default: skip)",
    )
    add(
        "--exclude",
        choices=EXCLUDED,
        default=MEASURED,
        help="items not to recommend to a user: those that the test's ranking leaves out, which are training and "
        "validation items, or none with repeatable=True, which sequential models have; training items; all their items "
        "in the data or in their --history; or none (default: measured)",
    )
    _add_item_options(parser.add_argument_group("which items"))
    return parser


def _add_item_options(group: Any) -> None:
    add = group.add_argument
    add("--items", type=Path, metavar="FILE", help="recommend only these items: a file with one item id per line")
    add("--exclude_items", type=Path, metavar="FILE", help="never recommend these items: a file with one id per line")
    add(
        "--filter",
        action="append",
        default=[],
        dest="filters",
        metavar="COLUMN=VALUE",
        help="recommend only items whose row of the data set's .item file matches: a word, or for numbers an interval; "
        "alternatives are separated by ';'; may be repeated, then all must match",
    )
    add(
        "--unknown_items",
        choices=UNKNOWN_ITEMS,
        default="error",
        help="for items in these files and in --history that are not in the data: an error, or pass over them "
        "(default: error)",
    )
    add(
        "--untrained_items",
        choices=UNTRAINED_ITEMS,
        default="keep",
        help="items without training interactions, whose vectors are untrained: keep them, as the test's ranking does, "
        "or drop them (default: keep)",
    )


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
    if options.history is not None and options.users != ALL:
        raise ConfigError("--history names its users itself, one on each line: leave out --users")
    writer_of(options.out)  # reports a wrong ending before the data is loaded
    with quick_imports():
        from recbole_bd.serving.item_choice import ItemChoice, choose_items
        from recbole_bd.serving.recommend import recommend
        from recbole_bd.serving.recommender import Recommender
    trained = chosen_model(options, "recommend")
    dataset = trained.split.dataset
    users = None if options.users == ALL else read_ids(Path(options.users), dataset.uid_field, "users")
    given = None if options.history is None else _given_histories(trained, options)
    choice = ItemChoice(
        options.items, options.exclude_items, options.filters, options.unknown_items, options.untrained_items
    )
    items = choose_items(trained.split, choice)
    recommender = Recommender(trained.role, trained.split, options.k, options.exclude, items.allowed, given)
    summary = recommend(recommender, trained.split, users, options.out, options.unknown)
    each = f"{_counted(summary.most, 'item')} each"
    if summary.fewest < summary.most:
        each = f"{summary.fewest:,} to {summary.most:,} items each, {summary.rows:,} in all,"
    print(f"{_counted(summary.users, 'user')}, {each} by the {trained.role.name}: {options.out}")
    for note in (*_about_items(summary, recommender.count, options), *_about_users(summary, options.unknown)):
        print(note)
    if unknown := list(dict.fromkeys([*items.unknown, *(given.unknown if given else ())])):
        print(f"{_counted(len(unknown), 'item')} of the files not in the data: {shortened(unknown)}")
    return 0


def _given_histories(trained: Trained, options: Namespace) -> GivenHistories:
    """Read the histories of `--history`.

    Raises:
        ConfigError: the model is not sequential, or users are named too.
        DataError: see `read_histories`.
    """
    from recbole_bd.serving.history_file import read_histories
    from recbole_bd.serving.recommender import sequences_of

    if sequences_of(trained.role) is None:
        raise ConfigError(
            f"--history: the {trained.role.name} {trained.about['model']} is not sequential, so it knows users of the "
            "data alone; name them with --users"
        )
    return read_histories(options.history, trained.split, options.unknown_items)


def _about_items(summary: RecommendationSummary, count: int, options: Namespace) -> Iterator[str]:
    """Say where fewer items were written than asked for, and where their scores mean little."""
    if count < options.k:
        yield f"-k {options.k} is above the number of items that may be recommended, {count:,}"
    left = f"without those that --exclude={options.exclude} leaves out"
    if summary.fewer:
        yield f"{_counted(summary.fewer, 'user')} with fewer than {count:,} items: no more are left {left}"
    if summary.without_items:
        yield f"{_counted(summary.without_items, 'user')} without a row: no item is left {left}"
    if summary.untrained_rows:
        yield (
            f"{_counted(summary.untrained_rows, 'row')} with items that have no training interaction "
            f"({_counted(summary.untrained_items, 'item')}), whose scores are those of untrained vectors; "
            "--untrained_items=drop leaves them out"
        )


def _about_users(summary: RecommendationSummary, unknown: str) -> Iterator[str]:
    """Say what was done for users whom the model does not know."""
    done = "skipped" if unknown == "skip" else "given popular items"
    for users, reason in ((summary.unknown, "not in the data"), (summary.untrained, summary.reason)):
        if users:
            yield f"{_counted(len(users), 'user')} {reason}, {done}: {shortened(users)}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
