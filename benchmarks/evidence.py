"""Searches settings on validation, runs every arm with several seeds, and writes the pages of results/.

    python benchmarks/evidence.py tune BOARD [ARM ...] --data_path=DIR [--jobs=2] [--trials=N]
    python benchmarks/evidence.py run BOARD [ARM ...] --data_path=DIR [--jobs=2]
    python benchmarks/evidence.py check [BOARD ...]
    python benchmarks/evidence.py pages

Boards and their arms are in evidence.yaml, search spaces in properties/tuning/. Every ended trial is a line of
results/BOARD/trials.csv; the same command continues from there. An arm's best settings are written to
results/BOARD/settings/ARM.yaml, for `recbole-bd run --config_files=`. `run` trains every arm with these settings and
every seed. It adds the runs to results/BOARD/runs.jsonl, for `recbole-bd leaderboard --from=`, and repeats none that is
in it. `check` says beyond which of the best values no trial went and which stages were best in their last epoch, and
exits with 1 if there are any. `pages` writes the pages of all boards.
"""

import argparse
import csv
import functools
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

try:
    import optuna
except ModuleNotFoundError as error:
    sys.exit(f"error: {error}; install it by pip install '.[tune]'")
from evidence_check import at_edges, at_the_end
from evidence_claims import all_gains
from evidence_forms import settings_table
from evidence_lambda import lambda_picture
from evidence_methods import students_table
from evidence_pages import claims_page, claims_picture, dataset_page, headline
from records import label_and_seed, recorded

from recbole_bd.config.config import BDConfig
from recbole_bd.config.property_files import options_of_run
from recbole_bd.config.yaml_text import load_yaml, to_yaml
from recbole_bd.errors import BDError, ConfigError, TrainingError
from recbole_bd.leaderboard.command import entry_of, write_outputs
from recbole_bd.leaderboard.run_reader import Run, runs_jsonl
from recbole_bd.leaderboard.schedule import Entry, run_entries
from recbole_bd.leaderboard.tables import build
from recbole_bd.model import METHODS
from recbole_bd.runs.hashes import run_hashes
from recbole_bd.runs.records import SCHEMA
from recbole_bd.system.atomic_write import write_whole
from recbole_bd.system.child_processes import environment_of
from recbole_bd.system.locks import exclusively
from recbole_bd.tuning.space import draw_settings, is_range, read_space, three_digits
from recbole_bd.tuning.study import judge_of
from recbole_bd.tuning.trial import FAILED, PRUNED, STOPPED, run_trial

HERE = Path(__file__).parent
ROOT = HERE.parent
COLUMNS = (
    "arm", "trial", "seed", "objective", "teacher", "student", "model", "seconds", "settings", "error",
    "curve", "pruned", "schema",
)  # fmt: skip
SEPARATE = ("teacher", "student")
# Tables of one board outside results/: the board, and the pages.
TABLES = {
    "headline": ("citeulike-bpr", ("README.md", "README.zh-CN.md")),
    "two-strong": ("citeulike-mf-same", ("docs/methods/bd.md",)),
    "two-families": ("citeulike-bpr-cdae", ("docs/methods/bd.md",)),
}
# Number of an arm's best trials that are run with two more seeds: with one seed alone, luck decides among them.
FINALISTS = 3
# From this epoch on, a trial ends if its best value so far is below the median of the arm's other trials at that epoch.
PRUNED_FROM = 20
# Settings of every trial and run: one core each, and few checkpoints, whose cost exceeds that of a new start.
OF_A_TRIAL = {"threads": 1, "checkpoint_every": 1000, "show_progress": False, "controls": []}


@dataclass(frozen=True)
class Arm:
    """Settings that are searched and run under one name.

    Attributes:
        board, name: e.g. `citeulike-bpr`, `BD`.
        fixed: settings of every trial.
        space: from `read_space`, ranges and fixed settings; empty if nothing is searched.
        objective: roles whose validation is maximised; for two roles the geometric mean.
        first: settings of the first trial; if empty, they are drawn at random.
    """

    board: str
    name: str
    fixed: dict[str, Any]
    space: dict[str, Any]
    objective: tuple[str, ...]
    first: dict[str, Any]

    @property
    def settings_file(self) -> Path:
        """File of its best settings."""
        return settings_file(self.board, self.name)


def settings_file(board: str, name: str) -> Path:
    """File of an arm's best settings: its own, or that of the arm it is run as."""
    chosen_as = read_plans()[board].get("arms", {}).get(name, {}).get("as", name)
    return ROOT / "results" / board / "settings" / f"{chosen_as}.yaml"


@functools.cache
def read_plans() -> dict[str, dict[str, Any]]:
    """Read the boards of evidence.yaml by name, each with its arms by name."""
    plans = load_yaml(HERE / "evidence.yaml")
    arms = plans["arms"]
    return {
        board: {
            **plan,
            "arms": {name: arms[name] for name in plan["arms"]},
            "titles": {name: arms[name].get("title", name) for name in plan["arms"]} | plan.get("titles", {}),
        }
        for board, plan in plans["boards"].items()
    }


def separate_file(board: str, role: str) -> Path:
    """File of the best settings of a role alone; a board may share those of another board, `BOARD` or `BOARD/ROLE`."""
    shared = read_plans()[board].get("separate", {}).get(role)
    if shared is None:
        return settings_file(board, role)
    other, _, other_role = shared.partition("/")
    return separate_file(other, other_role or role)


def chosen(path: Path) -> dict[str, Any]:
    """Read the settings that a search has written; the error otherwise names the search to run first."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: run `tune {path.parent.parent.name} {path.stem!r}` first")
    return load_yaml(path)


def unsearched(plan: dict[str, Any], method: str | None) -> dict[str, Any]:
    """Return the method's own values of the options that the data set's file sets.

    The values in that file were found by these boards' searches, and arms must not change with them. A board may set
    other values (`unsearched`).
    """
    found = load_yaml(ROOT / "properties" / "dataset" / f"{plan['settings']['dataset']}.yaml").get(method) or {}
    own = load_yaml(ROOT / "properties" / "model" / f"{method}.yaml") if found else {}
    values = {key: own[key] for key in found if key in own}
    values |= {f"{role}.{key}": None for role in SEPARATE for key in found.get(role, {})}
    return {**values, **plan.get("unsearched", {}).get(method, {})}


def read_arm(board: str, name: str) -> Arm:
    """Read an arm of evidence.yaml; arms that teach use the separate models' best settings."""
    plan = read_plans()[board]
    arm = plan["arms"][name]
    if "as" in arm:
        other = plan["arms"][arm["as"]]
        arm = {**other, **arm, "settings": {**other["settings"], **arm["settings"]}}
    settings = {**plan["settings"], **arm.get("settings", {}), **plan.get("settings_of", {}).get(name, {})}
    shipped = load_yaml(ROOT / "properties" / "model" / arm["file"]) if "file" in arm else {}
    fixed = {"device": "cpu", **unsearched(plan, settings.get("model")), **shipped, **settings}
    if "like" in arm:
        other = read_arm(board, arm["like"])
        fixed = {**other.fixed, **chosen(other.settings_file), **arm["settings"]}
    if name in SEPARATE:
        fixed |= {"model": fixed[f"{name}_model"], **plan["sizes"][name]}
    if fixed["model"] not in METHODS:
        for role in SEPARATE:
            fixed.pop(f"{role}_model", None)
    else:
        for role in SEPARATE:
            searched = {} if "alone" in plan else chosen(separate_file(board, role))
            best = {**plan["sizes"][role], **searched}
            fixed |= {f"{role}.{key}": value for key, value in best.items()}
    space_file = plan.get("spaces", {}).get(name) or arm.get("space")
    space = read_space(ROOT / "properties" / "tuning" / space_file) if space_file else {}
    fixed |= {key: value for key, value in space.items() if not is_range(value)}
    objective = tuple(arm.get("objective", ["student"] if fixed["model"] in METHODS else ["model"]))
    first = plan.get("firsts", {}).get(name, arm.get("first", {}))
    if "first" in plan and (path := settings_file(plan["first"], name)).is_file():
        best = load_yaml(path)
        if best.keys() == space.keys():
            first = {key: value for key, value in best.items() if is_range(space[key])}
    return Arm(board, name, fixed, space, objective, first)


def trial_row(
    arm: Arm,
    number: int,
    seed: int,
    drawn: dict[str, Any],
    given: dict[str, Any],
    log: Path,
    trial: optuna.Trial | None = None,
) -> dict[str, Any]:
    """Run one trial in its own process and return its row; Optuna's trial may end it early."""
    settings = {"label": arm.name, **arm.fixed, **drawn, **OF_A_TRIAL, **given, "seed": seed}
    metric = str(BDConfig(command_line={**arm.fixed, **given}, methods=METHODS)["valid_metric"]).lower()

    judge = None if trial is None else judge_of(trial)
    outcome = run_trial(settings, arm.objective, metric, log, judge=judge)
    if outcome.state == STOPPED:
        raise KeyboardInterrupt
    row = {"arm": arm.name, "trial": number, "seed": seed, "settings": json.dumps(drawn, sort_keys=True)}
    row |= {"curve": json.dumps(outcome.curve), "seconds": round(outcome.seconds), "schema": SCHEMA}
    if outcome.state == FAILED:
        return {**row, "error": outcome.error}
    if outcome.state == PRUNED:
        row["pruned"] = max(outcome.curve)
    return {**row, **outcome.values, "objective": outcome.objective}


def tune(arm: Arm, trials: int, jobs: int, given: dict[str, Any]) -> None:
    """Search until the arm has `trials` trials; run the best three with two more seeds; write the best settings.

    Trials of two roles that an earlier schema measured do not count.

    An arm without anything to search has one trial. The best settings are those with the best mean over the seeds.
    Separate models, which all other arms use, are chosen by one seed, as is every arm of a board without finalists.
    """
    plan = read_plans()[arm.board]
    first, *more = plan["seeds"][:FINALISTS]
    if arm.name in SEPARATE or not plan.get("finalists", True):
        more = []
    path = ROOT / "results" / arm.board / "trials.csv"
    rows = [row for row in read_rows(path) if row["arm"] == arm.name and is_comparable(arm, row)]
    tried = [row for row in rows if int(row["seed"]) == first]
    trials = trials if arm.space else 1
    study = new_study(arm, tried, trials, plan.get("pruned_from", PRUNED_FROM))
    logs = Path(tempfile.mkdtemp(prefix="evidence-"))
    pool = ThreadPoolExecutor(jobs)

    def start(number: int, seed: int, drawn: dict[str, Any], trial: optuna.Trial | None = None) -> Future:
        return pool.submit(trial_row, arm, number, seed, drawn, given, logs / f"{number}-{seed}.log", trial)

    def note(future: Future) -> dict[str, Any]:
        row = future.result()
        append_row(path, row)
        outcome = row.get("objective", row.get("error"))
        print(f"{arm.board} {arm.name} {row['trial']}, seed {row['seed']}: {outcome} {row['settings']}", flush=True)
        return row

    with pool:
        running: dict[Future, optuna.Trial] = {}
        number = 1 + max((int(row["trial"]) for row in tried), default=-1)
        while len(tried) < trials or running:
            while len(tried) + len(running) < trials and len(running) < jobs:
                trial = study.ask()
                running[start(number, first, draw_settings(arm.space, trial), trial)] = trial
                number += 1
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                trial, row = running.pop(future), note(future)
                state = _state(row)
                ended = state is optuna.trial.TrialState.COMPLETE
                study.tell(trial, row["objective"] if ended else None, state=state)  # pruned: its last report
                tried.append(row)
        done = {(int(row["trial"]), int(row["seed"])) for row in rows}
        again = [
            start(int(row["trial"]), seed, json.loads(row["settings"]))
            for row in finalists(tried)
            for seed in (more if arm.space else ())
            if (int(row["trial"]), seed) not in done
        ]
        rows = [*(row for row in rows if int(row["seed"]) != first), *tried, *map(note, again)]
    write_best(arm, rows, tried)


def is_comparable(arm: Arm, row: dict[str, Any]) -> bool:
    """Whether a trial measured as today's would: by this schema, or a model alone, which all measure alike."""
    return arm.fixed.get("model") not in METHODS or int(row.get("schema") or 1) == SCHEMA


def finalists(tried: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the best trials of one seed, the best first."""
    ended = [row for row in tried if row.get("objective") and not row.get("pruned")]
    return sorted(ended, key=lambda row: -float(row["objective"]))[:FINALISTS]


def write_best(arm: Arm, rows: list[dict[str, Any]], tried: list[dict[str, Any]]) -> None:
    """Write the settings of the finalist with the best mean over its seeds.

    Args:
        arm: the arm.
        rows: all of its trials.
        tried: its trials with the first seed.

    Raises:
        TrainingError: none of them has ended.
    """
    scores: dict[str, list[float]] = {}
    for finalist in finalists(tried):
        of_seeds = [row.get("objective") for row in rows if int(row["trial"]) == int(finalist["trial"])]
        if all(of_seeds):
            scores[finalist["settings"]] = [float(score) for score in of_seeds]
    if not scores:
        errors = [row["error"] for row in tried if row.get("error")]
        raise TrainingError(f"{arm.board}: no trial of {arm.name} has ended; {(errors or ['all were cut short'])[-1]}")
    most = max(len(of_seeds) for of_seeds in scores.values())  # a finalist that lacks a seed is not compared
    scores = {settings: of_seeds for settings, of_seeds in scores.items() if len(of_seeds) == most}
    best = max(scores, key=lambda settings: statistics.fmean(scores[settings]))
    mean = statistics.fmean(scores[best])
    about = (
        f"# {arm.board}, {arm.name}: the best by validation, {mean:.6f} over {len(scores[best])} seed(s), of the best "
        f"{len(scores)} of {len(tried)} settings tried with one seed; numbers have three digits.\n"
    )
    whole = defaults_of(arm) | json.loads(best)
    settings = {k: three_digits(whole[k]) if isinstance(whole[k], float) else whole[k] for k in sorted(whole)}
    write_whole(arm.settings_file, about + to_yaml(settings))


def run(board: str, arms: list[str], jobs: int, given: dict[str, Any]) -> None:
    """Run every arm and seed that results/BOARD/runs.jsonl lacks, seed by seed, and add the runs to it.

    It drops runs of these arms if their settings are no longer the chosen ones, and runs of an earlier schema that it
    repeats. Another `run` may add to the file at the same time.
    """
    path = ROOT / "results" / board / "runs.jsonl"
    runs_folder = Path(given["checkpoint_dir"])
    for seed in read_plans()[board]["seeds"]:
        known = {one.result["config_hash"] for one in recorded(path)}
        missing = [entry for entry in entries(board, arms, [seed], given) if entry.record["config_hash"] not in known]
        found = run_entries(missing, runs_folder, runs_folder / "logs", jobs, environment_of(1))
        if failed := [one.result["error"] for one in found if one.result["status"] != "finished"]:
            raise SystemExit(f"{len(failed)} runs failed: {failed[0]}")
        with exclusively(path.with_suffix(".lock"), f"records of {board}"):
            current, again = chosen_now(board, given), {label_and_seed(one) for one in found}
            arms_run = {label for label, _ in again}
            kept = [
                one
                for one in recorded(path)
                if one.result["label"] not in arms_run
                or (one.result["config_hash"] in current and label_and_seed(one) not in again)
            ]
            write_whole(path, runs_jsonl([*kept, *found]))


def chosen_now(board: str, given: dict[str, Any]) -> set[str]:
    """Hashes of the runs that the board's tables need, by the settings found so far, in every schema."""
    plan = read_plans()[board]
    arms = [name for name, arm in plan["arms"].items() if not arm.get("space") or settings_file(board, name).is_file()]
    configs = configs_of(board, arms, plan["seeds"], given)
    return {run_hashes(config, schema)["config"] for config in configs for schema in range(1, SCHEMA + 1)}


def entries(board: str, arms: list[str], seeds: list[int], given: dict[str, Any]) -> list[Entry]:
    """Runs of some arms and seeds with the chosen settings."""
    return [entry_of(config) for config in configs_of(board, arms, seeds, given)]


def configs_of(board: str, arms: list[str], seeds: list[int], given: dict[str, Any]) -> list[BDConfig]:
    """Settings of the runs of some arms and seeds; the separate models are part of the other arms' runs."""
    taught = [name for name in arms if name not in SEPARATE]
    return [_config_of(read_arm(board, name), seed, given) for name in taught for seed in seeds]


def pages(out: Path) -> None:
    """Write the pages of results/ and the tables of README and docs/, from the records of all boards.

    Arms that lack a seed of their board are left out.

    Args:
        out: the folder: results/, or another one to compare with it. README and docs/ are beside it.
    """
    boards, forms, trials = {}, {}, {}
    for name, plan in read_plans().items():
        path = ROOT / "results" / name / "runs.jsonl"
        if runs := whole_arms(recorded(path), plan["seeds"]):
            runs = titled(runs, plan["titles"])
            write_outputs(runs, out / name, kinds=("md", "csv", "tex", "png"))  # the others are made from runs.jsonl
            boards[name] = build(runs)
            forms |= {name: plan["titles"]["BD"]} if "BD" in plan["arms"] else {}
            trials[name] = read_rows(path.with_name("trials.csv"))
            if picture := lambda_picture(trials[name]):
                write_whole(out / name / "lambda.png", picture)
    command = "python benchmarks/evidence.py pages"
    for dataset in dict.fromkeys(board.dataset for board in boards.values()):
        mine = {name: board for name, board in boards.items() if board.dataset == dataset}
        write_whole(out / f"{dataset}.md", dataset_page(dataset, mine, trials, command))
    pairs = {name: boards[name] for name in forms}
    gains = all_gains(pairs, forms)
    searched = settings_table(read_plans(), {name: trials[name] for name in forms})
    write_whole(out / "claims.md", claims_page(pairs, forms, gains, searched, command))
    write_whole(out / "claims.png", claims_picture(gains))
    for table, (board, paths) in TABLES.items():
        if board in boards:
            for page in paths:
                fill(out.parent / page, table, headline(boards[board], forms[board]))
    fill(out.parent / "docs" / "methods" / "index.md", "students", students_table(pairs, forms))


def check(boards: list[str]) -> int:
    """Print what may end elsewhere with a wider space or more epochs, board by board.

    Returns:
        1 if there is any, else 0.
    """
    found = 0
    for board in boards:
        path = ROOT / "results" / board / "runs.jsonl"
        lines = list(at_the_end(whole_arms(recorded(path), read_plans()[board]["seeds"])))
        for name in read_plans()[board]["arms"]:
            arm = read_arm(board, name)
            if arm.space and arm.settings_file.is_file():
                options = options_of_run(arm.fixed["model"] if arm.fixed["model"] in METHODS else None)
                rows = [row for row in read_rows(path.with_name("trials.csv")) if row["arm"] == name]
                tried = [defaults_of(arm) | json.loads(row["settings"]) for row in rows]
                found_at = at_edges(arm.space, chosen(arm.settings_file), tried, options)
                lines += [(name, line) for line in found_at]
        for line in sorted(f"{board}, {name}: {line}" for name, line in lines):
            print(line)
        found += len(lines)
    return int(found > 0)


def fill(page: Path, name: str, text: str) -> None:
    """Replace what a page has between `<!-- name -->` and `<!-- /name -->`; nothing where there is no page.

    Raises:
        ValueError: a page without these two marks.
    """
    if page.is_file():
        head, start, rest = page.read_text().partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition(f"<!-- /{name} -->")
        if not end:
            raise ValueError(f"{page}: there are no lines <!-- {name} --> and <!-- /{name} --> to fill; add them")
        write_whole(page, head + start + text + end + tail)


def titled(runs: list[Run], titles: dict[str, str]) -> list[Run]:
    """Name the runs of each arm by the arm's title."""
    return [
        replace(one, result={**one.result, "label": titles.get(one.result["label"], one.result["label"])})
        for one in runs
    ]


def whole_arms(runs: list[Run], seeds: list[int]) -> list[Run]:
    """Select the runs of the arms that have been run with every seed."""
    run_with: dict[str, set[int]] = defaultdict(set)
    for one in runs:
        run_with[one.result["label"]].add(one.result["seed"])
    return [one for one in runs if run_with[one.result["label"]] >= set(seeds)]


def _config_of(arm: Arm, seed: int, given: dict[str, Any]) -> BDConfig:
    best = chosen(arm.settings_file) if arm.space else {}
    settings = {"label": arm.name, **OF_A_TRIAL}
    return BDConfig(command_line={**settings, **arm.fixed, **best, **given, "seed": seed}, methods=METHODS)


def _state(row: dict[str, Any]) -> optuna.trial.TrialState:
    if not row.get("objective"):
        return optuna.trial.TrialState.FAIL
    return optuna.trial.TrialState.PRUNED if row.get("pruned") else optuna.trial.TrialState.COMPLETE


def defaults_of(arm: Arm) -> dict[str, Any]:
    """Defaults of the searched options of this package: what a trial had of an option that joined the space later."""
    options = options_of_run(arm.fixed["model"] if arm.fixed.get("model") in METHODS else None)
    return {key: options[key].default for key in arm.space if key in options}


def new_study(arm: Arm, rows: list[dict[str, Any]], trials: int, pruned_from: int = PRUNED_FROM) -> optuna.Study:
    """Create a study with the earlier trials. An option that joined the space later counts as its default in them.

    Args:
        arm: the arm.
        rows: its earlier trials.
        trials: number of trials in all; the first third, five at most, are never pruned.
        pruned_from: epoch before which none is pruned.
    """
    sampler = optuna.samplers.TPESampler(seed=2020 + len(rows), n_startup_trials=8, constant_liar=True)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=min(5, trials // 3), n_warmup_steps=pruned_from)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    defaults = defaults_of(arm)
    every = [defaults | json.loads(row["settings"]) for row in rows]
    whole = [drawn for drawn, row in zip(every, rows, strict=True) if not row["pruned"]]
    if arm.first and not any((defaults | arm.first).items() <= drawn.items() for drawn in whole):
        study.enqueue_trial(defaults | arm.first)
    for row, drawn in zip(rows, every, strict=True):
        fixed = optuna.trial.FixedTrial({key: drawn[key] for key in arm.space if key in drawn})
        draw_settings(arm.space, fixed)
        if row["objective"]:
            study.add_trial(
                optuna.trial.create_trial(
                    params=fixed.params,
                    distributions=fixed.distributions,
                    value=float(row["objective"]),
                    state=_state(row),
                    intermediate_values={int(epoch): best for epoch, best in json.loads(row["curve"] or "{}").items()},
                )
            )
    return study


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a trials.csv; none if the file does not exist."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a trials.csv; one without today's columns is written anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = read_rows(path)
    is_new = not before or before[0].keys() != set(COLUMNS)
    with path.open("w" if is_new else "a", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
            writer.writerows({"schema": 1, **one} for one in before)
        writer.writerow(row)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tune", "run", "check", "pages"])
    parser.add_argument("board", nargs="?")
    parser.add_argument("arms", nargs="*")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--checkpoint_dir", default="saved")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--trials", type=int, help="settings tried for each arm (default: the number of the board)")
    known = parser.parse_intermixed_args()
    if known.what == "pages":
        pages(ROOT / "results")
        return 0
    boards = [known.board]
    if known.what == "check":
        boards = [known.board, *known.arms] if known.board else [*read_plans()]
    if unknown := [name for name in boards if name not in read_plans()]:
        parser.error(f"unknown board {unknown[0]!r}: must be one of {', '.join(read_plans())}")
    if known.what == "check":
        return check(boards)
    plan = read_plans()[known.board]
    if unknown := [name for name in known.arms if name not in plan["arms"]]:
        parser.error(f"{known.board} has no arm {unknown[0]!r}, only {', '.join(map(repr, plan['arms']))}")
    dataset = plan["settings"]["dataset"]
    where = BDConfig(command_line={"dataset": dataset, "data_path": known.data_path}, methods=METHODS)["data_path"]
    if not (folder := Path(where)).is_dir():  # RecBole has ml-100k in a folder of its own
        parser.error(f"{folder} does not exist: name the folder above {dataset}/ with --data_path=DIR")
    try:
        search_or_run(known, plan)
    except BDError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def search_or_run(known: argparse.Namespace, plan: dict[str, Any]) -> None:
    """Search or run the arms that were named, or else all of the board's own."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given = {"data_path": known.data_path, "checkpoint_dir": known.checkpoint_dir}
    arms = known.arms or [name for name in plan["arms"] if name not in plan.get("separate", {})]
    if known.what == "run":
        run(known.board, arms, known.jobs, given)
        return
    for name in arms:
        if "as" in plan["arms"][name]:
            continue
        trials = known.trials or plan.get("trials_of", {}).get(name, plan["trials"])
        tune(read_arm(known.board, name), trials, known.jobs, given)


if __name__ == "__main__":
    sys.exit(main())
