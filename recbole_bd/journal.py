"""What happens during a run, written as it happens: log lines, TensorBoard, and the rows of metrics.csv."""

import csv
import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from recbole_bd.checkpoint import write_atomically

logger = logging.getLogger(__name__)


class Journal:
    """Record of every epoch and validation of a run.

    Args:
        folder: the run folder; None keeps the record in memory only.

    Attributes:
        validations: one dict per role and validation: stage, role, epoch, then each metric.
        losses: one dict per role and epoch: stage, role, epoch, then each mean loss part.
        seconds: durations by name, in order (`distill_epoch`, `refresh`, `eval`, ...).
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self.validations: list[dict[str, Any]] = []
        self.losses: list[dict[str, Any]] = []
        self.seconds: dict[str, list[float]] = {}
        self._writer = SummaryWriter(str(folder / "tensorboard")) if folder else None

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the duration of a block to `seconds[name]`."""
        start = time.perf_counter()
        yield
        self.seconds.setdefault(name, []).append(round(time.perf_counter() - start, 4))

    def loss(self, stage: str, role: str, epoch: int, parts: dict[str, float]) -> None:
        """Record the mean loss parts of an epoch."""
        self.losses.append({"stage": stage, "role": role, "epoch": epoch, **parts})
        for name, value in parts.items():
            self._scalar(f"loss/{stage}/{role}/{name}", value, epoch)

    def validation(self, stage: str, role: str, epoch: int, metrics: dict[str, float]) -> None:
        """Record a validation."""
        self.validations.append({"stage": stage, "role": role, "epoch": epoch, **metrics})
        for name, value in metrics.items():
            self._scalar(f"valid/{stage}/{role}/{name}", value, epoch)

    def replay(self, rows: list[dict[str, Any]]) -> None:
        """Record validations of an earlier run, when its warmed-up model is reused."""
        for row in rows:
            metrics = {name: value for name, value in row.items() if name not in ("stage", "role", "epoch")}
            self.validation(row["stage"], row["role"], row["epoch"], metrics)

    def of(self, stage: str, role: str) -> list[dict[str, Any]]:
        """The validations of one role in one stage, in order."""
        return [row for row in self.validations if row["stage"] == stage and row["role"] == role]

    def write_metrics(self) -> None:
        """Write metrics.csv: a row per role and validation."""
        if self.folder is None or not self.validations:
            return
        text = io.StringIO()
        columns = list(dict.fromkeys(name for row in self.validations for name in row))
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(self.validations)
        write_atomically(self.folder / "metrics.csv", lambda stream: stream.write(text.getvalue().encode()))

    def close(self) -> None:
        """Flush TensorBoard and write metrics.csv."""
        self.write_metrics()
        if self._writer:
            self._writer.close()

    def _scalar(self, name: str, value: float, step: int) -> None:
        if self._writer:
            self._writer.add_scalar(name, value, step)
