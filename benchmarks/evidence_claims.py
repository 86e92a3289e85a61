"""Comparisons of the claims: which ones are planned, against what, and the tests of all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from recbole_bd.evaluator.crossed import Crossed, compare_crossed_pairs
from recbole_bd.evaluator.significance import holm, t_test
from recbole_bd.evaluator.verdict import verdict
from recbole_bd.leaderboard.tables import Board, Row
from recbole_bd.leaderboard.verdicts import Values, users_by_seeds, values_of

ROLES = ("teacher", "student")
# Rows of a role trained without the other's knowledge. A board may lack some: early records have no placebo.
CONTROLS = ("separate", "continued", "continued alone", "placebo")
ONE_WAY = ("RD", "CD", "DE", "RRD", "CE", "RCE-KD", "DCD", "UnKD", "HetComp", "FTD", "HTD")
TWO_WAY = ("DML", "KDCL")
RIVALS = (*ONE_WAY, *TWO_WAY)
PARTS = {
    "BD, present guide": "each role learns from the other's present state, not from its best one",
    "BD, to the student": "only the student learns from the other",
    "BD, to the teacher": "only the teacher learns from the other",
    "BD, pointwise to the teacher": "the teacher learns the student's softened probabilities, item by item",
    "BD, listwise to the teacher": "the teacher learns the student's order of a list that includes the positive",
    "BD, own tops": "both at once, each from the head of its own list without the positive",
    "BD, discrepancy both ways": "both learn from lists with the positive, on items they rank far above the other role",
    "BD, uniform to the teacher": "the teacher's items drawn uniformly, the student's as in BD",
    "BD, top to the teacher": "the teacher's items from the top of the student's list, the student's as in BD",
    "BD, own top to the teacher": "the teacher's items from the top of its own list, the student's as in BD",
    "BD, uniform to the student": "the student's items drawn uniformly, the teacher's as in BD",
    "BD, top to the student": "the student's items from the top of the teacher's list, the teacher's as in BD",
    "BD, discrepancy to the student": "the student's items by the ratio of their ranks, the teacher's as in BD",
    "BD, uniform": "items drawn uniformly, in both directions",
    "BD, top": "items from the top of the guide's list, in both directions",
    "BD (paper)": "the paper's form with its published values",
    "BD (public code)": "the same, with the public code's direction and negatives",
    "BD (paper), searched": "the paper's form with searched values",
    "BD (public code), searched": "the same, with the public code's direction",
}


@dataclass(frozen=True)
class Planned:
    """A comparison that is made for every pair, whatever the others show.

    Attributes:
        claim: number of the claim, 2 to 4. The comparisons of a claim over all pairs are one family of Holm's method.
        role: the role compared.
        against: rows of which the strongest is compared, by its mean test value. That makes `better` harder to reach.
        row: the row that is compared; None takes BD in the form of the pair.
    """

    claim: int
    role: str
    against: tuple[str, ...]
    row: str | None = None


# The planned comparisons. All others are shown with their difference and interval, without a verdict. The first claim,
# the share of test interactions on which the student is ahead, is a description and has none.
PLANNED = (
    Planned(2, "teacher", CONTROLS),
    Planned(2, "student", CONTROLS),
    Planned(3, "student", RIVALS),
    Planned(3, "teacher", TWO_WAY),
    Planned(3, "student", ("BD, to the student",)),
    Planned(4, "teacher", ("BD, to the teacher",)),
    Planned(4, "teacher", ("BD, uniform",)),
    Planned(4, "student", ("BD, uniform",)),
    Planned(4, "teacher", ("BD, uniform",), row="BD, discrepancy both ways"),
    Planned(4, "student", ("BD, uniform",), row="BD, discrepancy both ways"),
)


@dataclass(frozen=True)
class Gain:
    """Comparison of two rows of a board by the selecting metric.

    Attributes:
        board: name of the pair.
        role: role that both rows show.
        name, against: names of the row and of the other, without the role.
        row, other: the rows.
        test: test with users and seeds crossed; `difference` is above 0 if `row` is better.
        users_p: p value of the paired t test over users, whose values are averaged over seeds.
        plan: the planned comparison that it answers; None where it is only shown.
        stood: rows of which `against` is the strongest.
        p, crossed_p: p values over users and crossed, after Holm's correction over the family; None without a plan.
    """

    board: str
    role: str
    name: str
    against: str
    row: Row
    other: Row
    test: Crossed
    users_p: float | None
    plan: Planned | None = None
    stood: tuple[str, ...] = ()
    p: float | None = None
    crossed_p: float | None = None

    @property
    def relative(self) -> float:
        """The difference as a share of the other's mean."""
        return self.test.difference / self.test.mean_a

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `no difference shown`; empty without a plan."""
        if self.plan is None:
            return ""
        return verdict(self.test.difference, self.p, self.crossed_p, self.test.seeds)


def rows_of(board: Board) -> dict[str, Row]:
    """Return the rows that have runs, by name, in the board's order."""
    return {row.name: row for row in board.rows if row.runs}


def row_named(role: str, name: str, form: str) -> str:
    """Name of a role's row: a placebo is that of BD's form.

    Args:
        role, name: the role, and the row without it.
        form: name of BD's row, without the role.
    """
    return f"{role}, {form}, placebo" if name == "placebo" else f"{role}, {name}"


def all_gains(boards: Mapping[str, Board], forms: Mapping[str, str]) -> list[Gain]:
    """Make every comparison that the boards have rows for: the planned ones, and BD with each other row of its role.

    Args:
        boards: by name.
        forms: name of BD's row on each board, without the role.

    Returns:
        The planned gains, claim by claim, with Holm's correction over each claim; then all others, without a plan.
    """
    found = {}
    for name, board in boards.items():
        asked = [(role, forms[name], other) for role in ROLES for other in (*CONTROLS, *RIVALS, *PARTS)]
        asked += [(plan.role, plan.row, other) for plan in PLANNED if plan.row for other in plan.against]
        found |= {(name, *key): gain for key, gain in _compared(name, board, asked).items()}
    planned = []
    for claim in sorted({plan.claim for plan in PLANNED}):
        plans = [plan for plan in PLANNED if plan.claim == claim]
        answers = [_answer(found, name, boards[name], forms[name], plan) for name in boards for plan in plans]
        family = [gain for gain in answers if gain is not None]
        users = holm([_corrected(gain, gain.users_p) for gain in family])
        crossed = holm([_corrected(gain, gain.test.p) for gain in family])
        planned += [replace(gain, p=p, crossed_p=q) for gain, p, q in zip(family, users, crossed, strict=True)]
    shown = [gain for gain in found.values() if gain.name == forms[gain.board]]
    order = {other: place for place, other in enumerate((*CONTROLS, *RIVALS, *PARTS))}
    places = {board: place for place, board in enumerate(boards)}
    return planned + sorted(shown, key=lambda gain: (places[gain.board], ROLES.index(gain.role), order[gain.against]))


def _compared(name: str, board: Board, asked: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], Gain]:
    """Compare the rows of one board, each asked for as role, name and name of the other; absent rows are left out."""
    rows = rows_of(board)
    values: dict[str, dict[int, Values]] = {}
    pairs = {}
    for key in asked:
        role, mine, against = key
        sides = [row_named(role, against, mine), f"{role}, {mine}"]
        if mine == against or not all(side in rows for side in sides):
            continue
        for side in sides:
            values.setdefault(side, values_of(rows[side]))
        pair = users_by_seeds(values[sides[0]], values[sides[1]], board.valid_metric)
        if pair is not None:
            pairs[key] = pair
    tests = compare_crossed_pairs(list(pairs.values()))
    return {
        (role, mine, against): Gain(
            name, role, mine, against, rows[f"{role}, {mine}"], rows[row_named(role, against, mine)], test,
            t_test(*(side.mean(axis=1) for side in pair)),
        )
        for ((role, mine, against), pair), test in zip(pairs.items(), tests, strict=True)
    }  # fmt: skip


def _answer(found: Mapping[tuple, Gain], name: str, board: Board, form: str, plan: Planned) -> Gain | None:
    """The planned comparison on one board: with the strongest of the rows that stand; None where none does."""
    mine = plan.row or form
    gains = [found[key] for other in plan.against if (key := (name, plan.role, mine, other)) in found]
    if not gains:
        return None
    strongest = max(gains, key=lambda gain: gain.other.cells[board.valid_metric].mean)
    return replace(strongest, plan=plan, stood=tuple(gain.against for gain in gains))


def _corrected(gain: Gain, p: float | None) -> float | None:
    """The p value, times the number of rows that stood where BD is below the strongest: it was picked among them."""
    if p is None or gain.test.difference > 0:
        return p
    return min(1.0, p * len(gain.stood))
