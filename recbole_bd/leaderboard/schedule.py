"""Runs the entries of a leaderboard in child processes: finished runs are reused and failures are recorded."""

import json
import logging
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_bd.backbones.names import BASELINE, DISTILLED, SEPARATE, STUDENT
from recbole_bd.errors import Interrupted, LeaderboardError
from recbole_bd.leaderboard.run_reader import Run, one_per_configuration, runs_below
from recbole_bd.system.atomic_write import write_whole
from recbole_bd.system.child_processes import last_line
from recbole_bd.system.own_classes import short_name
from recbole_bd.system.process_pool import Child, ProcessPool
from recbole_bd.system.signals import stoppable

logger = logging.getLogger(__name__)

# Seconds a process may take to stop after SIGTERM.
_GRACE = 10.0
# Tolerance in seconds for a file system whose clock is behind.
_CLOCK = 1.0


@dataclass(frozen=True)
class Entry:
    """One run of a leaderboard.

    Attributes:
        record: part of its `result.json` known before it runs: `method`, `dataset`, `seed`, `config_hash`, ...
        command: the program and its arguments.
    """

    record: dict[str, Any]
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its row in tables, and its seed."""
        return f"{self.record.get('label', self.record['method'])} seed {self.record['seed']}"


def done(entries: Sequence[Entry], runs_folder: Path) -> dict[str, Run]:
    """Finished runs of the entries, by hash of their configuration."""
    wanted = {entry.record["config_hash"] for entry in entries}
    found = {run.result["config_hash"]: run for run in one_per_configuration(runs_below(runs_folder))}
    return {key: run for key, run in found.items() if key in wanted and run.result["status"] == "finished"}


def run_entries(
    entries: Sequence[Entry], runs_folder: Path, logs: Path, jobs: int, environment: dict[str, str] | None = None
) -> list[Run]:
    """Run the entries that have no finished run, `jobs` at a time.

    Args:
        entries: runs in the order in which to start them.
        runs_folder: folder in which runs are found and created.
        logs: folder that receives the output of each process.
        jobs: how many processes at a time.
        environment: environment of the processes; None is that of this process.

    Returns:
        The run of each entry, finished or failed, in the order of the entries; a reused run gets
        the entry's label.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the processes have been stopped; finished runs stay.
        LeaderboardError: a process cannot be started.
    """
    finished = done(entries, runs_folder)
    waiting = [entry for entry in entries if entry.record["config_hash"] not in finished]
    ended: dict[str, Run] = dict(finished)
    progress = _Progress(entries, finished, jobs)
    entry_of: dict[Child, Entry] = {}
    # The loop checks for signals: an exception raised while a process starts could be lost or leave the process behind.
    with stoppable() as stop, stop.deferred():
        try:
            with ProcessPool(jobs, _GRACE) as pool:
                while waiting or pool.running:
                    while waiting and pool.has_room:
                        entry = waiting.pop(0)
                        entry_of[_start(pool, entry, logs, environment)] = entry
                    exited = pool.wait()
                    stop.check()
                    for child in exited:
                        run = _outcome(entry_of[child], child, runs_folder)
                        ended[run.result["config_hash"]] = run
                        progress.ended(entry_of[child], run, child.seconds)
                    names = [entry_of[child].name for child in pool.running]
                    progress.show(names, len(waiting) + len(names))
        except Interrupted as error:
            count = sum(run.result["status"] == "finished" for run in ended.values())
            raise Interrupted(
                error.signal,
                f"stopped; {count} of {len(entries)} entries have finished and are kept. Run the same command again to "
                "do the rest",
            ) from error
        finally:
            progress.close()
    return [_labelled(ended[entry.record["config_hash"]], entry.record.get("label")) for entry in entries]


def _labelled(run: Run, label: str | None) -> Run:
    result = {key: value for key, value in run.result.items() if key != "label"}
    return replace(run, result=result | ({"label": label} if label else {}))


def _start(pool: ProcessPool, entry: Entry, logs: Path, environment: dict[str, str] | None) -> Child:
    # The hash keeps logs apart where one method runs with several settings.
    output = logs / f"{short_name(entry.record['method'])}-{entry.record['seed']}-{entry.record['config_hash'][:8]}.log"
    try:
        return pool.start(entry.command, output, environment)
    except OSError as error:
        raise LeaderboardError(f"{entry.name} cannot be started: {error}") from error


def _runs_of(entry: Entry, runs_folder: Path) -> list[Run]:
    return [run for run in runs_below(runs_folder) if run.result["config_hash"] == entry.record["config_hash"]]


def _outcome(entry: Entry, child: Child, runs_folder: Path) -> Run:
    """Run that a process left. Without a result, a failed run with the reason is written."""
    code = child.process.returncode
    # Another leaderboard may run the same entry in the same folder: the process id tells its runs apart.
    mine = [run for run in _runs_of(entry, runs_folder) if run.result.get("pid") == child.process.pid]
    # An earlier process may have had the same id: a run of this process was written after its start.
    mine = [run for run in mine if (run.folder / "result.json").stat().st_mtime > child.started_at - _CLOCK]
    run = mine[-1] if mine else None
    if run is None and code == 0:  # another process had finished the entry, so that this one found its result
        run = done([entry], runs_folder).get(entry.record["config_hash"])
    if run and (run.result["status"] == "finished" or (run.result["status"] == "failed" and code > 0)):
        return run
    reason = f"ended by {signal.Signals(-code).name}" if code < 0 else _last_words(child.log)
    folder = run.folder if run else _new_folder(entry, runs_folder)
    record = {**entry.record, **(run.result if run else {}), "status": "failed", "error": reason}
    record["run_folder"] = str(folder)
    write_whole(folder / "result.json", json.dumps(record, indent=2, ensure_ascii=False))
    return Run(folder, record)


def _last_words(output: Path) -> str:
    return last_line(output).removeprefix("recbole-bd: error: ") or "ended without an error message"


def _new_folder(entry: Entry, runs_folder: Path) -> Path:
    stem = f"{entry.record['method']}-{entry.record['dataset']}-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 0
    while True:
        folder = runs_folder / (f"{stem}-{number}" if number else stem)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            continue
        return folder


class _Progress:
    """Progress on standard error: a line for each ended entry, and on a terminal a bar with the time left."""

    def __init__(self, entries: Sequence[Entry], finished: dict[str, Run], jobs: int):
        self.total, self.jobs, self.count = len(entries), jobs, len(finished)
        self.seconds = [run.result["timing"]["total_s"] for run in finished.values() if "timing" in run.result]
        self.started = time.monotonic()
        terminal = sys.stderr.isatty()
        form = "{percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} entries [{elapsed}{postfix}]"
        self.bar = tqdm(total=self.total, initial=self.count, disable=not terminal, bar_format=form)
        if finished:
            self._say(f"{len(finished)} of {self.total} entries have already finished")

    def ended(self, entry: Entry, run: Run, seconds: float) -> None:
        """Report an entry that has ended after so many seconds."""
        self.count += 1
        self.bar.update()
        if run.result["status"] == "failed":
            told = f"failed: {run.result['error']} ({shlex.quote(str(run.folder))})"
        else:
            self.seconds.append(seconds)
            metric = run.result["valid_metric"]
            role, arm = (STUDENT, DISTILLED) if STUDENT in run.result else (BASELINE, SEPARATE)
            value = run.result[role][arm]["test"][metric]
            told = f"{'' if role == 'model' else 'student '}{metric} {value:.4f}, {seconds:.0f} s"
        left = self._left(self.total - self.count)
        self._say(f"[{self.count}/{self.total}] {entry.name}: {told}{f'; {left} left' if left else ''}")

    def show(self, running: list[str], missing: int) -> None:
        """Show the running entries."""
        if not self.bar.disable:
            left = self._left(missing)
            self.bar.set_postfix_str(f"{left or 'unknown time'} left; {', '.join(running)}")

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()

    def _left(self, missing: int) -> str:
        """Estimated time for the missing entries, from the mean of the known ones; empty if none is known."""
        if not missing or not self.seconds:
            return ""
        seconds = sum(self.seconds) / len(self.seconds) * missing / min(self.jobs, missing)
        return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"

    def _say(self, line: str) -> None:
        self.bar.write(line, file=sys.stderr)
