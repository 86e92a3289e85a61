"""The rows and cells of a leaderboard, from run folders alone. Nothing here needs torch or RecBole."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recbole_bd.backbones.names import ARMS, BASELINE, CONTINUED, DISTILLED, PLACEBO, SEPARATE, STUDENT, TEACHER
from recbole_bd.config.option import WITHOUT_EFFECT
from recbole_bd.errors import LeaderboardError
from recbole_bd.evaluator.verdict import NO_DIFFERENCE, verdict
from recbole_bd.leaderboard.pairs import pair_notes
from recbole_bd.leaderboard.run_reader import Run, one_per_configuration

FULL, SMALL = "full", "student"
# The first schema of result.json in which the start of a stage is a candidate for its best epoch.
_STARTS_COUNT = 2
# Metrics of RecBole where lower is better.
_LESS_IS_BETTER = ("mae", "rmse", "logloss", "averagepopularity", "giniindex")


@dataclass
class Cell:
    """One metric of one row.

    Attributes:
        values: test value by seed, one at least.
        best: among the best of its column and size.
        difference: to the reference, a mean over users and over the seeds that both have; None where there is no test.
        p: Holm-adjusted p value of the paired t test over users; None where there is no test.
        crossed_p: Holm-adjusted p value with users and seeds crossed; None where there is no test or one seed.
        seeds: number of seeds that the tests use.
    """

    values: dict[int, float]
    best: bool = False
    difference: float | None = None
    p: float | None = None
    crossed_p: float | None = None
    seeds: int = 0

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values.values())

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds with n - 1 below; None with one seed."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def mark(self) -> str:
        """`*` where the methods differ by both tests, `†` where one seed's models do, else empty."""
        if verdict(self.difference, self.p, self.crossed_p, self.seeds) == NO_DIFFERENCE:
            return ""
        return "*" if self.seeds > 1 else "†"


@dataclass
class Row:
    """One line of the table: a baseline, or one arm of one role.

    Attributes:
        name: `BPR`, `student, separate`, `student, BD`, with a run's label for its method; settings in brackets where
            two rows would read the same.
        size: `full` (baselines and teachers) or `student`: rows of one size compete.
        role, arm: whose numbers of a run these are.
        runs: run by seed, one of those that share the numbers.
        errors: reason by seed, of seeds that failed.
        cells: by metric.
    """

    name: str
    size: str
    role: str
    arm: str
    runs: dict[int, Run] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def first(self) -> Run:
        """The run of the lowest seed.

        Raises:
            ValueError: every seed failed.
        """
        return self.runs[min(self.runs)]

    @property
    def model(self) -> str:
        """Name of the RecBole model; empty where every seed failed."""
        return self.first.result[self.role]["model"] if self.runs else ""

    @property
    def parameters(self) -> int | None:
        """Number of trainable numbers in that model; None where every seed failed."""
        return self.first.result[self.role]["parameters"] if self.runs else None

    @property
    def has_size(self) -> bool:
        """Whether the number of parameters is a size: early records have RecBole's 1 where nothing is trained."""
        return (self.parameters or 0) > 1

    @property
    def objective(self) -> str:
        """Loss that the row's models minimise; empty where its runs do not state it, or every seed failed."""
        stated = self.first.result.get("objective", {}) if self.runs else {}
        return stated.get(self.arm, {}).get(self.role, "")

    def entry(self, seed: int) -> dict[str, Any]:
        """The entry of this row in the run of a seed: `valid` and `test`, metrics by name, and `best_epoch`."""
        return self.runs[seed].result[self.role][self.arm]


@dataclass
class Board:
    """A leaderboard: what is the same for all rows, and the rows in order.

    Attributes:
        dataset: its name.
        valid_metric: the metric that selected, such as `ndcg@10`.
        metrics: the columns, in order.
        seeds: in ascending order.
        data: counts of users, items (without padding) and interactions; empty where no run came so far.
        settings: of the first run that finished, else of the first.
        rows: full-size models first; in each size separate, continued, placebo, then the others, each the best first;
            failures last.
        references: by size, the row that the others of it are compared with; absent where there is none.
        notes: what a reader must know, e.g. why a test is missing.
        varied: what of the data differs between seeds, beside the models: the split, the candidates, or nothing.
        own_less_is_better: the users' own metrics, without cut-off, of which less is better.
    """

    dataset: str
    valid_metric: str
    metrics: list[str]
    seeds: list[int]
    data: dict[str, Any]
    settings: dict[str, Any]
    rows: list[Row]
    references: dict[str, Row] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    varied: str = ""
    own_less_is_better: frozenset[str] = frozenset()

    def less_is_better(self, metric: str) -> bool:
        """Whether a metric, e.g. `ndcg@10`, is one where lower is better."""
        return metric.partition("@")[0] in {*_LESS_IS_BETTER, *self.own_less_is_better}


def build(runs: Iterable[Run]) -> Board:
    """Arrange runs into a leaderboard.

    Args:
        runs: runs of one data set and one evaluation protocol.

    Returns:
        The board without tests and best marks, which `verdicts.judge` adds.

    Raises:
        LeaderboardError: no run, or runs that do not belong in one table.
    """
    runs = sorted(one_per_configuration(runs), key=lambda run: (run.result["seed"], run.folder.name))
    finished = [run for run in runs if run.result["status"] == "finished"]
    if not runs:
        raise LeaderboardError("no run has ended: a leaderboard needs run folders with a result.json")
    _require_one_protocol(finished)
    about = (finished or runs)[0]
    rows = _rows(runs)
    metrics = list(_any_test(finished[0])) if finished else []
    note = note_on_schemas(rows)
    for row in rows:
        if row.runs:
            row.cells = {name: Cell({seed: row.entry(seed)["test"][name] for seed in row.runs}) for name in metrics}
    board = Board(
        dataset=about.result["dataset"],
        valid_metric=about.result.get("valid_metric", ""),
        metrics=metrics,
        seeds=sorted({run.result["seed"] for run in runs}),
        data=about.result.get("data", {}),
        settings=about.settings,
        rows=rows,
        notes=[*([note] if note else []), *pair_notes(finished)],
        varied=_varied(finished),
        own_less_is_better=frozenset(name for run in finished for name in run.result.get("less_is_better", ())),
    )
    board.rows.sort(key=lambda row: _order(row, board))
    return board


def _varied(runs: list[Run]) -> str:
    """Name the first property of the data that differs between runs of several seeds; empty if none does."""
    for name, key in (("split of the data", "fingerprint"), ("candidates of sampled evaluation", "candidates")):
        if len({str(run.result["data"].get(key)) for run in runs}) > 1:
            return name
    return ""


def note_on_schemas(rows: Sequence[Row]) -> str:
    """Say which rows have numbers of schema 1, which chose the best epoch otherwise; empty if none has."""
    of_stages = [row for row in rows if row.arm != SEPARATE and row.runs]
    old = [row for row in of_stages if any(run.result["schema"] < _STARTS_COUNT for run in row.runs.values())]
    if not old:
        return ""
    named = "all continued and taught rows" if old == of_stages else ", ".join(f"“{row.name}”" for row in old)
    return (
        f"Records of schema 1: {named}. The state that training went on from was no candidate for their best epoch, so "
        "that a row may be below its own start."
    )


def _any_test(run: Run) -> Mapping[str, float]:
    role = BASELINE if BASELINE in run.result else STUDENT
    return run.result[role][SEPARATE]["test"]


def _require_one_protocol(runs: list[Run]) -> None:
    """Refuse runs whose data, split or metrics differ."""
    seen: dict[tuple[str, Any], tuple[Any, Run]] = {}
    for run in runs:
        settings = run.settings
        facts = {
            ("data set", None): run.result["dataset"],
            ("data or split", run.result["seed"]): run.result["data"]["fingerprint"],
            ("candidates of sampled evaluation", run.result["seed"]): run.result["data"].get("candidates"),
            ("metrics", None): list(_any_test(run)),
            ("valid_metric", None): run.result["valid_metric"],
            ("eval_args", None): settings.get("eval_args"),
        }
        if settings.get("repeatable") is not None:  # a run without this setting fits any
            facts["repeatable", None] = settings["repeatable"]
        for column, value in run.result["data"].get("columns", {}).items():
            if column.startswith("inter."):  # such as labels, which are measured; models may read other features
                facts[column, run.result["seed"]] = value
        for key, value in facts.items():
            before, other = seen.setdefault(key, (value, run))
            if before != value:
                raise LeaderboardError(
                    f"{other.folder.name} and {run.folder.name} differ in {key[0]}, so they do not fit into one table. "
                    "Choose with --dataset, --models or --seeds, or use separate folders"
                )


def _rows(runs: list[Run]) -> list[Row]:
    """One row per baseline and per distilled model. Methods share the rows of the same controls."""
    rows: dict[tuple, Row] = {}

    def row(key: tuple, name: str, size: str, role: str, arm: str) -> Row:
        return rows.setdefault(key, Row(name, size, role, arm))

    for run in runs:
        result, seed = run.result, run.result["seed"]
        method, learners = result.get("label", result["method"]), result["learners"]
        if not learners:
            mine = [(BASELINE, SEPARATE)]
        else:
            mine = [(role, arm) for role in (TEACHER, STUDENT) for arm in ARMS]
            mine = [(role, arm) for role, arm in mine if arm == SEPARATE or role in learners]
        for role, arm in mine:
            size = SMALL if role == STUDENT else FULL
            own = not learners or arm == DISTILLED
            key = (role, arm, _hash_of(role, arm, result))
            title = method if not learners else f"{role}, {_title(arm, method)}"
            if result["status"] == "failed":
                if role in (BASELINE, STUDENT) and own:
                    row(key, title, size, role, arm).errors[seed] = result.get("error") or "unknown reason"
            elif result[role].get(arm):
                row(key, title, size, role, arm).runs.setdefault(seed, run)
    found = _without_repeats(rows.values())
    _distinguish(found)
    return found


def _hash_of(role: str, arm: str, result: Mapping[str, Any]) -> str:
    """The hash that runs share whose numbers in an arm are the same but for the seed."""
    hashes = result["hashes"]
    if result["learners"] and arm in (SEPARATE, CONTINUED):
        return hashes[role] if arm == SEPARATE else hashes["control"]
    return hashes["settings"]


def _title(arm: str, method: str) -> str:
    """Name of an arm in a table: a placebo belongs to one method."""
    return {DISTILLED: method, PLACEBO: f"{method}, {PLACEBO}"}.get(arm, arm)


def _without_repeats(rows: Iterable[Row]) -> list[Row]:
    """Merge continued controls of methods with different learners if their numbers are the same."""
    kept: list[Row] = []
    for row in rows:
        alike = [other for other in kept if other.arm == CONTINUED and (other.name, other.arm) == (row.name, row.arm)]
        for other in alike:
            common = other.runs.keys() & row.runs.keys()
            if common and all(other.entry(seed)["test"] == row.entry(seed)["test"] for seed in common):
                other.runs = {**row.runs, **other.runs}
                break
        else:
            kept.append(row)
    return kept


def _distinguish(rows: list[Row]) -> None:
    """Append the differing settings to the names of rows that share a name."""
    names: dict[str, list[Row]] = {}
    for row in rows:
        names.setdefault(row.name, []).append(row)
    for alike in names.values():
        if len(alike) == 1:
            continue
        learning = [tuple(row.first.result["learners"]) if row.runs else () for row in alike]
        is_one_schema = len({row.first.result["schema"] for row in alike if row.runs}) == 1
        if alike[0].arm == CONTINUED and len(set(learning)) == len(alike) and is_one_schema:
            for row, learners in zip(alike, learning, strict=True):
                row.name += " (with the other role)" if len(learners) > 1 else " (alone)"
            continue
        settings = [_relevant(row) for row in alike]
        keys = sorted({key for one in settings for key in one if len({repr(other.get(key)) for other in settings}) > 1})
        for number, (row, one) in enumerate(zip(alike, settings, strict=True), start=1):
            shown = ", ".join(f"{key}={one.get(key)}" for key in keys[:3]) + (", ..." if len(keys) > 3 else "")
            row.name += f" ({shown or number})"
        for number, row in enumerate(alike, start=1):
            if sum(other.name == row.name for other in alike) > 1:
                row.name += f" [{number}]"


def _relevant(row: Row) -> dict[str, Any]:
    """Settings that affect this row, with role blocks dotted, and the schema where it matters."""
    settings = row.first.settings if row.runs else {}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
    if row.arm == SEPARATE and row.role != BASELINE:
        flat = {key: value for key, value in flat.items() if key.startswith(f"{row.role}.")}
        flat[f"{row.role}_model"] = row.model
    elif row.runs:
        flat["schema"] = row.first.result["schema"]
    return {key: value for key, value in flat.items() if key.rpartition(".")[2] not in WITHOUT_EFFECT and key != "seed"}


def _order(row: Row, board: Board) -> tuple:
    """Full size first; in each size separate, continued and placebo, then by value, the best first; failures last."""
    shared = ARMS.index(row.arm) if row.role != BASELINE else len(ARMS) - 1
    value = row.cells[board.valid_metric].mean if row.runs else 0.0
    signed = value if board.less_is_better(board.valid_metric) else -value
    return row.size != FULL, not row.runs, shared, signed, row.name
