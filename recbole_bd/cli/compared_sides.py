"""The two sides of `recbole-bd compare`: runs of one method, by seed, with a role and an arm where these are named."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recbole_bd.backbones.names import ARMS, ROLES
from recbole_bd.errors import ComparisonError, ConfigError
from recbole_bd.runs.per_user import run_record
from recbole_bd.runs.records import why_no_run

_ROLE_AND_ARM = re.compile(r"(?P<runs>.+):(?P<role>\w+)/(?P<arm>\w+)")


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        word: the word on the command line.
        folders: run folders, one a seed.
        seeds: of the runs, in the same order.
        title: method and data set of the runs.
        role: role named after the runs; None takes that of the other side, or the default.
        arm: arm named after the runs, likewise.
    """

    word: str
    folders: tuple[str, ...]
    seeds: tuple[int, ...]
    title: str
    role: str | None
    arm: str | None


def side_of(word: str, arm: str | None) -> Side:
    """Read one side.

    Args:
        word: run folders with commas between them, or one with `:role/arm`.
        arm: arm of sides that name none.

    Raises:
        ConfigError: an unknown role or arm.
        ComparisonError: no run folder, or runs of several methods.
    """
    named = None if Path(word).is_dir() else _ROLE_AND_ARM.fullmatch(word)
    runs, role = (named["runs"], named["role"]) if named else (word, None)
    if named:
        arm = named["arm"]
        if role not in ROLES or arm not in ARMS:
            raise ConfigError(f"{word}: expected RUN:role/arm, role one of {', '.join(ROLES)}, arm {', '.join(ARMS)}")
    folders = (runs,) if Path(runs).is_dir() else tuple(runs.split(","))
    for folder in folders:
        if not folder or not Path(folder).is_dir():
            raise ComparisonError(f"{folder or word!r} is not a run folder{_why_not(folder)}")
    records = [run_record(folder) for folder in folders]
    title, *others = dict.fromkeys(f"{record['method']} on {record['dataset']}" for record in records)
    if others:
        raise ComparisonError(
            f"{word}: runs of one side must be seeds of one method, found {', '.join([title, *others])}"
        )
    return Side(word, folders, tuple(record["seed"] for record in records), title, role, arm)


def _why_not(word: str) -> str:
    """What a word is that names no folder, and the way out."""
    if not word:
        return "; seeds are written RUN,RUN"
    return "; an arm of a run is written RUN:role/arm" if ":" in word else why_no_run(word)


def paired_by_seed(a: Side, b: Side) -> tuple[Side, Side]:
    """Both sides in the order of their seeds.

    Raises:
        ComparisonError: the sides do not have the same seeds, each once.
    """
    if len(a.folders) == len(b.folders) == 1:
        return a, b
    for side in (a, b):
        if len(set(side.seeds)) < len(side.seeds):
            raise ComparisonError(f"{side.word}: each run must have its own seed, found {sorted(side.seeds)}")
    if set(a.seeds) != set(b.seeds):
        raise ComparisonError(f"the runs are paired by seed, but A has {sorted(a.seeds)} and B {sorted(b.seeds)}")
    return _sorted(a), _sorted(b)


def _sorted(side: Side) -> Side:
    order = np.argsort(side.seeds)
    return replace(side, folders=tuple(side.folders[i] for i in order), seeds=tuple(side.seeds[i] for i in order))
