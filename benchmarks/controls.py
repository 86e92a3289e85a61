"""Runs small tables of controls: other targets in the place of a role's, and small models without a teacher.

    python benchmarks/controls.py run [TABLE ...] --data_path=DIR [--jobs=1] [--seeds=2020,2021,2022]
    python benchmarks/controls.py page

Tables and their rows are in controls.yaml. `run` adds each row and seed that results/controls/TABLE.jsonl lacks, seed
by seed, and a stopped run resumes. `page` writes results/controls.md from the records alone.
"""

import argparse
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from records import add_missing, label_and_seed, recorded

from recbole_bd.backbones.names import CONTINUED, DISTILLED, PLACEBO, SEPARATE
from recbole_bd.config.config import BDConfig
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import BDError
from recbole_bd.leaderboard.command import entry_of
from recbole_bd.model import METHODS
from recbole_bd.system.atomic_write import write_whole

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "results" / "controls"
PLAN = load_yaml(Path(__file__).with_suffix(".yaml"))
OF_A_RUN = {"device": "cpu", "threads": 1, "checkpoint_every": 20, "show_progress": False}
# Arms of the first row that have no target.
UNTAUGHT = {SEPARATE: "*separate*", CONTINUED: "*continued*, no target", PLACEBO: "*placebo*"}
_ABOUT = """\
Made by `python benchmarks/controls.py page` from `results/controls/*.jsonl`. Each row is a run with options of the
product alone (`benchmarks/controls.yaml`). *separate* is the model that was trained alone, from which the others start,
and *continued* the same model trained on without a target. Mean ± standard deviation over the seeds {seeds}. The epoch
is chosen by validation, and the test part is read once."""


def config_of(table: str, row: str, seed: int, given: Mapping[str, Any] = {}) -> BDConfig:
    """Settings of one run of a row."""
    plan = PLAN["tables"][table]
    settings = {"label": row, **OF_A_RUN, **plan["settings"], **plan["rows"][row], **given, "seed": seed}
    return BDConfig(command_line=settings, methods=METHODS)


def run(table: str, seeds: Sequence[int], jobs: int, given: Mapping[str, Any]) -> None:
    """Run what the records of a table lack."""
    folder = Path(given["checkpoint_dir"])
    configs = [config_of(table, row, seed, given) for seed in seeds for row in PLAN["tables"][table]["rows"]]
    add_missing(records_of(table), [*map(entry_of, configs)], folder, jobs)


def records_of(table: str) -> Path:
    """File of the records of a table."""
    return RECORDS / f"{table}.jsonl"


def page() -> str:
    """Write the page from the records; rows that lack a seed are left out."""
    lines = ["# What is gained without the other's knowledge", "", _ABOUT.format(seeds=_listed(PLAN["seeds"])), ""]
    for name, plan in PLAN["tables"].items():
        lines += [f"## {plan['title']}", "", plan["about"], ""]
        cells = cells_of(name)
        if not cells:
            lines += [f"Not run yet: `python benchmarks/controls.py run {name} --data_path=DIR`", ""]
            continue
        first = plan["metrics"][0]
        lines += [f"| {_subject(plan['role'])} | validation {first} | {' | '.join(plan['metrics'])} | best epochs |"]
        lines += [f"|---|---:|{'---:|' * len(plan['metrics'])}---|"]
        for row, arms in cells.items():
            tests = (_mean([arm["test"][metric] for arm in arms]) for metric in plan["metrics"])
            epochs = _listed([arm["best_epoch"] for arm in arms])
            lines.append(f"| {row} | {_mean([arm['valid'][first] for arm in arms])} | {' | '.join(tests)} | {epochs} |")
        lines += ["", "Options of each row beside the common ones:", ""]
        lines += [f"- {row}: {_options(plan['rows'][row])}" for row in plan["rows"] if plan["rows"][row]]
        lines += ["", f"Common: {_options(plan['settings'])}", ""]
    return "\n".join(lines)


def cells_of(table: str) -> dict[str, list[dict[str, Any]]]:
    """Arms of each row in the order of the seeds: `valid`, `test`, `best_epoch`; rows that lack a seed are absent."""
    plan, found = PLAN["tables"][table], {label_and_seed(run): run for run in recorded(records_of(table))}
    role, cells = plan["role"], {}
    for number, row in enumerate(plan["rows"]):
        runs = [found[row, seed].result[role] for seed in PLAN["seeds"] if (row, seed) in found]
        if len(runs) < len(PLAN["seeds"]):
            continue
        taught = SEPARATE if role == "model" else DISTILLED
        shown = {arm: title for arm, title in UNTAUGHT.items() if number == 0 and role != "model"}
        for arm, title in {**shown, taught: row}.items():
            if arm in runs[0]:
                cells[title] = [result[arm] for result in runs]
    return cells


def _subject(role: str) -> str:
    return "model" if role == "model" else f"target of the {role}"


def _options(settings: Mapping[str, Any]) -> str:
    return " ".join(f"`--{key}={shlex.quote(_text(value))}`" for key, value in settings.items())


def _text(value: Any) -> str:
    return str(value).replace("'", "").replace(" ", "") if isinstance(value, list | dict) else str(value)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "page"])
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"of {_listed(list(PLAN['tables']))}; all by default"
    )
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--checkpoint_dir", default="saved")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", default=_listed(PLAN["seeds"]))
    known = parser.parse_intermixed_args()
    if unknown := [name for name in known.tables if name not in PLAN["tables"]]:
        parser.error(f"unknown table {unknown[0]!r}: must be one of {_listed(list(PLAN['tables']))}")
    if known.what == "page":
        write_whole(RECORDS.with_suffix(".md"), page())
        return 0
    try:
        for table in known.tables or PLAN["tables"]:
            given = {"data_path": known.data_path, "checkpoint_dir": known.checkpoint_dir}
            run(table, [int(seed) for seed in known.seeds.split(",")], known.jobs, given)
    except BDError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
