"""Memory and CPU time of loading data for a sequential model, here and by RecBole's own code; Linux.

    python benchmarks/loading.py --dataset=beauty --data_path=DIR
    python benchmarks/loading.py --size=6040x3706x1000209

`--size` is a number of users, items and interactions of synthetic data with times. Loading reads the file, splits it
(the last two items of each user are for validation and test) and makes the three loaders, up to the first batch. Each
side runs in its own process, alternately; memory is its peak less what was there before, when all is imported.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import recbole_bd  # noqa: F401 - as in a command, before NumPy

# isort: split
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from scale import write_interactions

from recbole_bd.config.config import BDConfig
from recbole_bd.data.batches import train_loader
from recbole_bd.data.split import load_split
from recbole_bd.model import METHODS

SIDES = ("recbole", "here")
PROTOCOL = {
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "TIME_FIELD": "timestamp",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
    "MAX_ITEM_LIST_LENGTH": 50,
    "train_batch_size": 256,
    "show_progress": False,
    "device": "cpu",
}


def load_here(settings: dict) -> list:
    """Everything that a run keeps of the data."""
    pair = {"teacher_model": "SASRec", "student_model": "SASRec"}
    config = BDConfig(command_line=settings | pair, methods=METHODS)
    split = load_split(config)
    loader = train_loader(config.role("teacher"), split)
    return [split, loader, next(iter(loader))]


def load_by_recbole(settings: dict) -> list:
    """The same by RecBole, from the same settings."""
    config = Config(model="SASRec", dataset=settings["dataset"], config_dict=settings | {"train_neg_sample_args": None})
    loaders = data_preparation(config, create_dataset(config))
    return [loaders, next(iter(loaders[0]))]


def status(key: str) -> float:
    """A size of this process in MiB: VmRSS for now, VmHWM for the largest so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 2**10


def measure(side: str, settings: dict) -> dict[str, float]:
    """Load in this process."""
    before, start = status("VmRSS"), time.process_time()
    kept = {"here": load_here, "recbole": load_by_recbole}[side](settings)
    seconds = time.process_time() - start
    result = {"cpu_s": seconds, "peak_mb": status("VmHWM") - before, "kept_mb": status("VmRSS") - before}
    del kept
    return result


def in_processes(settings: dict, repeats: int) -> dict[str, dict[str, float]]:
    """Medians by side."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side in SIDES:
            command = [sys.executable, __file__, f"--side={side}", f"--settings={json.dumps(settings)}"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    return {side: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for side, rows in found.items()}


def main() -> None:
    """Read the command line, measure both sides, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="beauty")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--size", metavar="UxIxN", help="users, items and interactions of synthetic data")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    known = parser.parse_args()
    if known.side:
        print(json.dumps(measure(known.side, json.loads(known.settings))))
        return
    with tempfile.TemporaryDirectory() as folder:
        chosen = {"dataset": known.dataset, "data_path": str(Path(known.data_path).resolve())}
        if known.size:
            write_interactions(Path(folder), *map(int, known.size.split("x")))
            chosen = {"dataset": "synthetic", "data_path": folder}
        found = in_processes(PROTOCOL | chosen, known.repeats)
    print(f"{'':<10}{'CPU s':>8}{'peak MB':>10}{'kept MB':>10}")
    for side, row in found.items():
        print(f"{side:<10}{row['cpu_s']:>8.1f}{row['peak_mb']:>10.0f}{row['kept_mb']:>10.0f}")
    ratios = [found["here"][key] / found["recbole"][key] for key in ("cpu_s", "peak_mb", "kept_mb")]
    print(f"{'ratio':<10}{ratios[0]:>8.2f}{ratios[1]:>10.2f}{ratios[2]:>10.2f}")


if __name__ == "__main__":
    main()
