"""Folder of a run: its name, its log, and the versions and machine recorded in it."""

import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import pandas
import psutil
import recbole
import scipy
import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from recbole_bd import __version__
from recbole_bd.config.config import BDConfig
from recbole_bd.errors import ConfigError
from recbole_bd.system.atomic_write import synchronise_folder
from recbole_bd.system.own_classes import short_name

logger = logging.getLogger(__name__)


def new_run_folder(config: BDConfig) -> Path:
    """Make the folder of a run, named after method, data set and time, and numbered if that name is taken.

    Raises:
        ConfigError: `checkpoint_dir` cannot be written.
    """
    stem = f"{short_name(config['model'])}-{config['dataset']}-{time.strftime('%Y%m%d-%H%M%S')}"
    for attempt in range(1000):
        folder = Path(config["checkpoint_dir"]) / (f"{stem}-{attempt}" if attempt else stem)
        try:
            folder.mkdir(parents=True)
            synchronise_folder(folder.parent)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(
                f"checkpoint_dir={config['checkpoint_dir']!r}: cannot be written ({error.strerror})"
            ) from error
        return folder
    raise ConfigError(f"checkpoint_dir={config['checkpoint_dir']!r}: no free name for a run folder")


@contextmanager
def logging_to(path: Path, config: BDConfig, redirect: bool) -> Iterator[None]:
    """Send this package's and RecBole's log lines to the run folder and to standard error for one run.

    Args:
        path: the log file, to which lines are appended.
        config: settings of the run; `state` is the log level.
        redirect: whether to print lines above progress bars.
    """
    root = logging.getLogger()
    level = getattr(logging, str(config["state"] or "INFO").upper(), logging.INFO)
    handlers: list[logging.Handler] = [_LogFile(path, encoding="utf-8"), logging.StreamHandler()]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
        root.addHandler(handler)
    before = root.level
    root.setLevel(level)
    try:
        if redirect:
            with logging_redirect_tqdm():
                yield
        else:
            yield
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


class _LogFile(logging.FileHandler):
    """Log file that warns once if it cannot be written; the run continues."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Stop writing to the file; the other handlers continue."""
        self._give_up(sys.exc_info()[1])

    def close(self) -> None:
        """Close the file; flushing its last lines can fail on a full disk."""
        try:
            super().close()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: BaseException | None) -> None:
        if self.level <= logging.CRITICAL:
            self.setLevel(logging.CRITICAL + 1)
            logger.warning("%s cannot be written: %s", self.baseFilename, error)


def versions() -> dict[str, str]:
    """Return the versions of packages on which a run's numbers may depend."""
    modules = {"torch": torch, "numpy": numpy, "scipy": scipy, "pandas": pandas, "recbole": recbole}
    return {"recbole_bd": __version__, "python": platform.python_version()} | {
        n: m.__version__ for n, m in modules.items()
    }


def machine(config: BDConfig) -> dict[str, Any]:
    """Describe the machine and the device of a run."""
    device = config["device"]
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device) if device.type == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})",
    }


def peak_memory() -> float:
    """Return the peak resident memory of this process, in MiB."""
    if sys.platform == "win32":
        return round(psutil.Process().memory_info().peak_wset / 2**20, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 2**20 if sys.platform == "darwin" else peak / 2**10, 1)
