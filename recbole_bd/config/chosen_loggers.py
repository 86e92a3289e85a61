"""Names of the loggers that a run writes to, and whether their packages are installed."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from recbole_bd.errors import InstallationError

TENSORBOARD, WANDB, MLFLOW = "tensorboard", "wandb", "mlflow"
# Loggers whose package is an extra of this one; package and extra have the logger's name.
_EXTRAS = (WANDB, MLFLOW)


def chosen_loggers(config: Mapping[str, Any] | Any) -> list[str]:
    """Names of the loggers of a run, each once; RecBole's `log_wandb` adds Weights & Biases.

    Args:
        config: settings of the run.
    """
    return list(dict.fromkeys([*config["loggers"], *([WANDB] if config["log_wandb"] else [])]))


def require_loggers(config: Mapping[str, Any] | Any) -> None:
    """Refuse a logger whose package is not installed.

    Args:
        config: settings of the run.

    Raises:
        InstallationError: a package is missing; the message names the setting and the command that installs it.
    """
    for name in chosen_loggers(config):
        if name in _EXTRAS and not _is_installed(name):
            setting = f"loggers={config['loggers']}" if name in config["loggers"] else "log_wandb=True"
            raise InstallationError(f'{setting} needs {name}, which is not installed: pip install "recbole-bd[{name}]"')


def _is_installed(name: str) -> bool:
    """Whether a package is installed; a folder of that name, such as those that the tools write, is no package."""
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None
