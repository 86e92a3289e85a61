"""`recbole-bd compare`: paired tests between two runs, two arms of a run, or two sets of seeds."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_bd.backbones.names import ARMS, DISTILLED, ROLES, SEPARATE
from recbole_bd.cli.parser import CommandParser
from recbole_bd.errors import ComparisonError, ConfigError
from recbole_bd.runs.per_user import paired, run_record
from recbole_bd.runs.text_table import grid

LEVEL = 0.95
_DESCRIPTION = """\
Test whether two runs differ, by paired tests over the users of the test part.

examples:
  recbole-bd compare saved/RUN_A saved/RUN_B               every role that both have: distilled, else separate
  recbole-bd compare saved/RUN:student/continued saved/RUN:student/distilled
                                                           two arms of one run, each as RUN:role/arm
  recbole-bd compare saved/A1,saved/A2 saved/B1,saved/B2   the same seeds of each, over users and over seeds"""
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


def command_parser() -> CommandParser:
    """The parser."""
    parser = CommandParser(
        "compare", "RUN_A RUN_B [--metric=NAME] [--role=NAME] [--arm=NAME] [--json]", description=_DESCRIPTION
    )
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="run folder, RUN:role/arm, or RUN,RUN,... of several seeds")
    add("--metric", metavar="NAME,...", help="only these metrics; by default all that both runs measured")
    add("--role", choices=ROLES, help="role to compare in runs without :role/arm")
    add("--arm", choices=ARMS, help="arm to compare in runs without :role/arm")
    add("--json", action="store_true", help="print everything as JSON instead of the table")
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd compare`.

    Args:
        words: the command line after `compare`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    options = command_parser().parse_intermixed_args(words)
    if len(options.runs) != 2:
        found = len(options.runs)
        raise ConfigError(f"compare takes two runs, RUN_A RUN_B, found {found}. See recbole-bd compare --help")
    a, b = _paired_by_seed(*(_side(word, options.arm) for word in options.runs))
    wanted = list(dict.fromkeys(options.metric.lower().split(","))) if options.metric else None
    rows = comparisons(a, b, wanted, options.role)
    if options.json:
        sides = {name: {"runs": side.folders, "seeds": side.seeds} for name, side in (("a", a), ("b", b))}
        print(json.dumps({**sides, "level": LEVEL, "comparisons": rows}, indent=2))
    else:
        print(_text(a, b, rows))
    return 0


def comparisons(a: Side, b: Side, wanted: Sequence[str] | None = None, role: str | None = None) -> list[dict[str, Any]]:
    """Compare two sides in every role and metric: over users and, where there are several seeds, over seeds.

    Args:
        a, b: the sides, their runs in the same order of seeds.
        wanted: names of metrics; None takes all that both sides measured.
        role: role of sides that name none; None takes every role that both have.

    Returns:
        A row per comparison: `over` (users or seeds), `a` and `b` (role/arm), `metric`, the fields of `Comparison`, and
        `t_holm` and `wilcoxon_holm`, adjusted over the rows of the same `over`. Over users a user's value is the mean
        over seeds; these rows are missing if the seeds were tested on different users.

    Raises:
        ComparisonError: the runs cannot be paired, or lack what was asked for.
    """
    from recbole_bd.evaluator.significance import compare, holm  # imports scipy.stats, which takes .5 s

    pairs = [paired(*folders) for folders in zip(a.folders, b.folders, strict=True)]
    same_users = all(np.array_equal(users, pairs[0][0]) for users, _, _ in pairs)
    rows = []
    for of_a, of_b in _contrasts(a, b, role, pairs):
        for metric in _metrics(of_a, of_b, pairs, wanted):
            about = {"a": of_a, "b": of_b, "metric": metric}
            values = [(one[f"{of_a}/{metric}"], other[f"{of_b}/{metric}"]) for _, one, other in pairs]
            if same_users:
                users_a, users_b = np.mean(values, axis=0)  # [n_users] each
                rows.append({"over": "users", **about, **asdict(compare(users_a, users_b, LEVEL))})
            if len(pairs) > 1:
                seeds_a, seeds_b = np.array([[one.mean(), other.mean()] for one, other in values]).T
                rows.append({"over": "seeds", **about, **asdict(compare(seeds_a, seeds_b, LEVEL))})
    for over in ("users", "seeds"):
        family = [row for row in rows if row["over"] == over]
        for test in ("t", "wilcoxon"):
            for row, adjusted in zip(family, holm([row[f"{test}_p"] for row in family]), strict=True):
                row[f"{test}_holm"] = adjusted
    return rows


def _side(word: str, arm: str | None) -> Side:
    named = None if Path(word).is_dir() else _ROLE_AND_ARM.fullmatch(word)
    runs, role = (named["runs"], named["role"]) if named else (word, None)
    if named:
        arm = named["arm"]
        if role not in ROLES or arm not in ARMS:
            raise ConfigError(f"{word}: expected RUN:role/arm, role one of {', '.join(ROLES)}, arm {', '.join(ARMS)}")
    folders = (runs,) if Path(runs).is_dir() else tuple(runs.split(","))
    for folder in folders:
        if not folder or not Path(folder).is_dir():
            raise ComparisonError(f"{folder or word!r} is not a run folder; an arm of a run is written RUN:role/arm")
    records = [run_record(folder) for folder in folders]
    title, *others = dict.fromkeys(f"{record['method']} on {record['dataset']}" for record in records)
    if others:
        raise ComparisonError(
            f"{word}: runs of one side must be seeds of one method, found {', '.join([title, *others])}"
        )
    return Side(word, folders, tuple(record["seed"] for record in records), title, role, arm)


def _paired_by_seed(a: Side, b: Side) -> tuple[Side, Side]:
    """Both sides in the order of their seeds."""
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


def _contrasts(a: Side, b: Side, role: str | None, pairs: list) -> list[tuple[str, str]]:
    """The pairs of `role/arm` to compare, which every run of its side has."""
    arms_a, arms_b = (_arms([pair[place] for pair in pairs]) for place in (1, 2))
    named = a.role or b.role or role
    if named:
        roles = [(a.role or _counterpart(named, arms_a), b.role or _counterpart(named, arms_b))]
    else:
        roles = [(name, name) for name in ROLES if name in arms_a and name in arms_b]
    if not roles:
        raise ComparisonError(
            f"A has {', '.join(arms_a) or 'no role'}, B has {', '.join(arms_b) or 'no role'}: name what to compare, "
            "RUN_A:role/arm RUN_B:role/arm"
        )
    return [(_role_and_arm(a, of_a, arms_a), _role_and_arm(b, of_b, arms_b)) for of_a, of_b in roles]


def _counterpart(role: str, arms: dict[str, list[str]]) -> str:
    """Role to compare with a named role: the same, or the only one there is."""
    return next(iter(arms)) if len(arms) == 1 else role


def _arms(runs: list[dict[str, np.ndarray]]) -> dict[str, list[str]]:
    """The arms of each role that all of the runs have."""
    common = [key for key in runs[0] if all(key in values for values in runs)]
    found = {tuple(key.split("/")[:2]) for key in common}
    arms = {role: [arm for arm in ARMS if (role, arm) in found] for role in ROLES}
    return {role: names for role, names in arms.items() if names}


def _role_and_arm(side: Side, role: str, arms: dict[str, list[str]]) -> str:
    if role not in arms:
        raise ComparisonError(f"{side.word}: it has no {role}, only {', '.join(arms)}")
    arm = side.arm or (DISTILLED if DISTILLED in arms[role] else SEPARATE)
    if arm not in arms[role]:
        raise ComparisonError(f"{side.word}: the {role} has no arm {arm}; it has {', '.join(arms[role])}")
    return f"{role}/{arm}"


def _metrics(of_a: str, of_b: str, pairs: list, wanted: Sequence[str] | None) -> list[str]:
    names = [key.rpartition("/")[2] for key in pairs[0][1] if key.startswith(f"{of_a}/")]
    common = [n for n in names if all(f"{of_a}/{n}" in one and f"{of_b}/{n}" in other for _, one, other in pairs)]
    missing = [name for name in wanted or () if name not in common]
    if missing or not common:
        raise ComparisonError(
            f"metric {', '.join(missing) or 'none'}: both must have measured it per user; they have "
            f"{', '.join(common) or 'none in common'}"
        )
    return list(wanted or common)


def _text(a: Side, b: Side, rows: list[dict[str, Any]]) -> str:
    lines = []
    for name, side in (("A", a), ("B", b)):
        runs = zip(side.folders, side.seeds, strict=True)
        lines += [f"{name}: {side.title}, seed {seed}, {folder}" for folder, seed in runs]
    header = ["A", "B", "metric", "mean A", "mean B", "B - A", f"{LEVEL:.0%} interval", "t p", "Wilcoxon p"]
    header += ["Holm p (t)", "d_z"]
    for over in ("users", "seeds"):
        family = [row for row in rows if row["over"] == over]
        if not family:
            continue
        averaged = f", each the mean of {len(a.seeds)} seeds" if over == "users" and len(a.seeds) > 1 else ""
        lines += ["", f"over {family[0]['n']} {over}{averaged}:", grid(header, [*map(_cells, family)], (0, 1, 2))]
    if len(a.seeds) > 1 and rows[0]["over"] == "seeds":
        lines += [
            "",
            "The seeds were tested on different users, so there is no table over users: compare one seed at a time.",
        ]
    lines += ["", "B - A above 0: B is higher. Tests are paired and two-sided; Holm p is t p adjusted over its table."]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    unknown = "not enough"
    interval = "none differs" if row["t_p"] == 1 else unknown
    if row["low"] is not None:
        interval = f"[{row['low']:+.4f}, {row['high']:+.4f}]"
    effect = unknown if row["effect_size"] is None else f"{row['effect_size']:+.3f}"
    tests = [unknown if p is None else _p(p) for p in (row["t_p"], row["wilcoxon_p"], row["t_holm"])]
    means = [f"{row['mean_a']:.4f}", f"{row['mean_b']:.4f}", f"{row['difference']:+.4f}"]
    return [row["a"], row["b"], row["metric"], *means, interval, *tests, effect]


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 1e-4 else f"{p:.0e}"
