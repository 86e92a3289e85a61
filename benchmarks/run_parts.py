"""CPU time and peak memory of the parts of one run; Linux. `scale.py --whole-run` starts it.

    python benchmarks/run_parts.py RESULT.json run --dataset=NAME [OPTION ...]

A part that runs within another one, such as the draws within the discrepancy counts, belongs to the outer one.
"""

import functools
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recbole_bd.__main__ import main
from recbole_bd.system.startup import quick_imports

# Functions of the parts, `module:name`, in the order of the table.
PARTS = {
    "loading": "recbole_bd.runs.stages:prepare",
    "epochs": "recbole_bd.trainer.resumable:Resumable._run_epoch",
    "refreshes": "recbole_bd.trainer.distillation_trainer:_refresh",
    "evaluations": "recbole_bd.trainer.role_trainer:RoleTrainerMixin.evaluate",
    "held-out ranks": "recbole_bd.runs.outputs:test_ranks",
    "discrepancy counts": "recbole_bd.evaluator.rank_discrepancy:count_discrepancies",
    "pictures": "recbole_bd.runs.plots:draw",
}


class Watch:
    """Measures the calls of functions.

    Attributes:
        parts: `calls`, `cpu_s` and `peak_mb` by part.
        peak_mb: largest resident memory so far, in MiB.
    """

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}
        self.peak_mb = 0.0
        self._is_inside = False

    def watched(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Wrap a function so that its calls are measured."""
        row = self.parts[part] = {"calls": 0, "cpu_s": 0.0, "peak_mb": 0.0}

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:
                return function(*args, **kwargs)
            self.begin()
            self._is_inside, start = True, time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._is_inside = False
                row["calls"] += 1
                row["cpu_s"] += time.process_time() - start
                row["peak_mb"] = max(row["peak_mb"], self.begin())

        return call

    def begin(self) -> float:
        """Return the peak memory since the last call, in MiB, and begin a new one."""
        status = Path("/proc/self/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) / 2**10
        Path("/proc/self/clear_refs").write_text("5")
        self.peak_mb = max(self.peak_mb, peak)
        return peak


def measure(words: list[str]) -> dict[str, Any]:
    """Run a command of recbole-bd.

    Args:
        words: the command and its options.

    Returns:
        `parts`, `cpu_s` and `peak_mb` of the process.
    """
    watch = Watch()
    for part, place in PARTS.items():
        module, _, path = place.partition(":")
        with quick_imports():
            owner: Any = importlib.import_module(module)
        *owners, name = path.split(".")
        for one in owners:
            owner = getattr(owner, one)
        setattr(owner, name, watch.watched(getattr(owner, name), part))
    if code := main(words):
        sys.exit(code)
    watch.begin()
    return {"parts": watch.parts, "cpu_s": time.process_time(), "peak_mb": watch.peak_mb}


if __name__ == "__main__":
    found = measure(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(found))
