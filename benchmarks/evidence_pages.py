"""Pages of results/ from the records of its boards: tables of a data set, and the claims with their verdicts.

The pages depend on the records alone: the same runs give the same pages. The driver is evidence.py.
"""

import io
import itertools
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from evidence_claims import CONTROLS, PARTS, RIVALS, ROLES, TWO_WAY, Gain, row_named, rows_of
from evidence_lambda import SEARCHED

from recbole_bd.evaluator.verdict import BETTER, NO_DIFFERENCE, WORSE
from recbole_bd.leaderboard.formats import number
from recbole_bd.leaderboard.tables import Board, Row, note_on_schemas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROLE_MARKS = {"teacher": ("#0072B2", "s"), "student": ("#D55E00", "o")}
_HOW_TO_READ = """\
mean ± standard deviation over seeds, at the best epoch by validation. Settings were selected on validation alone; the \
test part was read once. [How settings were chosen](README.md#how-settings-were-chosen) describes the search, and \
`trials.csv` has all trials.

*separate* is the model trained alone. *continued* is the same model trained on for as long without distillation, with \
BD's learning rates; *continued alone* has learning rates searched for it. *BD* is the form of this package that was \
chosen on each pair: {forms}. *BD (paper)* is the published form with its \
published values, *BD (paper), searched* with searched ones.

**Planned** comparisons have verdicts. For each pair they are, whatever the results: each role against the strongest \
of its controls (claim 2); each role against the strongest other method that teaches it, and the student against the \
same form taught one way (3); the teacher against the same form without the student's learning, and both roles \
against items drawn uniformly (4). *Strongest* is the highest mean on test, which makes "better" harder to reach; \
where BD is below it, its p values are multiplied by the number of rows that stood. All other rows are shown without a \
verdict.

p has two tests, each with Holm's correction over the planned comparisons of its claim. *users*: paired t test over \
users, whose values are averaged over seeds; it is about these trained models. *users, seeds*: users and seeds \
crossed, both random, by two-way variance with Satterthwaite's degrees of freedom; it is about the methods. "Better" \
and "worse" need both below .05. The interval is a 95 % bootstrap that resamples users and seeds. d is the difference \
in standard deviations that the differences of one seed have over users, so boards of three and of five seeds are \
comparable. seeds: number of seeds at which BD is ahead. With three seeds the crossed test shows large differences \
only. Leaderboards correct over their own columns, so their p values differ from these.

{splits}"""


def claims_page(
    boards: Mapping[str, Board], forms: Mapping[str, str], gains: Sequence[Gain], searched: Sequence[str], command: str
) -> str:
    """Write the page of the claims: each with its verdict and the numbers behind it.

    Args:
        boards: by name.
        forms: name of BD's row on each board, without the role.
        gains: from `all_gains`.
        searched: lines on the settings that each form had, from `evidence_forms.settings_table`.
        command: that makes the page.
    """
    told = _HOW_TO_READ.format(forms=_forms_of(forms), splits=_splits_of(boards))
    planned = [gain for gain in gains if gain.plan is not None]
    shown = [gain for gain in gains if gain.plan is None]
    lines = [
        "# The claims of Bidirectional Distillation",
        "",
        f"Made by `{command}` from `results/*/runs.jsonl`. Values are test {metrics_of(boards)}: {told}",
        "",
        *(line for note in _notes_of(boards) for line in (note, "")),
        "![Gains of BD](claims.png)",
        "",
        "## 1. On a large share of test interactions the student ranks the held-out item higher than the teacher",
        "",
        "*trained items*: without items that never occur in training, of which neither role has learned anything.",
        "",
        "| pair | before distillation | after BD | before, trained items | after BD, trained items |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [_wins_line(name, board, forms[name]) for name, board in boards.items()]
    sections = (
        (2, "Both roles end better than alone", CONTROLS, "Each control"),
        (3, "Each role is better than with other methods", (*RIVALS, "BD, to the student"), "Each other method"),
        (4, "Each part of the method contributes", tuple(PARTS), "Each other form"),
    )
    for claim, title, against, rest in sections:
        mine = [gain for gain in planned if gain.plan.claim == claim]
        others = [gain for gain in shown if gain.against in against and (claim != 3 or _is_taught(gain))]
        lines += ["", f"## {claim}. {title}", "", _verdict_of(mine), "", *_planned_table(mine)]
        lines += ["", f"{rest}, without a verdict:", "", *_shown_table(others)]
    lines += ["", _ON_PARTS, "", *(f"- *{name}*: {meaning}" for name, meaning in PARTS.items()), ""]
    lines += ["## How many settings each form had", "", *searched, ""]
    lines += [
        "## By the size of the student",
        "",
        "*size*: the student's parameters as a share of the teacher's. The last column is the student's value "
        "as a share of its teacher's.",
        "",
        "| pair | size | student separate | student BD | teacher BD | student / teacher |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    by_size = sorted(boards.items(), key=lambda one: _share(one[1]))
    lines += [_size_line(name, board, forms[name]) for name, board in by_size]
    return "\n".join([*lines, ""])


def _is_taught(gain: Gain) -> bool:
    """Whether the other method teaches the role."""
    return gain.role == "student" or gain.against in TWO_WAY


_ON_PARTS = (
    "What the parts are tested by: for the student, both directions against one stand under claim 3. BD's student "
    "does not draw items by rank discrepancy but from the head of its own list; the row *BD, discrepancy both ways* "
    "is the form that does. *BD, uniform* and *BD, top* change the items of both directions at once, so their "
    "teachers also have other students."
)


def _forms_of(forms: Mapping[str, str]) -> str:
    boards: dict[str, list[str]] = {}
    for board, form in forms.items():
        boards.setdefault(form, []).append(board)
    if len(boards) == 1:
        return f"*{next(iter(boards))}*"
    return "; ".join(f"*{form}* on {', '.join(names)}" for form, names in boards.items())


def _splits_of(boards: Mapping[str, Board]) -> str:
    """State what a seed decides, by data set."""
    fixed = {}
    for board in boards.values():
        runs = [run for row in board.rows for run in row.runs.values()]
        splits = {(run.result["seed"], run.result["data"]["fingerprint"]) for run in runs}
        fixed[board.dataset] = len({split for _, split in splits}) == 1
    same, other = ([name for name, is_fixed in fixed.items() if is_fixed is kind] for kind in (True, False))
    told = []
    if same:
        told.append(f"All seeds of {' and '.join(same)} have one split, so ± is over training alone.")
    if other:
        told.append(f"A seed of {' and '.join(other)} also decides the split, so ± is over splits and training.")
    return " ".join(told)


def _notes_of(boards: Mapping[str, Board]) -> list[str]:
    """Notes on records of schema 1, each once, with the names of its boards unless it is on all."""
    notes: dict[str, list[str]] = {}
    for name, board in boards.items():
        if note := note_on_schemas(board.rows):
            notes.setdefault(note, []).append(name)
    return [note if len(names) == len(boards) else f"{', '.join(names)}: {note}" for note, names in notes.items()]


def metrics_of(boards: Mapping[str, Board]) -> str:
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


def _size_line(name: str, board: Board, form: str) -> str:
    rows = rows_of(board)
    cells = [
        rows[one].cells[board.valid_metric] if one in rows else None
        for one in ("student, separate", f"student, {form}", f"teacher, {form}")
    ]
    _, student, teacher = cells
    reached = f"{student.mean / teacher.mean:.0%}" if student and teacher else ""
    values = ["" if cell is None else number(cell) for cell in cells]
    return f"| {name} | {_share(board):.0%} | {' | '.join(values)} | {reached} |"


def _wins_line(name: str, board: Board, form: str) -> str:
    cells = []
    row = rows_of(board).get(f"student, {form}")
    for key, arm in itertools.product(("student_wins", "student_wins_trained"), ("separate", "distilled")):
        shares = [run.result[key][arm] for run in row.runs.values() if key in run.result] if row else []
        spread = f" ± {statistics.stdev(shares):.1%}" if len(shares) > 1 else ""
        cells.append(f"{statistics.fmean(shares):.1%}{spread}" if shares else "not recorded")
    return f"| {name} | {' | '.join(cells)} |"


def _verdict_of(planned: Sequence[Gain]) -> str:
    """State whether a claim holds, and how often BD is better, worse, or not shown to differ, by role."""
    verdicts = {gain.verdict for gain in planned}
    if not verdicts:
        return "Nothing has been compared yet."
    said = ["**Holds.**" if verdicts == {BETTER} else "**Holds in part.**" if BETTER in verdicts else "**Not shown.**"]
    for role in ROLES:
        mine = [gain for gain in planned if gain.role == role]
        if mine:
            counts = Counter(sorted((gain.verdict for gain in mine), key=_order_of_verdicts))
            told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
            number_of = f"{len(mine)} planned comparison{'s' * (len(mine) > 1)}"
            said.append(f"The {role} in {number_of}: {told}.")
    return " ".join(said)


def _order_of_verdicts(verdict: str) -> int:
    """Place of a verdict: of methods first, then of the two models of one seed."""
    known = (BETTER, NO_DIFFERENCE, WORSE)
    return known.index(verdict) if verdict in known else len(known)


def _planned_table(planned: Sequence[Gain]) -> list[str]:
    lines = [
        "| pair | role | row | against | strongest of | its value | the row's | gain | difference | 95 % interval "
        "| d | seeds | p users | p users, seeds | verdict |",
        "|---|---|---|---|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---|",
    ]
    for gain in planned:
        stood = ", ".join(gain.stood) if len(gain.plan.against) > 1 else ""
        about = [gain.board, gain.role, gain.name, gain.against, stood, *_numbers(gain)]
        lines.append(f"| {' | '.join([*about, _p(gain.p), _p(gain.crossed_p), gain.verdict])} |")
    return lines


def _shown_table(gains: Sequence[Gain]) -> list[str]:
    lines = [
        "| pair | role | against | its value | BD | gain | difference | 95 % interval | d | seeds |",
        "|---|---|---|---:|---:|---:|---:|---|---:|---:|",
    ]
    return lines + [f"| {' | '.join([gain.board, gain.role, gain.against, *_numbers(gain)])} |" for gain in gains]


def _numbers(gain: Gain) -> list[str]:
    """Cells of both values, their difference, its interval, effect size, and the seeds ahead."""
    test = gain.test
    metric = gain.row.first.result["valid_metric"]
    values = [number(row.cells[metric]) for row in (gain.other, gain.row)]
    interval = "" if test.low is None else f"{test.low:+.4f} to {test.high:+.4f}"
    d = "" if test.effect_size is None else f"{test.effect_size:+.3f}"
    ahead = f"{test.ahead} of {test.seeds}"
    return [*values, f"{gain.relative:+.1%}", f"{test.difference:+.4f}", interval, d, ahead]


def _p(p: float | None) -> str:
    return "" if p is None else "< .0001" if p < 1e-4 else f"{p:.4f}"


def claims_picture(gains: Sequence[Gain]) -> bytes:
    """Draw BD's gains over controls and one-way methods, with 95 % intervals over users and seeds; return a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    verdicts = {(gain.board, gain.role, gain.name, gain.against): gain.verdict for gain in gains if gain.plan}
    panels: dict[str, list[tuple[Gain, str]]] = {}
    for gain in gains:
        if gain.plan is None and gain.against not in PARTS:
            said = verdicts.get((gain.board, gain.role, gain.name, gain.against), NO_DIFFERENCE)
            panels.setdefault(gain.board, []).append((gain, said))
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
    figure.supxlabel(
        "gain of BD in % (95 % interval over users and seeds; filled: planned, better or worse)", fontsize=10
    )
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})
    return stream.getvalue()


def _panel(axis: "Axes", name: str, mine: Sequence[tuple[Gain, str]]) -> None:
    for place, (gain, said) in enumerate(mine):
        low, high = (100 * end / gain.test.mean_a for end in (gain.test.low or 0.0, gain.test.high or 0.0))
        middle = 100 * gain.relative
        colour, marker = ROLE_MARKS[gain.role]
        axis.errorbar(
            middle, place, xerr=[[middle - low], [high - middle]], marker=marker, color=colour, capsize=3,
            markerfacecolor=colour if said != NO_DIFFERENCE else "white",
        )  # fmt: skip
    axis.axvline(0, color="0.4", linewidth=0.8)
    axis.set_title(name, fontsize=10)
    axis.set_yticks(range(len(mine)), [f"{gain.role} vs {gain.against}" for gain, _ in mine])
    axis.set_ylim(len(mine) - 0.3, -0.7)
    axis.grid(axis="x", color="0.88", linewidth=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def dataset_page(
    title: str, boards: Mapping[str, Board], trials: Mapping[str, Sequence[Mapping[str, str]]], command: str
) -> str:
    """Write the tables of one data set, pair by pair, with changes of the selecting metric.

    Args:
        title: name of the data set.
        boards: its boards by name.
        trials: rows of each board's trials.csv.
        command: that makes the page.
    """
    lines = [f"# {title}", "", f"Made by `{command}` from `results/*/runs.jsonl`.", ""]
    lines += [line for note in _notes_of(boards) for line in (note, "")]
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
        if any(row["arm"] in SEARCHED for row in trials.get(name, ())):
            lines += ["", f"![Validation over lambda]({name}/lambda.png)", "", _LAMBDA]
        lines += ["", _MORE.format(name=name), ""]
    return "\n".join(lines)


def headline(board: Board, form: str) -> str:
    """Write the README's table of one board: both roles alone and with each method, by the selecting metric.

    Args:
        board: a leaderboard.
        form: name of BD's row, without the role.
    """
    rows = rows_of(board)
    names = ["separate", "continued", "continued alone", "placebo", *RIVALS, "BD (paper)", "BD (paper), searched"]
    names += ["BD, to the student", form]
    lines = [f"| test {board.valid_metric.upper()} | teacher | student |", "|---|---:|---:|"]
    for name in names:
        cells = [rows.get(row_named(role, name, form)) for role in ROLES]
        if not any(cells):
            continue
        values = ["" if row is None else number(row.cells[board.valid_metric]) for row in cells]
        lines.append(f"| {name} | {' | '.join(values)} |")
    sizes = [f"{rows[f'{role}, separate'].parameters:,}" for role in ROLES]
    lines.append(f"| parameters | {' | '.join(sizes)} |")
    return "\n".join([*lines, ""])


_MORE = (
    "[Settings](./{name}/settings), every [trial](./{name}/trials.csv), [tests and commands](./{name}/leaderboard.md)."
)
_LAMBDA = (
    "Validation of the published form over its weight lambda. Each point is a trial of the search at the first seed; "
    "its other settings differ."
)
_COUNTED = (
    "Parameters are those that gradients train. Models with 1 parameter, RecBole's placeholder, are computed from "
    "counts instead: *ItemKNN* and *EASE* store items x items weights."
)


def _change(row: Row, other: Row | None, metric: str) -> str:
    if other is None or other is row:
        return ""
    return f"{row.cells[metric].mean / other.cells[metric].mean - 1:+.1%}"
