"""Time and memory of a refresh, or of a whole run, as users and items grow, on synthetic data (no file needed).

    python benchmarks/scale.py [--sizes=5000x25000,10000x25000,...] [--ranks=sampled] [--threads=1] [--json=FILE]
    python benchmarks/scale.py --whole-run=29858x40981x1027370 [--threads=1] [--json=FILE]

A whole run is `recbole-bd run` with BPR 64 / BPR 8 and one epoch in every stage, evaluation, pictures and records
included, on that many users, items and interactions; items are drawn by Zipf's law. CPU time and peak memory are those
of its process, and of its parts, see `run_parts.py`.

Each size of a refresh runs in its own process, which gives its peak memory. Teacher and student are inner products of
64 and 8 dimensions. Every user has 20 training items, and the refresh draws the items of ten epochs of one sample per
positive.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.sampler import RANKINGS, DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems

DIRECTIONS = {"student": Direction(shape="tanh", eps=1e-2), "teacher": Direction(shape="exp", eps=1e-4)}
WIDTHS = {"teacher": 64, "student": 8}
PER_USER, PERIOD = 20, 10


def scores(users: torch.Tensor, items: torch.Tensor) -> Callable[..., torch.Tensor]:
    """Logits of all items, of some items, or of separate items for each user, from two embedding tables."""

    def of(wanted: torch.Tensor, some: torch.Tensor | None = None) -> torch.Tensor:
        if some is not None and some.dim() == 2:
            return (items[some] * users[wanted].unsqueeze(1)).sum(dim=-1)
        return users[wanted] @ (items if some is None else items[some]).T

    return of


def measure(n_users: int, n_items: int, threads: int, ranks: str, device: str) -> dict:
    """Measure one refresh of the given size: seconds, and the peak memory of this process or of the GPU."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    users = torch.arange(1, n_users + 1).repeat_interleave(PER_USER)
    items = torch.randint(1, n_items + 1, (len(users),), generator=generator)
    seen = SeenItems(users, items, n_users + 1, n_items + 1)
    tables = {
        role: [torch.randn(count + 1, width, generator=generator).to(device) for count in (n_users, n_items)]
        for role, width in WIDTHS.items()
    }
    sampler = DistillationSampler(seen, DIRECTIONS, (seen.counts * PERIOD).clamp(min=1), ranks, device=device)
    on_gpu = device != "cpu"
    if ranks == "sampled" or on_gpu:  # the first refresh knows no best items yet, or prepares the GPU
        sampler.refresh({role: scores(*tables[role]) for role in WIDTHS})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    start = time.perf_counter()
    sampler.refresh({role: scores(*tables[role]) for role in WIDTHS})
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return {
        "users": n_users,
        "items": n_items,
        "seconds": seconds,
        "ns_per_pair": seconds / n_users / n_items * 1e9,
        "mb_before": before,
        "peak_mb": torch.cuda.max_memory_allocated() / 2**20
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }


def write_interactions(folder: Path, n_users: int, n_items: int, count: int) -> None:
    """Write a data set `synthetic`: distinct pairs, items by Zipf's law, every user and every item at least once."""
    generator = np.random.default_rng(0)
    popularity = 1 / np.arange(1, n_items + 1)
    drawn = generator.choice(n_items, size=2 * count, p=popularity / popularity.sum())
    users = np.concatenate(
        [np.arange(n_users), np.arange(n_items) % n_users, generator.integers(n_users, size=2 * count)]
    )
    items = np.concatenate([np.arange(n_users) % n_items, np.arange(n_items), drawn])
    _, first = np.unique(users * n_items + items, return_index=True)
    kept = np.sort(first)[:count]
    rows = pd.DataFrame(
        {"user_id:token": users[kept], "item_id:token": items[kept], "timestamp:float": np.arange(len(kept))}
    )
    (folder / "synthetic").mkdir()
    rows.to_csv(folder / "synthetic" / "synthetic.inter", sep="\t", index=False)


def whole_run(size: str, threads: int) -> dict:
    """Measure one run with one epoch in every stage: seconds by stage, and the peak memory of its process."""
    n_users, n_items, count = map(int, size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_interactions(folder, n_users, n_items, count)
        settings = {
            "dataset": "synthetic", "data_path": folder, "checkpoint_dir": folder / "saved", "epochs": 1,
            "distill_epochs": 1,
            "teacher.embedding_size": 64, "student.embedding_size": 8, "threads": threads, "show_progress": False,
            "device": "cpu",
        }  # fmt: skip
        options = [f"--{key}={value}" for key, value in settings.items()]
        command = [sys.executable, str(Path(__file__).with_name("run_parts.py")), str(folder / "parts.json"), "run"]
        start = time.perf_counter()
        subprocess.run([*command, *options], check=True, capture_output=True)
        seconds = time.perf_counter() - start
        timing = json.loads(next(folder.glob("saved/*/result.json")).read_text())["timing"]
        parts = json.loads((folder / "parts.json").read_text())
    return {"users": n_users, "items": n_items, "interactions": count, "seconds": seconds, **parts, "timing": timing}


def print_run(size: str, row: dict) -> None:
    """Print the total of a whole run, and a table of its parts."""
    print(f"{size}: {row['seconds']:.0f} s, {row['cpu_s']:.0f} s of CPU time, peak {row['peak_mb']:.0f} MB")
    print(f"{'part':<20}{'calls':>7}{'CPU s':>8}{'MB at peak':>12}")
    for name, part in row["parts"].items():
        print(f"{name:<20}{part['calls']:>7.0f}{part['cpu_s']:>8.1f}{part['peak_mb']:>12.0f}")
    rest = row["cpu_s"] - sum(part["cpu_s"] for part in row["parts"].values())
    print(f"{'start and the rest':<20}{'':>7}{rest:>8.1f}")


def main() -> None:
    """Measure every size in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="5000x25000,10000x25000,20000x25000,5000x50000,5000x100000,100000x100000")
    parser.add_argument("--ranks", default="binned", choices=RANKINGS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda to measure the GPU's memory")
    parser.add_argument("--json", help="file for the result")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--whole-run", metavar="UxIxN", help="measure a run on so many users, items and interactions")
    known = parser.parse_args()
    if known.whole_run:
        row = whole_run(known.whole_run, known.threads)
        print_run(known.whole_run, row)
        if known.json:
            Path(known.json).write_text(json.dumps(row, indent=2) + "\n")
        return
    if known.one:
        print(json.dumps(measure(*map(int, known.one.split("x")), known.threads, known.ranks, known.device)))
        return
    print(f"{'users':>8}{'items':>9}{'seconds':>10}{'ns / pair':>11}{'MB before':>11}{'MB at peak':>12}")
    rows = []
    for size in known.sizes.split(","):
        options = [f"--{name}={getattr(known, name)}" for name in ("threads", "ranks", "device")]
        command = [sys.executable, __file__, f"--one={size}", *options]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(row)
        print(
            f"{row['users']:>8}{row['items']:>9}{row['seconds']:>10.2f}{row['ns_per_pair']:>11.1f}"
            f"{row['mb_before']:>11.0f}{row['peak_mb']:>12.0f}",
            flush=True,
        )
    if known.json:
        Path(known.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
