"""Weights & Biases as a logger."""

import glob
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_bd.config.chosen_loggers import WANDB
from recbole_bd.config.config import BDConfig
from recbole_bd.config.known_options import recbole_options
from recbole_bd.runs.sent_numbers import SentNumbers
from recbole_bd.trainer.loggers import KINDS

# The axis of every number; wandb's own step counts calls.
_EPOCH = "epoch"
# Seconds between two writes of an offline run. A kill of all processes loses what was logged since the last one, and by
# default wandb writes every 15 s.
_FLUSH = {"x_transaction_log_flush_interval": 1.0}
# Seconds after which a call is in the file, for a file that cannot be read.
_WRITTEN = 2.0


class WandbLogger:
    """A run of Weights & Biases, which the environment variables of wandb configure.

    It is the run that the user's program has started, or else one of its own. That one is in the project
    `wandb_project`, which goes before `WANDB_PROJECT` unless it has its default, and is continued on resume.

    Args:
        config: settings of the run.
        folder: the run folder, which receives wandb's files unless `WANDB_DIR` is set.
        sent: what earlier processes of the run have sent.

    Attributes:
        where: the run in words.
    """

    def __init__(self, config: BDConfig, folder: Path, sent: SentNumbers):
        import wandb

        settings = config.as_dict()
        self._is_own = wandb.run is None
        if self._is_own:
            known = getattr(wandb.Settings, "model_fields", {})
            self._run = wandb.init(
                project=_unless_set("WANDB_PROJECT", config["wandb_project"], _default_project()),
                dir=_unless_set("WANDB_DIR", str(folder)),
                name=_unless_set("WANDB_NAME", folder.name),
                id=os.environ.get("WANDB_RUN_ID") or sent.run.get("id") or uuid.uuid4().hex[:8],
                resume=_unless_set("WANDB_RESUME", "allow"),
                settings=wandb.Settings(**{key: value for key, value in _FLUSH.items() if key in known}),
            )
        else:
            self._run = wandb.run
        self._run.config.update(settings, allow_val_change=True)
        self._run.define_metric(_EPOCH, hidden=True)
        for kind in KINDS:
            self._run.define_metric(f"{kind}/*", step_metric=_EPOCH)
        is_online = not (self._run.offline or self._run.disabled)
        at = "disabled" if self._run.disabled else self._run.project
        place, arrived = {"id": self._run.id, "project": at}, None
        if self._is_own and is_online:
            arrived = self._run.step
        elif self._run.offline and not sent.is_closed:
            arrived = _calls_in_files(Path(self._run.dir).parent, self._run.id)
        sent.begin(place, arrived, _WRITTEN if self._run.offline and arrived is None else 0.0)
        self._calls = len(sent.calls)
        self.where = f"run {self._run.id}, " + (self._run.url if is_online else f"in {self._run.dir}")

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers; see `Logger`."""
        # Parts of an offline run are put together by wandb's step, which a new process would count from 0.
        own_step = {"step": max(self._calls, self._run.step)} if self._is_own else {}
        self._run.log({_EPOCH: step, **values}, **own_step)
        self._calls += 1

    def close(self, status: str) -> None:
        """End the run, unless it is the user's."""
        if self._is_own:
            self._run.finish(exit_code=0 if status == "finished" else 1)


def _calls_in_files(own: Path, name: str) -> int | None:
    """Count the calls in the files of the earlier processes, by wandb's own reader.

    Args:
        own: the folder of this process, beside those of the earlier ones.
        name: the run, with which the names of the folders end.

    Returns:
        One more than the last step; None if the files are gone or cannot be read.
    """
    calls, reader = None, [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
    for part in set(own.parent.glob(f"*run-*-{glob.escape(name)}")) - {own}:
        try:
            found = subprocess.run([*reader, str(part)], capture_output=True, check=True, timeout=60)
            records = map(json.loads, found.stdout.splitlines())
            items = [record["history"]["item"] for record in records if record["type"] == "history"]
            calls = max([calls or 0, *(int(item["_step"]) + 1 for item in items)])
        except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError):
            return None
    return calls


def _unless_set(variable: str, value: str | None, default: str | None = None) -> Any:
    """The value; None, so that wandb reads the environment variable, if this is set and the value is the default."""
    is_default = default is None or value == default
    return None if is_default and os.environ.get(variable) else value


def _default_project() -> str:
    return str(recbole_options()[f"{WANDB}_project"].default)
