"""One trial of a search: a run in a child process, which is watched and pruned early if its judge says so."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_bd.backbones.names import BASELINE, DISTILLED, ROLES, SEPARATE, STUDENT, TEACHER
from recbole_bd.runs.records import read_result
from recbole_bd.system.child_processes import environment_of, last_line, start

FINISHED, PRUNED, FAILED, STOPPED = "finished", "pruned", "failed", "stopped"
# Exit codes of a run that a signal stopped: after saving its state, or before the handler was installed.
_OF_SIGNALS = (130, 143, -2, -15)
# Arm whose validations count: the distilled arm, or the only arm of a baseline.
_STAGES = {TEACHER: DISTILLED, STUDENT: DISTILLED, BASELINE: SEPARATE}


@dataclass
class Outcome:
    """Result of a trial.

    Attributes:
        state: `finished`; `pruned` by its judge; `failed`; `stopped` by a signal.
        objective: the best validation, of two roles the geometric mean of their own best; None if the trial failed.
        values: each role's best validation, of a finished trial.
        curve: the best objective so far by epoch.
        error: reason of a failure, in one line.
        folder: run folder; empty if there is none.
        seconds: time of the finished run over all its resumptions; time of this process if it did not finish.
    """

    state: str
    objective: float | None = None
    values: dict[str, float] = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)
    error: str = ""
    folder: str = ""
    seconds: float = 0.0


class Watch:
    """Follows the validations of a trial.

    Args:
        objective: roles whose validation is maximised.
        metric: validation metric, e.g. `ndcg@10`.

    Attributes:
        curve: the best objective so far by epoch.
    """

    def __init__(self, objective: tuple[str, ...], metric: str):
        self.metric = metric
        self.curve: dict[int, float] = {}
        self._best: dict[str, float] = {}
        self._objective = objective
        self._epoch, self._here, self._expected = -1, 0, len(objective)  # rows of this epoch and of the previous one

    def sees(self, row: Mapping[str, Any]) -> int | None:
        """Take one validation.

        Args:
            row: `stage`, `role`, `epoch` and each metric.

        Returns:
            The epoch, at its last row and once every role has been validated; else None.
        """
        role, epoch = row["role"], row["epoch"]
        if role not in self._objective or row["stage"] != _STAGES[role] or self.metric not in row:
            return None
        if epoch != self._epoch:
            # A role that rests is no longer validated; the other role's epochs continue.
            self._expected, self._here, self._epoch = self._here or self._expected, 0, epoch
        self._here += 1
        self._best[role] = max(self._best.get(role, 0.0), row[self.metric])
        if len(self._best) < len(self._objective):
            return None
        self.curve[epoch] = round(together(self._best.values()), 6)
        return epoch if self._here >= self._expected else None


def together(scores: Iterable[float]) -> float:
    """The geometric mean."""
    scores = list(scores)
    return math.prod(scores) ** (1 / len(scores))


def run_trial(
    settings: Mapping[str, Any],
    objective: tuple[str, ...],
    metric: str,
    log: Path,
    threads: int = 1,
    judge: Callable[[int, float], bool] | None = None,
    started: Callable[[subprocess.Popen], None] | None = None,
) -> Outcome:
    """Run one trial to its end, or until its judge prunes it.

    Args:
        settings: settings of the run; an unfinished run with the same settings is resumed.
        objective: roles whose validation is maximised.
        metric: validation metric, e.g. `ndcg@10`.
        log: file that receives the output of the run.
        threads: CPU threads of the process.
        judge: called with an epoch and the best objective so far; returns whether to prune the trial.
        started: called with the process, for a caller that may have to stop it.
    """
    watch, began = Watch(objective, metric), time.monotonic()
    outcome = Outcome(STOPPED, curve=watch.curve)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = (sys.executable, "-m", "recbole_bd.tuning.worker")
    with (
        log.open("wb") as stream,
        start(
            command, environment_of(threads), stream, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as run,
    ):
        if started:
            started(run)
        assert run.stdin is not None
        assert run.stdout is not None
        with run.stdin:
            json.dump(settings, run.stdin)
        for line in run.stdout:
            event = json.loads(line)
            outcome.folder = event.get("folder", "")
            outcome.error = event.get("error", "")
            epoch = watch.sees(event["validation"]) if "validation" in event else None
            if epoch is not None and judge and outcome.state != PRUNED and judge(epoch, watch.curve[epoch]):
                outcome.state, outcome.objective = PRUNED, watch.curve[epoch]
                run.terminate()
    outcome.seconds = round(time.monotonic() - began, 1)
    if outcome.state == PRUNED:
        return outcome
    if outcome.error or (run.returncode > 0 and run.returncode not in _OF_SIGNALS):
        outcome.state, outcome.error = FAILED, outcome.error or last_line(log) or f"exit code {run.returncode}"
    elif run.returncode < 0 and run.returncode not in _OF_SIGNALS:
        outcome.state, outcome.error = FAILED, f"ended by signal {-run.returncode}"
    elif outcome.folder:
        result = read_result(Path(outcome.folder))
        outcome.state, outcome.seconds = FINISHED, result["timing"]["total_s"]
        for role in ROLES:
            if role in result:
                entry = result[role].get(DISTILLED) or result[role][SEPARATE]
                outcome.values[role] = entry["valid"][metric]
        outcome.objective = round(together(outcome.values[role] for role in objective), 6)
    return outcome
