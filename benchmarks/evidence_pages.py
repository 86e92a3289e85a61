"""Pages of results/ from the records of its boards: tables of a data set, and the claims with their verdicts.

The pages depend on the records alone: the same runs give the same pages. The driver is evidence.py.
"""

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recbole_bd.evaluator.significance import Comparison, compare, holm
from recbole_bd.leaderboard.formats import number
from recbole_bd.leaderboard.tables import ALPHA, Board, Row
from recbole_bd.leaderboard.verdicts import over_users

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ONE_WAY = ("RD", "CD", "DE", "RRD")
PARTS = {
    "BD, present guide": "each role learns from the other's present state, not from its best one",
    "BD, to the student": "only the student learns from the other",
    "BD, to the teacher": "only the teacher learns from the other",
    "BD, pointwise to the teacher": "the teacher learns the student's softened probabilities, item by item",
    "BD, listwise to the teacher": "the teacher learns the student's order of a list that includes the positive",
    "BD, discrepancy both ways": "both learn from lists with the positive, on items they rank far above the other role",
    "BD, uniform": "items drawn uniformly",
    "BD, top": "items from the top of the guide's list",
    "BD (paper)": "the paper's form",
    "BD (reference code)": "the paper's form, with the public code's direction",
}
ROLE_MARKS = {"teacher": ("#0072B2", "s"), "student": ("#D55E00", "o")}
_HOW_TO_READ = (
    "mean ± standard deviation over seeds, at the best epoch by validation. Settings were selected on validation "
    "alone; the test part was read once. [How settings were chosen](README.md#how-settings-were-chosen) describes the "
    "search, and `trials.csv` has all trials.\n\n"
    "*separate* is the model trained alone. *continued* is the same model trained on for as long without distillation, "
    "with BD's learning rates; *continued alone* has learning rates searched for it. *BD* is this package's default "
    "form, *BD (paper)* the published one.\n\n"
    "p: paired t test over users, whose values are averaged over seeds, with Holm's correction over all comparisons "
    "of this page. d: mean difference divided by the standard deviation of the differences. seeds: number of seeds at "
    "which BD is ahead."
)


@dataclass
class Gain:
    """Comparison of two rows of a board by the selecting metric.

    Attributes:
        board: name of the pair.
        role: role that both rows show.
        against: name of the other row, without the role.
        row, other: the rows.
        test: test over the users' values, averaged over seeds; `difference` is above 0 if `row` is better.
        ahead: number of seeds at which `row` is better, and number of seeds.
        p: p value after Holm's correction over all gains of the page.
    """

    board: str
    role: str
    against: str
    row: Row
    other: Row
    test: Comparison
    ahead: tuple[int, int]
    p: float | None = None

    @property
    def relative(self) -> float:
        """The difference as a share of the other's mean."""
        return self.test.difference / self.test.mean_a

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `no difference shown`."""
        if self.p is None or self.p >= ALPHA:
            return "no difference shown"
        return "better" if self.test.difference > 0 else "worse"


def rows_of(board: Board) -> dict[str, Row]:
    """Return the rows that have runs, by name, in the board's order."""
    return {row.name: row for row in board.rows if row.runs}


def gains(boards: dict[str, Board]) -> list[Gain]:
    """Make every comparison of the claims, with Holm's correction over all of them."""
    found = [gain for name, board in boards.items() for gain in _gains_of(name, board)]
    for gain, p in zip(found, holm([gain.test.t_p for gain in found]), strict=True):
        gain.p = p
    return found


def _gains_of(name: str, board: Board) -> list[Gain]:
    rows = rows_of(board)
    found = []
    for role in ("teacher", "student"):
        row = rows.get(f"{role}, BD")
        others = ["separate", "continued", "continued alone", *(ONE_WAY if role == "student" else ()), *PARTS]
        for against in others:
            other = rows.get(f"{role}, {against}")
            if row is None or other is None:
                continue
            pair = over_users(other, row, board.valid_metric)
            if pair is None:
                continue
            values = [cell.values for cell in (row.cells[board.valid_metric], other.cells[board.valid_metric])]
            common = values[0].keys() & values[1].keys()
            ahead = sum(values[0][seed] > values[1][seed] for seed in common)
            found.append(Gain(name, role, against, row, other, compare(*pair), (ahead, len(common))))
    return found


def claims_page(boards: dict[str, Board], found: Sequence[Gain], command: str) -> str:
    """Write the page of the claims: each with its verdict and the numbers behind it, `found` by `gains`."""
    lines = [
        "# The claims of Bidirectional Distillation",
        "",
        f"Made by `{command}` from `results/*/runs.jsonl`. Values are test {metrics_of(boards)}: {_HOW_TO_READ}",
        "",
        "![Gains of BD](claims.png)",
        "",
        "## 1. On a large share of test interactions the student ranks the held-out item higher than the teacher",
        "",
        "| pair | before distillation | after BD |",
        "|---|---:|---:|",
    ]
    lines += [_wins_line(name, board) for name, board in boards.items()]
    lines += ["", "## 2. Both roles end better than alone", "", _verdict_of(found, ("separate", "continued")), ""]
    lines += _table(found, ("separate", "continued", "continued alone"))
    lines += ["", "## 3. The student is better than with one-way methods", "", _verdict_of(found, ONE_WAY), ""]
    lines += _table(found, ONE_WAY)
    lines += ["", "## 4. Each part of the method contributes", "", _verdict_of(found, tuple(PARTS)), ""]
    lines += _table(found, tuple(PARTS))
    lines += ["", *(f"- *{name}*: {meaning}" for name, meaning in PARTS.items()), ""]
    lines += [
        "## By the size of the student",
        "",
        "*size*: the student's parameters as a share of the teacher's. The last column is the student's value "
        "as a share of its teacher's.",
        "",
        "| pair | size | student separate | student BD | teacher BD | student / teacher |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [_size_line(name, board) for name, board in sorted(boards.items(), key=lambda one: _share(one[1]))]
    return "\n".join([*lines, ""])


def metrics_of(boards: dict[str, Board]) -> str:
    """Name the selecting metric, by data set if they differ."""
    by_dataset = {board.dataset: board.valid_metric.upper() for board in boards.values()}
    if len(set(by_dataset.values())) == 1:
        return next(iter(by_dataset.values()))
    return " and ".join(f"{metric} ({dataset})" for dataset, metric in by_dataset.items())


def _share(board: Board) -> float:
    """Parameters of the student divided by those of the teacher; 0 if the board lacks one of them."""
    rows = rows_of(board)
    student, teacher = (rows.get(f"{role}, separate") for role in ("student", "teacher"))
    return student.parameters / teacher.parameters if student and teacher else 0.0


def _size_line(name: str, board: Board) -> str:
    rows = rows_of(board)
    cells = [
        rows[one].cells[board.valid_metric] if one in rows else None
        for one in ("student, separate", "student, BD", "teacher, BD")
    ]
    _, student, teacher = cells
    reached = f"{student.mean / teacher.mean:.0%}" if student and teacher else ""
    values = ["" if cell is None else number(cell) for cell in cells]
    return f"| {name} | {_share(board):.0%} | {' | '.join(values)} | {reached} |"


def _wins_line(name: str, board: Board) -> str:
    cells = []
    row = rows_of(board).get("student, BD")
    for arm in ("separate", "distilled"):
        shares = [run.result["student_wins"][arm] for run in row.runs.values()] if row else []
        spread = f" ± {statistics.stdev(shares):.1%}" if len(shares) > 1 else ""
        cells.append(f"{statistics.fmean(shares):.1%}{spread}" if shares else "")
    return f"| {name} | {' | '.join(cells)} |"


def _verdict_of(found: Sequence[Gain], against: Sequence[str]) -> str:
    """State whether a claim holds, and how often BD is better, worse, or not shown to differ, by role."""
    verdicts = {gain.verdict for gain in found if gain.against in against}
    if not verdicts:
        return "Nothing has been compared yet."
    said = [
        "**Holds.**" if verdicts == {"better"} else "**Holds in part.**" if "better" in verdicts else "**Not shown.**"
    ]
    for role in ("teacher", "student"):
        mine = [gain for gain in found if gain.role == role and gain.against in against]
        if mine:
            counts = {
                verdict: sum(gain.verdict == verdict for gain in mine)
                for verdict in ("better", "no difference shown", "worse")
            }
            told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
            number_of = f"{len(mine)} comparison{'s' * (len(mine) > 1)}"
            said.append(f"The {role} in {number_of}: {told}.")
    return " ".join(said)


def _table(found: Sequence[Gain], against: Sequence[str]) -> list[str]:
    lines = [
        "| pair | role | against | its value | BD | gain | p | d | seeds | verdict |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for gain in found:
        if gain.against not in against:
            continue
        metric = gain.row.runs[min(gain.row.runs)].result["valid_metric"]
        p = "" if gain.p is None else "< .0001" if gain.p < 1e-4 else f"{gain.p:.4f}"
        d = "" if gain.test.effect_size is None else f"{gain.test.effect_size:+.3f}"
        values = [number(row.cells[metric]) for row in (gain.other, gain.row)]
        seeds = f"{gain.ahead[0]} of {gain.ahead[1]}"
        about = [gain.board, gain.role, gain.against, *values, f"{gain.relative:+.1%}", p, d, seeds, gain.verdict]
        lines.append(f"| {' | '.join(about)} |")
    return lines


def claims_picture(found: Sequence[Gain]) -> bytes:
    """Draw BD's gains over separate, continued and one-way models, with 95 % intervals over users; return a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels: dict[str, list[Gain]] = {}
    for gain in found:
        if gain.against not in PARTS:
            panels.setdefault(gain.board, []).append(gain)
    lengths = [len(mine) for mine in panels.values()]
    heights = [2 + max(lengths[left : left + 2]) for left in range(0, len(lengths), 2)] or [2]
    figure = Figure(figsize=(10, 0.9 + 0.24 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 2, squeeze=False, height_ratios=heights).ravel()
    for axis, (name, mine) in zip(axes, panels.items(), strict=False):
        _panel(axis, name, mine)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    legend = [Line2D([], [], color=colour, marker=marker, label=role) for role, (colour, marker) in ROLE_MARKS.items()]
    figure.legend(handles=legend, loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("gain of BD in % (95 % interval over users; filled: p < .05 after Holm's correction)", fontsize=10)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})
    return stream.getvalue()


def _panel(axis: "Axes", name: str, mine: Sequence[Gain]) -> None:
    for place, gain in enumerate(mine):
        low, high = (100 * end / gain.test.mean_a for end in (gain.test.low or 0.0, gain.test.high or 0.0))
        middle = 100 * gain.relative
        colour, marker = ROLE_MARKS[gain.role]
        axis.errorbar(
            middle, place, xerr=[[middle - low], [high - middle]], marker=marker, color=colour, capsize=3,
            markerfacecolor=colour if gain.verdict != "no difference shown" else "white",
        )  # fmt: skip
    axis.axvline(0, color="0.4", linewidth=0.8)
    axis.set_title(name, fontsize=10)
    axis.set_yticks(range(len(mine)), [f"{gain.role} vs {gain.against}" for gain in mine])
    axis.set_ylim(len(mine) - 0.3, -0.7)
    axis.grid(axis="x", color="0.88", linewidth=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def dataset_page(title: str, boards: dict[str, Board], command: str) -> str:
    """Write the tables of one data set, pair by pair, with changes of the selecting metric."""
    lines = [f"# {title}", "", f"Made by `{command}` from `results/*/runs.jsonl`.", ""]
    for name, board in boards.items():
        header = ["", "model", "parameters", "seeds", *board.metrics, "vs separate", "vs continued"]
        lines += [f"## {name}", "", f"| {' | '.join(header)} |", f"|---|---|{'---:|' * (len(header) - 2)}"]
        rows = rows_of(board)
        for row in rows.values():
            starts = (rows.get(f"{row.role}, {arm}") for arm in ("separate", "continued"))
            changes = [_change(row, start, board.valid_metric) for start in starts]
            values = [number(row.cells[metric]) for metric in board.metrics]
            about = [row.name, row.model, f"{row.parameters:,}", str(len(row.runs))]
            lines.append(f"| {' | '.join([*about, *values, *changes])} |")
        if any(row.parameters == 1 for row in rows.values()):
            lines += ["", _COUNTED]
        lines += ["", _MORE.format(name=name), ""]
    return "\n".join(lines)


def headline(board: Board) -> str:
    """Write the README's table of one board: both roles alone and with each method, by the selecting metric."""
    rows = rows_of(board)
    names = ["separate", "continued", *ONE_WAY, "BD"]
    lines = [f"| test {board.valid_metric.upper()} | teacher | student |", "|---|---:|---:|"]
    for name in names:
        cells = [rows.get(f"{role}, {name}") for role in ("teacher", "student")]
        values = ["" if row is None else number(row.cells[board.valid_metric]) for row in cells]
        lines.append(f"| {name} | {' | '.join(values)} |")
    sizes = [f"{rows[f'{role}, separate'].parameters:,}" for role in ("teacher", "student")]
    lines.append(f"| parameters | {' | '.join(sizes)} |")
    return "\n".join([*lines, ""])


_MORE = (
    "[Settings](./{name}/settings), every [trial](./{name}/trials.csv), [tests and commands](./{name}/leaderboard.md)."
)
_COUNTED = (
    "Parameters are those that gradients train. Models with 1 parameter, RecBole's placeholder, are computed from "
    "counts instead: *ItemKNN* and *EASE* store items x items weights."
)


def _change(row: Row, other: Row | None, metric: str) -> str:
    if other is None or other is row:
        return ""
    return f"{row.cells[metric].mean / other.cells[metric].mean - 1:+.1%}"
