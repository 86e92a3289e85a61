"""Runs the published form with its published values, and compares it with the numbers that its authors printed.

    python benchmarks/reproduction.py run citeulike-bpr-notebook --data_path=DIR [--seeds=2020,2021,2022]
    python benchmarks/reproduction.py page

`run` takes files of properties/reproduce/ by name. One run has the separate models, both trained on without
distillation and with a placebo, and distilled. It keeps its record in results/reproduction/NAME.jsonl, repeats none
that is in it, and a stopped run resumes. `page` writes results/reproduction.md from the records alone.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from records import add_missing, recorded

from recbole_bd.backbones.names import CONTINUED, DISTILLED, PAIR, PLACEBO, SEPARATE
from recbole_bd.config.config import BDConfig
from recbole_bd.errors import BDError
from recbole_bd.leaderboard.command import entry_of
from recbole_bd.leaderboard.run_reader import Run
from recbole_bd.model import METHODS
from recbole_bd.system.atomic_write import write_whole

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "results" / "reproduction"
FILES = ("citeulike-bpr-notebook", "citeulike-bpr-paper", "citeulike-cdae-notebook", "citeulike-cdae-paper")
CUTS = {"H@50": 50, "H@100": 100, "H@200": 200, "N@50": 50, "N@100": 100}
# Printed in the public notebooks, one run each: before and after distillation.
PRINTED = {
    "bpr": {
        "teacher": {"H@50": (0.1152, 0.1429), "H@100": (0.1774, 0.2219), "H@200": (0.2684, 0.3232),
                    "N@50": (0.0286, 0.0412), "N@100": (0.0386, 0.0540)},
        "student": {"H@50": (0.0680, 0.0849), "H@100": (0.1106, 0.1257), "H@200": (0.1757, 0.1997),
                    "N@50": (0.0159, 0.0223), "N@100": (0.0228, 0.0289)},
    },
    "cdae": {
        "teacher": {"H@50": (0.1797, 0.1939), "H@100": (0.2409, 0.2575), "H@200": (0.3131, 0.3259),
                    "N@50": (0.0497, 0.0557), "N@100": (0.0596, 0.0661)},
        "student": {"H@50": (0.0805, 0.1010), "H@100": (0.1290, 0.1560), "H@200": (0.1859, 0.2284),
                    "N@50": (0.0238, 0.0300), "N@100": (0.0316, 0.0389)},
    },
}  # fmt: skip
ARMS = {SEPARATE: "separate", CONTINUED: "continued", PLACEBO: "placebo", DISTILLED: "BD"}
_ABOUT = """\
Made by `python benchmarks/reproduction.py page` from `results/reproduction/*.jsonl`. *printed*: in the public notebooks
of the paper (github.com/WonbinKweon/BD_WWW2021), one run each, before and after distillation. All other columns are
runs of `properties/reproduce/*.yaml` with this package, test, mean ± standard deviation over seeds. *separate* is the
warm-up, from which all others start. *continued* is the same stage without distillation: it also changes weight decay
to 0 and starts a new optimizer. *placebo* is BD with the target 1/2 for every item in the place of the other role's.

The metrics are the notebooks', which are off by one. The best rank is 1, a hit needs a rank below the cut-off, and the
gain of a rank is

    1 / log2(rank + 2)

So H@50 is Hit@49 elsewhere. They are computed from each user's NDCG@200. The last two lines have the usual metrics.

The split is that of the notebooks. The first values and the order of batches differ from theirs. The CDAE notebook
reads its warmed-up models from files, which are not public; here they are trained with the values of its warm-up cells.
Each arm is in its best state by validation, where the notebooks print test values as they train; validation items are
left out of the test ranking. Targets have no dropout, and a CDAE draws dropout anew for what it learns from the other.
Items drawn twice for a CDAE count twice. Training items are never drawn, where the notebooks give them the score 0.
Files named *notebook* have the notebooks' reversed rank order, their distilled negatives (BPR), and negatives that
spare validation and test items, which is a leak. Files named *paper* have the paper's order and no leak; nothing was
printed for them."""


@dataclass(frozen=True)
class _Compact(Run):
    """A run whose record keeps, of all values per user, NDCG@200, which gives the rank of the test item."""

    def per_user(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        users, values = super().per_user()
        return users, {name: array for name, array in values.items() if name.endswith("/ndcg@200")}


def ranks_of(ndcg: np.ndarray) -> np.ndarray:
    """Ranks of the one test item of each user, 1 is best.

    Args:
        ndcg: float64 [users], NDCG@200 of each user.

    Returns:
        float64 [users]; infinite where the item is not among the first 200.
    """
    found = ndcg > 0
    return np.where(found, np.round(2 ** (1 / np.where(found, ndcg, 1.0)) - 1), np.inf)


def notebook_metrics(ranks: np.ndarray) -> dict[str, float]:
    """The notebooks' metrics, and Hit@50 and NDCG@50 as usual, of ranks from 1."""
    found = {}
    for name, cut in CUTS.items():
        hits = ranks < cut
        found[name] = float(np.mean(hits if name.startswith("H") else hits / np.log2(ranks + 2)))
    hits = ranks <= 50
    return {**found, "Hit@50": float(hits.mean()), "NDCG@50": float(np.mean(hits / np.log2(ranks + 1)))}


def values_of(runs: Sequence[Run], role: str) -> dict[str, dict[str, list[float]]]:
    """Metrics of a role by arm and name, a value for each run; arms that no run has are absent."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        values = run.per_user()[1]
        for arm in ARMS:
            if (ndcg := values.get(f"{role}/{arm}/ndcg@200")) is not None:
                for name, value in notebook_metrics(ranks_of(ndcg)).items():
                    found.setdefault(arm, {}).setdefault(name, []).append(value)
    return found


def page(records: Mapping[str, Sequence[Run]]) -> str:
    """Write the page.

    Args:
        records: runs by name of their file in properties/reproduce/.
    """
    lines = ["# The published form with its published values", "", _ABOUT, ""]
    for name, runs in records.items():
        lines += [f"## {name}", ""]
        if not runs:
            lines += [f"Not run yet: `python benchmarks/reproduction.py run {name} --data_path=DIR`", ""]
            continue
        minutes = statistics.fmean(run.result["timing"]["total_s"] for run in runs) / 60
        seeds = ", ".join(str(run.result["seed"]) for run in runs)
        file = f"properties/reproduce/{name}.yaml"
        lines += [
            f"    python run_bd.py --data_path=DIR --config_files={file}",
            "",
            f"Seeds {seeds}; {minutes:.0f} minutes each on average, without warm-ups that were kept.",
            "",
        ]
        for role in PAIR:
            lines += [*_table(name, runs, role), ""]
        lines += [*(_sentence(name, runs, role) for role in PAIR), ""]
    return "\n".join(lines)


def _printed(name: str, role: str) -> dict[str, tuple[float, float]]:
    """Printed numbers of a file; none for the paper's form, which was not printed."""
    return PRINTED[name.split("-")[1]][role] if name.endswith("notebook") else {}


def _table(name: str, runs: Sequence[Run], role: str) -> list[str]:
    values, printed = values_of(runs, role), _printed(name, role)
    arms = [arm for arm in ARMS if arm in values]
    lines = [
        f"| {role} | printed | {' | '.join(ARMS[arm] for arm in arms)} |",
        f"|---|---:|{'---:|' * len(arms)}",
    ]
    for metric in values[DISTILLED]:
        shown = "{:.4f} → {:.4f}".format(*printed[metric]) if metric in printed else ""
        lines.append(f"| {metric} | {shown} | {' | '.join(_mean(values[arm][metric]) for arm in arms)} |")
    return lines


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


def _sentence(name: str, runs: Sequence[Run], role: str) -> str:
    """Say what of the gain in H@50 is distillation: what BD has beyond the strongest control."""
    values = {arm: found["H@50"] for arm, found in values_of(runs, role).items()}
    start = statistics.fmean(values[SEPARATE])
    printed = _printed(name, role)
    told = f"printed {printed['H@50'][1] / printed['H@50'][0] - 1:+.0%}, " if printed else ""
    gains = {arm: statistics.fmean(found) / start - 1 for arm, found in values.items() if arm != SEPARATE}
    controls = [arm for arm in (CONTINUED, PLACEBO) if arm in gains]
    parts = [f"{ARMS[arm]} {gains[arm]:+.0%}" for arm in (DISTILLED, *controls)]
    if not controls:
        return f"- {role}, gain in H@50: {told}here {', '.join(parts)}."
    best = max(controls, key=gains.__getitem__)
    beyond = [mine - other for mine, other in zip(values[DISTILLED], values[best], strict=True)]
    share = f" ({statistics.fmean(beyond) / start:+.0%} of separate)"
    return (
        f"- {role}, gain in H@50: {told}here {', '.join(parts)}; so {_mean(beyond)}{share} is what distillation adds "
        f"to *{ARMS[best]}*."
    )


def run(name: str, seeds: Sequence[int], given: Mapping[str, Any]) -> None:
    """Run a file with every seed that its records lack, one after the other, and keep the records."""
    file, records = ROOT / "properties" / "reproduce" / f"{name}.yaml", RECORDS / f"{name}.jsonl"
    own = {"label": name, "device": "cpu", "threads": 1, "checkpoint_every": 20, "show_progress": False, **given}
    configs = [BDConfig(config_file_list=[file], command_line={**own, "seed": seed}, methods=METHODS) for seed in seeds]
    folder = Path(given["checkpoint_dir"])
    add_missing(records, [*map(entry_of, configs)], folder, kept_as=lambda run: _Compact(run.folder, run.result))


def all_recorded() -> dict[str, list[Run]]:
    """Read the records of every file; an empty list where nothing has been run."""
    return {name: recorded(RECORDS / f"{name}.jsonl") for name in FILES}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "page"])
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"one of {', '.join(FILES)}")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--checkpoint_dir", default="saved")
    parser.add_argument("--seeds", default="2020,2021,2022")
    known = parser.parse_intermixed_args()
    if unknown := [name for name in known.files if name not in FILES]:
        parser.error(f"unknown file {unknown[0]!r}: must be one of {', '.join(FILES)}")
    if known.what == "page":
        write_whole(RECORDS.with_suffix(".md"), page(all_recorded()))
        return 0
    if not known.files:
        parser.error(f"name a file to run: {', '.join(FILES)}")
    try:
        for name in known.files:
            given = {"data_path": known.data_path, "checkpoint_dir": known.checkpoint_dir}
            run(name, [int(seed) for seed in known.seeds.split(",")], given)
    except BDError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
