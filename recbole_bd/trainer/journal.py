"""Record of a run while it trains: validations, losses, durations, warnings, and metrics.csv."""

import csv
import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_bd.backbones.names import DATA
from recbole_bd.system.atomic_write import write_whole
from recbole_bd.trainer.loggers import Logger, LoggerGroup

logger = logging.getLogger(__name__)

_LOGGED_AS = {"losses": "loss", "learning_rates": "train", "validations": "valid"}
ROWS = ("validations", "losses", "learning_rates", "warnings")  # the lists of a journal


class Journal:
    """Record of every epoch and validation of a run.

    An arm is `separate`, `distilled` or `continued`; rows keep it under the key `stage`. A role is `teacher`, `student`
    or `model`. Epochs count from 0 in each arm; -1 is the state that the arm starts from.

    Args:
        folder: the run folder; None keeps the record in memory only.
        watch: called with every validation as it is recorded.

    Attributes:
        validations: one dict per role and validation: stage, role, epoch, then each metric.
        losses: one dict per role and epoch: stage, role, epoch, then each mean loss part.
        learning_rates: one dict per role and epoch: stage, role, epoch, learning_rate.
        loggers: receive every number as it is recorded; see `attach`.
        seconds: durations by name, in order (`distill_epoch`, `refresh`, `eval`, ...).
        warnings: one dict per warning: kind, stage, role, epoch, message. Those of the data have the stage `data`, the
            part (valid, test) as their role, and epoch -1.
    """

    def __init__(self, folder: Path | None = None, watch: Callable[[dict[str, Any]], None] | None = None):
        self.folder, self._watch = folder, watch
        self.validations: list[dict[str, Any]] = []
        self.losses: list[dict[str, Any]] = []
        self.learning_rates: list[dict[str, Any]] = []
        self.seconds: dict[str, list[float]] = {}
        self._began: dict[str, float] = {}  # start times of the blocks that are running
        self._earlier: dict[str, float] = {}  # time that a stopped process spent in unfinished blocks
        self.warnings: list[dict[str, Any]] = []
        self.loggers: Logger = LoggerGroup({})

    def attach(self, loggers: Logger) -> None:
        """Write everything recorded so far to `loggers`, and from now on every number as it is recorded."""
        self.loggers = loggers
        for name, kind in _LOGGED_AS.items():
            for row in getattr(self, name):
                self._log(kind, row)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the duration of a block, in seconds, to `seconds[name]`; nothing if an error ends the block."""
        self._began[name] = time.perf_counter()
        yield
        spent = time.perf_counter() - self._began.pop(name) + self._earlier.pop(name, 0.0)
        self.seconds.setdefault(name, []).append(round(spent, 4))

    def state_dict(self) -> dict[str, Any]:
        """Everything recorded, as plain data."""
        now = time.perf_counter()
        spent = {name: now - began + self._earlier.get(name, 0.0) for name, began in self._began.items()}
        seconds = {name: list(values) for name, values in self.seconds.items()}
        return {**{name: list(getattr(self, name)) for name in ROWS}, "seconds": seconds, "unfinished": spent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict` in a new journal."""
        self.replay({name: state.get(name, ()) for name in ROWS if name != "warnings"})
        self.warnings = list(state["warnings"])
        self.seconds = {name: list(values) for name, values in state["seconds"].items()}
        self._earlier = dict(state["unfinished"])

    def loss(
        self, arm: str, role: str, epoch: int, parts: dict[str, float], learning_rate: float | None = None
    ) -> None:
        """Record the loss parts of an epoch, means over its steps, by name; and the learning rate at its end."""
        self._trained("losses", {"stage": arm, "role": role, "epoch": epoch, **parts})
        if learning_rate is not None:
            row = {"stage": arm, "role": role, "epoch": epoch, "learning_rate": learning_rate}
            self._trained("learning_rates", row)

    def validation(self, arm: str, role: str, epoch: int, metrics: dict[str, float]) -> None:
        """Record a validation: metrics by name, e.g. `ndcg@10`."""
        self.validations.append({"stage": arm, "role": role, "epoch": epoch, **metrics})
        self._log(_LOGGED_AS["validations"], self.validations[-1])
        if self._watch:
            self._watch(dict(self.validations[-1]))

    def test(self, arm: str, role: str, epoch: int, metrics: dict[str, float]) -> None:
        """Write the test metrics of the state of an epoch to the loggers; `result.json` is their record."""
        self._log("test", {"stage": arm, "role": role, "epoch": epoch, **metrics})

    def warn(self, kind: str, arm: str, role: str, epoch: int, message: str) -> None:
        """Record and log a warning; only the first of each kind, role and arm is kept."""
        if any(one["kind"] == kind for one in self.warnings_of(arm, role)):
            return
        self.warnings.append({"kind": kind, "stage": arm, "role": role, "epoch": epoch, "message": message})
        if arm == DATA:
            logger.warning("data: %s", message)
        else:
            logger.warning("%s %s: epoch %d, %s", role, arm, epoch, message)

    def replay(self, rows: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        """Record earlier rows again: those of a reused warm-up, or of the run that is resumed.

        Args:
            rows: as `rows_of` returns them; earlier versions wrote fewer lists.
        """
        for name in ("losses", "learning_rates"):
            for row in rows.get(name, ()):
                self._trained(name, row)
        for row in rows.get("validations", ()):
            self.validation(**_as_arguments(row, "metrics"))
        for row in rows.get("warnings", ()):
            self.warn(row["kind"], row["stage"], row["role"], row["epoch"], row["message"])

    def rows_of(self, arm: str, role: str) -> dict[str, list[dict[str, Any]]]:
        """All rows of one role in one arm, by the name of their list."""
        return {
            name: [row for row in getattr(self, name) if (row["stage"], row["role"]) == (arm, role)] for name in ROWS
        }

    def of(self, arm: str, role: str) -> list[dict[str, Any]]:
        """The validations of one role in one arm, in order."""
        return [row for row in self.validations if row["stage"] == arm and row["role"] == role]

    def warnings_of(self, arm: str, role: str) -> list[dict[str, Any]]:
        """The warnings of one role in one arm, in order."""
        return [one for one in self.warnings if (one["stage"], one["role"]) == (arm, role)]

    def write_metrics(self) -> None:
        """Write metrics.csv: a row per role and validation.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        if self.folder is None or not self.validations:
            return
        text = io.StringIO()
        columns = list(dict.fromkeys(name for row in self.validations for name in row))
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(self.validations)
        write_whole(self.folder / "metrics.csv", text.getvalue())

    def _trained(self, name: str, row: dict[str, Any]) -> None:
        getattr(self, name).append(row)
        self._log(_LOGGED_AS[name], row)

    def _log(self, kind: str, row: dict[str, Any]) -> None:
        given = _as_arguments(row, "values")
        prefix = f"{kind}/{given['arm']}/{given['role']}"
        self.loggers.log_metrics(given["epoch"], {f"{prefix}/{name}": one for name, one in given["values"].items()})


def _as_arguments(row: dict[str, Any], rest: str) -> dict[str, Any]:
    """Turn a row back into the arguments that made it; `rest` names the argument that holds the other columns."""
    others = {name: value for name, value in row.items() if name not in ("stage", "role", "epoch")}
    return {"arm": row["stage"], "role": row["role"], "epoch": row["epoch"], rest: others}
