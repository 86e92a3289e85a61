"""One trial of a search: a run in a child process, which is watched and pruned early if its judge says so."""

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_bd.backbones.names import BASELINE, DISTILLED, ROLES, SEPARATE, STUDENT, TEACHER
from recbole_bd.runs.records import read_result
from recbole_bd.system.child_processes import environment_of, last_line
from recbole_bd.system.process_pool import Child, ProcessPool

FINISHED, PRUNED, FAILED, STOPPED = "finished", "pruned", "failed", "stopped"
TERMINATION = 10.0  # seconds a stopped trial may take to write its state
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
            The epoch, at its last row and once every role has been validated; else None. The state that a stage starts
            from, epoch -1, counts among the best and is no point of the curve.
        """
        role, epoch = row["role"], row["epoch"]
        if role not in self._objective or row["stage"] != _STAGES[role] or self.metric not in row:
            return None
        if epoch < 0:
            self._best[role] = row[self.metric]
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


class TrialRun:
    """Process of one trial, which reports its validations until it ends or its judge prunes it.

    Args:
        settings: settings of the run; an unfinished run with the same settings is resumed.
        objective: roles whose validation is maximised.
        metric: validation metric, e.g. `ndcg@10`.
        log: file that receives the output of the run.
        threads: CPU threads of the process.
        judge: called with an epoch and the best objective so far; returns whether to prune the trial.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        objective: tuple[str, ...],
        metric: str,
        log: Path,
        threads: int = 1,
        judge: Callable[[int, float], bool] | None = None,
    ):
        self._settings, self._objective, self._metric = settings, objective, metric
        self._log, self._threads, self._judge = log, threads, judge
        self._watch = Watch(objective, metric)
        self._outcome = Outcome(STOPPED, curve=self._watch.curve)

    def start(self, pool: ProcessPool) -> Child:
        """Start the process in a pool that has room."""
        command = (sys.executable, "-m", "recbole_bd.tuning.worker")
        return pool.start(command, self._log, environment_of(self._threads), json.dumps(self._settings), self._prunes)

    def _prunes(self, line: str) -> bool:
        """Take one event of the process; return whether the judge now prunes the trial."""
        event, outcome, curve = json.loads(line), self._outcome, self._watch.curve
        outcome.folder = event.get("folder", "")
        outcome.error = event.get("error", "")
        epoch = self._watch.sees(event["validation"]) if "validation" in event else None
        if epoch is None or not self._judge or outcome.state == PRUNED or not self._judge(epoch, curve[epoch]):
            return False
        outcome.state, outcome.objective = PRUNED, curve[epoch]
        return True

    def outcome_of(self, child: Child) -> Outcome:
        """Result of the trial, from its ended process."""
        outcome, code = self._outcome, child.process.returncode
        outcome.seconds = round(child.seconds, 1)
        if outcome.state == PRUNED:
            return outcome
        if outcome.error or (code > 0 and code not in _OF_SIGNALS):
            outcome.state, outcome.error = FAILED, outcome.error or last_line(self._log) or f"exit code {code}"
        elif code < 0 and code not in _OF_SIGNALS:
            outcome.state, outcome.error = FAILED, f"ended by signal {-code}"
        elif outcome.folder:
            result = read_result(Path(outcome.folder))
            outcome.state, outcome.seconds = FINISHED, result["timing"]["total_s"]
            for role in ROLES:
                if role in result:
                    entry = result[role].get(DISTILLED) or result[role][SEPARATE]
                    outcome.values[role] = entry["valid"][self._metric]
            outcome.objective = round(together(outcome.values[role] for role in self._objective), 6)
        return outcome


def run_trial(
    settings: Mapping[str, Any],
    objective: tuple[str, ...],
    metric: str,
    log: Path,
    threads: int = 1,
    judge: Callable[[int, float], bool] | None = None,
) -> Outcome:
    """Run one trial to its end, or until its judge prunes it; the arguments are those of `TrialRun`."""
    run = TrialRun(settings, objective, metric, log, threads, judge)
    with ProcessPool(1, TERMINATION) as pool:
        child = run.start(pool)
        while child not in pool.wait():
            pass
    return run.outcome_of(child)
