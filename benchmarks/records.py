"""Records of runs in one file: reads them, runs what the file lacks, and adds it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from recbole_bd.errors import TrainingError
from recbole_bd.leaderboard.run_reader import Run, read_runs, runs_jsonl
from recbole_bd.leaderboard.schedule import Entry, run_entries
from recbole_bd.system.atomic_write import write_whole
from recbole_bd.system.child_processes import environment_of
from recbole_bd.system.locks import exclusively


def recorded(path: Path) -> list[Run]:
    """Read the runs of a runs.jsonl; none if the file does not exist."""
    return read_runs(path) if path.is_file() else []


def add_missing(
    path: Path, entries: Sequence[Entry], folder: Path, jobs: int = 1, kept_as: Callable[[Run], Run] = lambda run: run
) -> None:
    """Run the entries that a file of records lacks, with one thread each, and add each as soon as it has ended.

    Another process may add to the file at the same time. A run replaces the one with its label and seed.

    Args:
        path: a runs.jsonl; made with its folder if absent.
        entries: the runs that the file should have.
        folder: where run folders and logs are written; a stopped run there is resumed.
        jobs: runs at a time.
        kept_as: the form in which a run is kept.

    Raises:
        TrainingError: a run failed.
    """
    known = {run.result["config_hash"] for run in recorded(path)}
    missing = [entry for entry in entries if entry.record["config_hash"] not in known]
    for start in range(0, len(missing), jobs):
        found = run_entries(missing[start : start + jobs], folder, folder / "logs", jobs, environment_of(1))
        for run in found:
            if run.result["status"] != "finished":
                raise TrainingError(f"{run.result['label']}, seed {run.result['seed']}: {run.result['error']}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusively(path.with_suffix(".lock"), f"records {path.name}"):
            again = {label_and_seed(run) for run in found}
            kept = [run for run in recorded(path) if label_and_seed(run) not in again]
            runs = sorted([*kept, *map(kept_as, found)], key=lambda run: run.result["seed"])
            write_whole(path, runs_jsonl(runs))


def label_and_seed(run: Run) -> tuple[str, int]:
    """What a run is replaced by: a newer one of the same label and seed."""
    return run.result["label"], run.result["seed"]
