"""`recbole-bd compare`: paired tests between two runs, two arms of a run, or two sets of seeds."""

import json
import os
from argparse import Namespace
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from recbole_bd.backbones.names import ARMS, DISTILLED, ROLES, SEPARATE
from recbole_bd.cli.compared_sides import Side, paired_by_seed, side_of
from recbole_bd.cli.parser import CommandParser
from recbole_bd.cli.twins import compared_with_twin
from recbole_bd.errors import ComparisonError, ConfigError
from recbole_bd.evaluator.verdict import ALPHA, BETTER, WORSE, verdict
from recbole_bd.runs.per_user import paired, run_record
from recbole_bd.runs.records import is_less_better
from recbole_bd.runs.same_settings import differing_settings
from recbole_bd.runs.text_table import grid

LEVEL = 0.95
USERS, SEEDS, BOTH = "users", "seeds", "users and seeds"
_DESCRIPTION = """\
Test whether two runs differ, by paired tests over the users of the test part.

examples:
  recbole-bd compare saved/RUN_A saved/RUN_B               every role that both have: distilled, else separate
  recbole-bd compare saved/RUN:student/continued saved/RUN:student/distilled
                                                           two arms of one run, each as RUN:role/arm
  recbole-bd compare saved/A1,saved/A2 saved/B1,saved/B2   the same seeds of each: two methods, not two models
  recbole-bd compare saved/RUN --twin=saved/OTHER_SEED     what the student knows beside its teacher, and what the same
                                                           teacher of another seed does"""


def command_parser() -> CommandParser:
    """The parser."""
    parser = CommandParser(
        "compare",
        "RUN_A RUN_B [--metric=NAME] [--role=NAME] [--arm=NAME] [--json] | RUN --twin=RUN [--json]",
        description=_DESCRIPTION,
    )
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="run folder, RUN:role/arm, or RUN,RUN,... of several seeds")
    add("--metric", metavar="NAME,...", help="only these metrics; by default all that both runs measured")
    add("--role", choices=ROLES, help="role to compare in runs without :role/arm")
    add("--arm", choices=ARMS, help="arm to compare in runs without :role/arm")
    add("--twin", metavar="RUN", help="with one run: a run with the same teacher of another seed, on the same split")
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
    if options.twin is not None:
        print(_with_twin(options))
        return 0
    if len(options.runs) != 2:
        raise ConfigError(_not_two(options.runs))
    a, b = paired_by_seed(*(side_of(word, options.arm) for word in options.runs))
    if options.metric == "":
        raise ConfigError("--metric is empty: name metrics, such as --metric=ndcg@10, or leave it out")
    wanted = list(dict.fromkeys(options.metric.lower().split(","))) if options.metric else None
    rows = comparisons(a, b, wanted, options.role)
    notes = [note for name, side in (("A", a), ("B", b)) if (note := _note_of(name, side))]
    if options.json:
        sides = {name: {"runs": side.folders, "seeds": side.seeds} for name, side in (("a", a), ("b", b))}
        print(json.dumps({**sides, "level": LEVEL, "notes": notes, "comparisons": rows}, indent=2))
    else:
        print("\n".join([_text(a, b, rows), *notes]))
    return 0


def _note_of(name: str, side: Side) -> str:
    """Say in which settings the runs of one side differ; empty if in their seeds alone."""
    keys = differing_settings(side.folders)
    return f"warning: the runs of {name} differ in {', '.join(keys)}, and not in their seeds alone" if keys else ""


def _not_two(runs: Sequence[str]) -> str:
    arms = f"; two arms of one run are written {runs[0]}:role/arm {runs[0]}:role/arm" if len(runs) == 1 else ""
    return f"compare takes two runs, RUN_A RUN_B, found {len(runs)}{arms}. See recbole-bd compare --help"


def _with_twin(options: Namespace) -> str:
    if len(options.runs) != 1:
        raise ConfigError(
            f"--twin compares one run with its twin, found {len(options.runs)} runs: write compare RUN --twin=RUN"
        )
    for name in ("metric", "role", "arm"):
        if getattr(options, name):
            raise ConfigError(
                f"--twin compares both roles by the selecting metric: it cannot be combined with --{name}"
            )
    if not options.twin:
        raise ConfigError("--twin is empty: name a run of another seed, compare RUN --twin=RUN")
    return compared_with_twin(options.runs[0], options.twin, options.json)


def comparisons(a: Side, b: Side, wanted: Sequence[str] | None = None, role: str | None = None) -> list[dict[str, Any]]:
    """Compare two sides in every role and metric: over users and, where there are several seeds, over seeds and both.

    Args:
        a, b: the sides, their runs in the same order of seeds.
        wanted: names of metrics; None takes all that both sides measured.
        role: role of sides that name none; None takes every role that both have.

    Returns:
        A row per comparison: `over` (users, seeds, or users and seeds), `a` and `b` (role/arm), `metric`. Rows over
        users or seeds have the fields of `Comparison`, `t_holm` and `wilcoxon_holm`; rows over both have those of
        `Crossed` and `p_holm`. Holm's correction is over the rows of the same `over`. `verdict` is in the rows over
        both, and with one seed in those over users. Over users a user's value is the mean over seeds. Rows over users
        are missing if the seeds were tested on different users.

    Raises:
        ComparisonError: the runs cannot be paired, or lack what was asked for.
    """
    from recbole_bd.evaluator.crossed import compare_crossed, seeds_ahead  # imports scipy.stats, which takes .5 s
    from recbole_bd.evaluator.significance import compare

    pairs = [paired(*folders) for folders in zip(a.folders, b.folders, strict=True)]
    same_users = all(np.array_equal(users, pairs[0][0]) for users, _, _ in pairs)
    record, names = run_record(a.folders[0]), {key.rpartition("/")[2] for key in pairs[0][1]}
    less_is_better = {name for name in names if is_less_better(record, name)}
    rows = []
    for of_a, of_b in _contrasts(a, b, role, pairs):
        _refuse_the_same(a, b, of_a, of_b)
        for metric in _metrics(of_a, of_b, pairs, wanted):
            about = {"a": of_a, "b": of_b, "metric": metric}
            values_a = [one[f"{of_a}/{metric}"] for _, one, _ in pairs]  # [n_users] by seed
            values_b = [other[f"{of_b}/{metric}"] for _, _, other in pairs]
            if same_users:
                table_a, table_b = np.stack(values_a, axis=1), np.stack(values_b, axis=1)
                over_users = compare(table_a.mean(axis=1), table_b.mean(axis=1), LEVEL)
                rows.append({"over": USERS, **about, **asdict(over_users)})
                if len(pairs) > 1:
                    crossed = asdict(compare_crossed(table_a, table_b, LEVEL))
                    if metric in less_is_better:
                        crossed["ahead"] = seeds_ahead(table_a - table_b)
                    rows.append({"over": BOTH, **about, **crossed})
            if len(pairs) > 1:
                means_a, means_b = ([float(values.mean()) for values in side] for side in (values_a, values_b))
                over_seeds = compare(means_a, means_b, LEVEL)
                rows.append({"over": SEEDS, **about, **asdict(over_seeds)})
    _correct(rows)
    _judge(rows, len(pairs), less_is_better)
    return rows


def _refuse_the_same(a: Side, b: Side, of_a: str, of_b: str) -> None:
    """Refuse a run that stands on both sides with the same arm, whose differences are 0."""
    for one, other in zip(a.folders, b.folders, strict=True):
        if of_a == of_b and os.path.samefile(one, other):
            raise ComparisonError(
                f"{one} is on both sides with {of_a}: name another run, or another arm of it, written RUN:role/arm"
            )


def _correct(rows: list[dict[str, Any]]) -> None:
    """Add the p values of each test, adjusted over the rows of the same `over`."""
    from recbole_bd.evaluator.significance import holm

    for over, tests in ((USERS, ("t", "wilcoxon")), (SEEDS, ("t", "wilcoxon")), (BOTH, ("",))):
        family = [row for row in rows if row["over"] == over]
        for test in tests:
            name = f"{test}_p".lstrip("_")
            for row, adjusted in zip(family, holm([row[name] for row in family]), strict=True):
                row[f"{test}_holm" if test else "p_holm"] = adjusted


def _judge(rows: list[dict[str, Any]], seeds: int, less_is_better: Collection[str]) -> None:
    """Add the verdicts: of the methods to the rows over both, or of two models to those over users."""

    def gain(row: dict[str, Any]) -> float:
        difference: float = row["difference"]
        return -difference if row["metric"] in less_is_better else difference

    over_users = [row for row in rows if row["over"] == USERS]
    over_both = [row for row in rows if row["over"] == BOTH]
    if seeds == 1:
        for row in over_users:
            row["verdict"] = verdict(gain(row), row["t_holm"], None, seeds)
    for of_users, row in zip(over_users, over_both, strict=False):
        row["verdict"] = verdict(gain(row), of_users["t_holm"], row["p_holm"], seeds)


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
            f"RUN_A:role/arm RUN_B:role/arm{_such_as(a, b, arms_a, arms_b)}"
        )
    return [(_role_and_arm(a, of_a, arms_a), _role_and_arm(b, of_b, arms_b)) for of_a, of_b in roles]


def _such_as(a: Side, b: Side, arms_a: dict[str, list[str]], arms_b: dict[str, list[str]]) -> str:
    """An example of two arms that the sides have; empty where one has none."""
    if not arms_a or not arms_b:
        return ""
    # Arms and roles are in order: the last is a student's, and what it became.
    last = [f"{side.word}:{[*arms][-1]}/{arms[[*arms][-1]][-1]}" for side, arms in ((a, arms_a), (b, arms_b))]
    return f", such as {' '.join(last)}"


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
    seeds = len(a.seeds)
    both = [row for row in rows if row["over"] == BOTH]
    if both:
        title = f"over {both[0]['users']} users and {seeds} seeds, both random:"
        lines += ["", title, grid(_HEADER_OF_BOTH, [*map(_cells_of_both, both)], (0, 1, 2, 11))]
    for over in (USERS, SEEDS):
        family = [row for row in rows if row["over"] == over]
        if not family:
            continue
        averaged = f", each the mean of {seeds} seeds" if over == USERS and seeds > 1 else ""
        judged = seeds == 1
        header = [*_HEADER, *(["verdict"] if judged else [])]
        cells = [[*_cells(row), *([_of_b(row)] if judged else [])] for row in family]
        lines += ["", f"over {family[0]['n']} {over}{averaged}:", grid(header, cells, (0, 1, 2, 11))]
    if seeds > 1 and not both:
        lines += [
            "",
            "The seeds were tested on different users, so there is no table over users: compare one seed at a time, or "
            "give the runs one split_seed.",
        ]
    lines += ["", "B - A above 0: B is higher. Tests are paired and two-sided; Holm p is adjusted over its table."]
    if seeds == 1:
        lines.append("One seed: the tests are about these two models. Whether a method is better takes several seeds.")
    elif both:
        lines.append(
            f"better, worse: Holm p below {ALPHA} over users and seeds, and over users (t). The table over users alone "
            "is about these trained models."
        )
    return "\n".join(lines)


_HEADER = [
    "A", "B", "metric", "mean A", "mean B", "B - A", f"{LEVEL:.0%} interval", "t p", "Wilcoxon p", "Holm p (t)", "d_z",
]  # fmt: skip
_HEADER_OF_BOTH = [
    "A", "B", "metric", "mean A", "mean B", "B - A", f"{LEVEL:.0%} interval", "p", "Holm p", "d", "B ahead", "verdict",
]  # fmt: skip
_UNKNOWN = "not enough"


def _cells(row: dict[str, Any]) -> list[str]:
    effect = _UNKNOWN if row["effect_size"] is None else f"{row['effect_size']:+.3f}"
    tests = [_p(row[name]) for name in ("t_p", "wilcoxon_p", "t_holm")]
    return [*_cells_of_means(row, row["t_p"]), *tests, effect]


def _cells_of_both(row: dict[str, Any]) -> list[str]:
    effect = _UNKNOWN if row["effect_size"] is None else f"{row['effect_size']:+.3f}"
    ahead = f"{row['ahead']} of {row['seeds']}"
    return [*_cells_of_means(row, row["p"]), _p(row["p"]), _p(row["p_holm"]), effect, ahead, _of_b(row)]


def _cells_of_means(row: dict[str, Any], p: float | None) -> list[str]:
    interval = "none differs" if p == 1 else _UNKNOWN
    if row["low"] is not None:
        interval = f"[{row['low']:+.4f}, {row['high']:+.4f}]"
    means = [f"{row['mean_a']:.4f}", f"{row['mean_b']:.4f}", f"{row['difference']:+.4f}"]
    return [row["a"], row["b"], row["metric"], *means, interval]


def _of_b(row: dict[str, Any]) -> str:
    """The verdict with the side that it is about."""
    return row["verdict"].replace(BETTER, f"B {BETTER}").replace(WORSE, f"B {WORSE}")


def _p(p: float | None) -> str:
    if p is None:
        return _UNKNOWN
    return f"{p:.4f}" if p >= 1e-4 else f"{p:.0e}"
