"""Loggers: tools that show the numbers of a run while it trains. TensorBoard, and several loggers as one."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from recbole_bd.errors import CheckpointError, Interrupted, reason_of

logger = logging.getLogger(__name__)

# What numbers are: means of the loss parts over the steps of an epoch, learning rates, and metrics.
KINDS = ("loss", "train", "valid", "test")


class Logger(Protocol):
    """A tool that receives the numbers of a run."""

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers of one kind, arm and role.

        Args:
            step: the epoch within the arm, from 0; -1 is the state that the arm starts from.
            values: numbers by name, `kind/arm/role/name`, which differ in the last part only; see `KINDS`.
        """

    def close(self, status: str) -> None:
        """Write what is buffered, and end.

        Args:
            status: how the run ended: `finished`, `failed` or `interrupted`.
        """


class LoggerGroup:
    """Several loggers as one. A logger that fails is told of once and left out from then on; the training goes on.

    Args:
        loggers: the loggers by name.
    """

    def __init__(self, loggers: Mapping[str, Logger]):
        self._loggers = dict(loggers)

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers to every logger; see `Logger`."""
        for name, one in list(self._loggers.items()):
            try:
                one.log_metrics(step, values)
            except Interrupted:
                raise
            # Catches all exceptions on purpose: tools raise errors of their own, and none of them is worth a training.
            except Exception as error:
                logger.warning("%s fails and gets no more numbers of this run: %s", name, reason_of(error))
                self._close_one(name, "failed", is_told=True)

    def close(self, status: str) -> None:
        """Close every logger that has not failed; a second call does nothing."""
        for name in list(self._loggers):
            self._close_one(name, status)

    def _close_one(self, name: str, status: str, is_told: bool = False) -> None:
        try:
            self._loggers.pop(name).close(status)
        except Interrupted:
            raise
        except Exception as error:  # as in `log_metrics`
            if not is_told:
                logger.warning("%s cannot write its last numbers: %s", name, reason_of(error))


class TensorBoardLogger:
    """Event files of TensorBoard; the folder is emptied first, so that a resumed run writes them anew.

    Args:
        folder: the folder of the files.

    Raises:
        CheckpointError: the folder cannot be written.
    """

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter

        try:
            if folder.is_dir():
                shutil.rmtree(folder)
            self._writer = SummaryWriter(str(folder))
        except OSError as error:
            raise CheckpointError(f"{folder} cannot be written: {reason_of(error)}") from error

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers; see `Logger`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, status: str) -> None:
        """Write what is buffered."""
        self._writer.close()
