"""Loggers of a run, opened before it trains; a resumed run continues what its earlier processes wrote."""

import logging
from pathlib import Path

from recbole_bd.config.chosen_loggers import MLFLOW, TENSORBOARD, WANDB, chosen_loggers
from recbole_bd.config.config import BDConfig
from recbole_bd.errors import BDError, ConfigError, reason_of
from recbole_bd.runs.mlflow_logger import MlflowLogger
from recbole_bd.runs.sent_numbers import OnlyNew, SentNumbers
from recbole_bd.runs.wandb_logger import WandbLogger
from recbole_bd.trainer.loggers import Logger, LoggerGroup, TensorBoardLogger

logger = logging.getLogger(__name__)

_TOOLS: dict[str, type[WandbLogger] | type[MlflowLogger]] = {WANDB: WandbLogger, MLFLOW: MlflowLogger}
_WAYS_OUT = {
    WANDB: "log in by `wandb login`, or set WANDB_MODE=offline",
    MLFLOW: "check MLFLOW_TRACKING_URI; without it MLflow writes to the run folder",
}


def open_loggers(config: BDConfig, folder: Path) -> LoggerGroup:
    """Open the loggers that the settings choose; only the first process of a distributed run calls it.

    Args:
        config: settings of the run, which are its hyper-parameters in the tools.
        folder: the run folder.

    Returns:
        The loggers as one. The tools must receive all numbers of the run again if it is resumed: they pass on those
        that an earlier process has not sent.

    Raises:
        CheckpointError: the run folder cannot be written, or its record of what was sent is damaged.
        ConfigError: a tool cannot start; the message names it and its reason.
    """
    opened: dict[str, Logger] = {}
    try:
        for name in chosen_loggers(config):
            opened[name] = TensorBoardLogger(folder / name) if name == TENSORBOARD else _tool(name, config, folder)
    except BaseException:
        LoggerGroup(opened).close("failed")
        raise
    return LoggerGroup(opened)


def _tool(name: str, config: BDConfig, folder: Path) -> Logger:
    sent = SentNumbers(folder / f"sent-{name}.jsonl")
    try:
        tool = _TOOLS[name](config, folder, sent)
    except BDError:
        raise
    # Catches all exceptions on purpose: each tool raises errors of its own.
    except Exception as error:
        raise ConfigError(f"loggers: {name} cannot start: {reason_of(error).rstrip('.')}; {_WAYS_OUT[name]}") from error
    logger.info("%s: %s", name, tool.where)
    return OnlyNew(tool, sent)
