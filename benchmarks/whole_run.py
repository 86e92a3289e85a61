"""Seconds of a whole run, and of RecBole's for as many epochs of both models apart, each a process of its own.

    python benchmarks/whole_run.py --dataset=ml-100k [--repeats=3] [--key=value ...]

The run is `recbole-bd run` with these settings: warm-ups (none is kept), distillation, controls, tests, pictures, and
records. RecBole's side is one process per model: its unmodified Trainer, loaders, sampler and evaluation train it
for as many epochs as the run trains this role in all stages, validate as often, and test once. Both start from nothing.
The ratio is

    run / (RecBole's teacher + RecBole's student)

of medians. Runs and RecBole's processes take turns.
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import recbole_bd  # noqa: F401  as in a command, before NumPy: see `avoid_slow_sorts`

# isort: split
import torch
from epoch_cost import host_loader, host_trainer
from recbole.data.utils import create_samplers, get_dataloader

from recbole_bd.backbones.names import PAIR
from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.config.config import BDConfig
from recbole_bd.data.split import load_split
from recbole_bd.model import METHODS

_QUIET = {"show_progress": False, "device": "cpu"}


def epochs_of(metrics: Path) -> Counter[str]:
    """Epochs that a run trained each role for, in all its stages, from its `metrics.csv`: last validations."""
    with metrics.open(newline="") as file:
        last = {(row["stage"], row["role"]): int(row["epoch"]) for row in csv.DictReader(file)}
    epochs: Counter[str] = Counter()
    for (_, role), epoch in last.items():
        epochs[role] += epoch + 1  # a stage's start is epoch -1
    return epochs


def train_by_recbole(config: BDConfig, role: str, epochs: int) -> None:
    """Train one role's model by RecBole for some epochs, and test it."""
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    host, split = config.role(role), load_split(config)
    host["epochs"], host["stopping_step"] = epochs, epochs + 1  # to the end
    sampler = create_samplers(host, split.dataset, [split.train, split.valid, split.test])
    parts = zip(("valid", "test"), (split.valid, split.test), sampler[1:], strict=True)
    valid, test = (get_dataloader(host, part)(host, rows, own, shuffle=False) for part, rows, own in parts)
    with tempfile.TemporaryDirectory() as folder:
        trainer = host_trainer(host, split, folder)
        trainer.fit(host_loader(host, split), valid, saved=True, show_progress=False)
        trainer.evaluate(test, load_best_model=False)  # torch 2.6 and later refuse the file of RecBole's best model


def timed(command: list[str]) -> float:
    """Seconds of a command; raises CalledProcessError with its output if it fails."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return time.perf_counter() - start


def measure(words: list[str], repeats: int) -> dict[str, Any]:
    """Time the run and RecBole's processes, `repeats` times in turn.

    Args:
        words: settings of the run, as on its command line.
        repeats: number of turns.

    Returns:
        `epochs` of each role, and medians of seconds: `run`, `teacher`, `student`.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ("run", *PAIR)}
    epochs: Counter[str] = Counter()
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            own = [f"--checkpoint_dir={folder}", "--warmup_cache=False", "--show_progress=False", "--device=cpu"]
            seconds["run"].append(timed([sys.executable, "-m", "recbole_bd", "run", *words, *own]))
            epochs = epochs_of(next(Path(folder).glob("*/metrics.csv")))
        for role in PAIR:
            command = [sys.executable, __file__, *words, f"--recbole={role}", f"--recbole-epochs={epochs[role]}"]
            seconds[role].append(timed(command))
    return {"epochs": dict(epochs), **{name: statistics.median(values) for name, values in seconds.items()}}


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="turns, of which medians are taken; default 3")
    parser.add_argument("--recbole", choices=PAIR, help=argparse.SUPPRESS)
    parser.add_argument("--recbole-epochs", type=int, help=argparse.SUPPRESS)
    known, words = parser.parse_known_args()
    if known.recbole:
        settings, files, _ = parse_arguments(words)
        config = BDConfig(config_file_list=files, command_line={**settings, **_QUIET}, methods=METHODS)
        train_by_recbole(config, known.recbole, known.recbole_epochs)
        return
    try:
        found = measure(words, known.repeats)
    except subprocess.CalledProcessError as error:
        *_, last = error.stdout.decode().strip().splitlines() or ["it said nothing"]
        sys.exit(f"{' '.join(error.cmd)} failed: {last}")
    for role in PAIR:
        print(f"RecBole, {role}: {found['epochs'][role]} epochs, {found[role]:.1f} s")
    print(f"the whole run: {found['run']:.1f} s")
    print(f"ratio: {found['run'] / sum(found[role] for role in PAIR):.2f}")


if __name__ == "__main__":
    main()
