"""What happens during a run, written as it happens: log lines, TensorBoard, and the rows of metrics.csv."""

import csv
import io
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from recbole_bd.errors import CheckpointError
from recbole_bd.system.atomic_write import write_whole

logger = logging.getLogger(__name__)


class Journal:
    """Record of every epoch and validation of a run.

    Everywhere a stage is `separate`, `distilled` or `continued`, and a role `teacher`, `student` or `model`; epochs
    count from 0 in each stage, and -1 is before any.

    Args:
        folder: the run folder; None keeps the record in memory only.
        watch: called with every validation as it is recorded.

    Attributes:
        validations: one dict per role and validation: stage, role, epoch, then each metric.
        losses: one dict per role and epoch: stage, role, epoch, then each mean loss part.
        seconds: durations by name, in order (`distill_epoch`, `refresh`, `eval`, ...).
        warnings: one dict per thing a user should look at: kind, stage, role, epoch, message.

    Raises, in every method that writes:
        CheckpointError: the folder cannot be written.
    """

    def __init__(self, folder: Path | None = None, watch: Callable[[dict[str, Any]], None] | None = None):
        self.folder, self._watch = folder, watch
        self.validations: list[dict[str, Any]] = []
        self.losses: list[dict[str, Any]] = []
        self.seconds: dict[str, list[float]] = {}
        self._began: dict[str, float] = {}  # blocks that are timed now
        self._earlier: dict[str, float] = {}  # what another process had spent in blocks that it did not finish
        self._writer = _Scalars(folder / "tensorboard") if folder else None
        self.warnings: list[dict[str, Any]] = []

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the duration of a block to `seconds[name]`; that of a block which an error ends is not added."""
        self._began[name] = time.perf_counter()
        yield
        spent = time.perf_counter() - self._began.pop(name) + self._earlier.pop(name, 0.0)
        self.seconds.setdefault(name, []).append(round(spent, 4))

    def state_dict(self) -> dict[str, Any]:
        """Everything recorded, as plain data."""
        now = time.perf_counter()
        spent = {name: now - began + self._earlier.get(name, 0.0) for name, began in self._began.items()}
        seconds = {name: list(values) for name, values in self.seconds.items()}
        rows = {name: list(getattr(self, name)) for name in ("validations", "losses", "warnings")}
        return {**rows, "seconds": seconds, "unfinished": spent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`; in a new journal, whose TensorBoard files are written anew."""
        for row in state["losses"]:
            self.loss(**_taken_apart(row, "parts"))
        self.replay(state["validations"])
        self.warnings = list(state["warnings"])
        self.seconds = {name: list(values) for name, values in state["seconds"].items()}
        self._earlier = dict(state["unfinished"])

    def loss(self, stage: str, role: str, epoch: int, parts: dict[str, float]) -> None:
        """Record the loss parts of an epoch, means over its steps, by name."""
        self.losses.append({"stage": stage, "role": role, "epoch": epoch, **parts})
        for name, value in parts.items():
            self._scalar(f"loss/{stage}/{role}/{name}", value, epoch)

    def validation(self, stage: str, role: str, epoch: int, metrics: dict[str, float]) -> None:
        """Record a validation: metrics by name, e.g. `ndcg@10`."""
        self.validations.append({"stage": stage, "role": role, "epoch": epoch, **metrics})
        for name, value in metrics.items():
            self._scalar(f"valid/{stage}/{role}/{name}", value, epoch)
        if self._watch:
            self._watch(dict(self.validations[-1]))

    def warn(self, kind: str, stage: str, role: str, epoch: int, message: str) -> None:
        """Record and log a warning, the first of its kind in the stage of a role only."""
        if any(one["kind"] == kind for one in self.warnings_of(stage, role)):
            return
        self.warnings.append({"kind": kind, "stage": stage, "role": role, "epoch": epoch, "message": message})
        logger.warning("%s %s: epoch %d, %s", role, stage, epoch, message)

    def replay(self, rows: list[dict[str, Any]]) -> None:
        """Record validations of before: of the run whose warmed-up model is reused, or of the run that goes on."""
        for row in rows:
            self.validation(**_taken_apart(row, "metrics"))

    def of(self, stage: str, role: str) -> list[dict[str, Any]]:
        """The validations of one role in one stage, in order."""
        return [row for row in self.validations if row["stage"] == stage and row["role"] == role]

    def warnings_of(self, stage: str, role: str) -> list[dict[str, Any]]:
        """The warnings of one role in one stage, in order."""
        return [one for one in self.warnings if (one["stage"], one["role"]) == (stage, role)]

    def write_metrics(self) -> None:
        """Write metrics.csv: a row per role and validation."""
        if self.folder is None or not self.validations:
            return
        text = io.StringIO()
        columns = list(dict.fromkeys(name for row in self.validations for name in row))
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(self.validations)
        write_whole(self.folder / "metrics.csv", text.getvalue())

    def close(self) -> None:
        """Flush TensorBoard and write metrics.csv."""
        self.write_metrics()
        if self._writer:
            self._writer.close()

    def _scalar(self, name: str, value: float, step: int) -> None:
        if self._writer:
            self._writer.add(name, value, step)


def _taken_apart(row: dict[str, Any], rest: str) -> dict[str, Any]:
    """A row as the arguments it was made of; `rest` names the one that holds all other columns."""
    place = {name: row[name] for name in ("stage", "role", "epoch")}
    return {**place, rest: {name: value for name, value in row.items() if name not in place}}


class _Scalars:
    """TensorBoard's files of a run, in a folder of their own that is made anew.

    Raises, in every method:
        CheckpointError: they cannot be written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        with self._explaining():
            if folder.is_dir():
                shutil.rmtree(folder)
            self._writer = SummaryWriter(str(folder))

    def add(self, name: str, value: float, step: int) -> None:
        """Write one number."""
        with self._explaining():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        with self._explaining():
            self._writer.close()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be written: {error}") from error
