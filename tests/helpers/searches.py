"""Searches whose trials are functions, and where they are stored."""

import sys

from recbole_bd.tuning import study
from recbole_bd.tuning.trial import TrialRun

METRIC = "ndcg@5"


def replace_runs(monkeypatch, trial):
    """Let a function stand for the runs of trials: it returns an outcome and the seconds that the process takes."""

    class Run(TrialRun):
        def start(self, pool):
            self.outcome, seconds = trial(self._settings, self._judge)
            command = [sys.executable, "-S", "-c", f"import time; time.sleep({seconds})"]
            return pool.start(command, self._log)

        def outcome_of(self, child):
            return self.outcome

    monkeypatch.setattr(study, "TrialRun", Run)


def storage_of(tmp_path, kind="sqlite"):
    return f"sqlite:///{tmp_path / 'study.db'}" if kind == "sqlite" else str(tmp_path / "study.journal")
