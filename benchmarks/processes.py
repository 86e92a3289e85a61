"""Time of an epoch and of a refresh by the number of processes that train a run.

    python benchmarks/processes.py --dataset=citeulike --data_path=DIR [--processes=1,2] [--epochs=10] [--key=value ...]

Each number of processes trains the same run, with one thread per process. Both warm-ups come from the cache that a
first run fills. The table shows medians over distillation epochs and refreshes, and the last epoch's loss, which must
not depend on the number.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.runs.progress import Progress
from recbole_bd.runs.records import read_result
from recbole_bd.runs.text_table import grid
from recbole_bd.system.child_processes import environment_of


def measure(count: int, settings: dict, folder: str) -> dict:
    """Train one run with `count` processes."""
    given = {**settings, "nproc": count, "threads": 1, "checkpoint_dir": folder, "controls": []}
    words = [f"--{key}={value}" for key, value in given.items()]
    command = [sys.executable, "-m", "recbole_bd", "run", *words]
    done = subprocess.run(command, env=environment_of(1), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    run = Path(done.stdout.strip().splitlines()[-1].removeprefix("run folder: "))
    return {"timing": read_result(run)["timing"], "losses": Progress.load(run).journal["losses"]}


def main() -> None:
    """Measure every number of processes and print a table."""
    settings, _, _ = parse_arguments(sys.argv[1:])
    counts = [int(count) for count in str(settings.pop("processes", "1,2")).split(",")]
    epochs = settings.pop("epochs", 10)
    settings = {"show_progress": False, "checkpoint_every": 1000, **settings, "distill_epochs": epochs}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        measure(1, {**settings, "distill_epochs": 1}, folder)  # the warm-ups
        for count in counts:
            found = measure(count, settings, folder)
            timing = found["timing"]
            medians = [statistics.median(timing[name]) for name in ("distill_epoch_s", "refresh_s", "eval_s")]
            shown = [
                sum(value for name, value in row.items() if name in ("cf", "distill")) for row in found["losses"][-2:]
            ]
            rows.append([str(count), *(f"{value:.2f}" for value in medians), *(f"{loss:.6f}" for loss in shown)])
    print(grid(["processes", "epoch s", "refresh s", "evaluation s", "teacher loss", "student loss"], rows, left=()))


if __name__ == "__main__":
    main()
