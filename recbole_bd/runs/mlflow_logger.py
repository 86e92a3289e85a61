"""MLflow as a logger."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_bd.config.config import BDConfig
from recbole_bd.config.layers import dotted
from recbole_bd.runs.sent_numbers import SentNumbers

_EXPERIMENT = "recbole-bd"
# How MLflow calls the ends of a run.
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
# Most parameters that a server takes at a time.
_AT_ONCE = 100


class MlflowLogger:
    """A run of MLflow, which the environment variables of MLflow configure.

    It is the run that the user's program has started or that `MLFLOW_RUN_ID` names, or else one of its own. That one is
    in the store of `MLFLOW_TRACKING_URI`, or in a file store in the run folder, and is continued on resume.

    Args:
        config: settings of the run.
        folder: the run folder.
        sent: what earlier processes of the run have sent.

    Attributes:
        where: the run in words.
    """

    def __init__(self, config: BDConfig, folder: Path, sent: SentNumbers):
        import mlflow

        active = mlflow.active_run()
        is_in_folder = active is None and not mlflow.is_tracking_uri_set()
        uri = (folder / "mlflow").resolve().as_uri() if is_in_folder else mlflow.get_tracking_uri()
        at = "" if is_in_folder else re.sub("//[^/@]*@", "//", uri)  # without a password; "" is where the folder is
        self._is_own = active is None
        with _file_store_allowed(is_in_folder):
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            run = active and self._client.get_run(active.info.run_id)
            run = run or self._earlier_run(sent.run if sent.run.get("uri") == at else {}) or self._new_run(folder)
        self._id = run.info.run_id
        self._log_settings(config.as_dict(), run.data.params)
        sent.begin({"id": self._id, "uri": at})
        self.where = f"run {self._id} in {at or uri}"

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers; see `Logger`. In names, `@` becomes `_at_`."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._id, [Metric(_name(key), float(one), now, step) for key, one in values.items()])

    def close(self, status: str) -> None:
        """End the run, unless it is the user's."""
        if self._is_own:
            self._client.set_terminated(self._id, _STATUS[status])

    def _earlier_run(self, recorded: Mapping[str, Any]) -> Any:
        """The run to continue; None if there is none, or if the store has lost it."""
        from mlflow.exceptions import MlflowException

        named = os.environ.get("MLFLOW_RUN_ID")
        if not (named or recorded):
            return None
        try:
            run = self._client.get_run(named or recorded["id"])
        except MlflowException as error:
            if named or error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        self._client.update_run(run.info.run_id, status="RUNNING")
        return run

    def _new_run(self, folder: Path) -> Any:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if not experiment:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
            found = self._client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self._client.create_experiment(name)
        return self._client.create_run(experiment, tags={"run_folder": str(folder)}, run_name=folder.name)

    def _log_settings(self, settings: Mapping[str, Any], known: Mapping[str, str]) -> None:
        """Log settings as parameters, which cannot change; one that changed on resume becomes a tag `changed.KEY`."""
        from mlflow.entities import Param

        given = {_name(key): str(value) for key, value in dotted(settings)}
        new = [Param(key, value) for key, value in given.items() if key not in known]
        for start in range(0, len(new), _AT_ONCE):
            self._client.log_batch(self._id, params=new[start : start + _AT_ONCE])
        for key in given.keys() & known.keys():
            if known[key] != given[key]:
                self._client.set_tag(self._id, f"changed.{key}", given[key])


def _name(key: str) -> str:
    """A name that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", key.replace("@", "_at_"), flags=re.ASCII)


@contextmanager
def _file_store_allowed(is_needed: bool) -> Iterator[None]:
    """Let MLflow open its file store within the scope; newer versions refuse it without this variable."""
    variable = "MLFLOW_ALLOW_FILE_STORE"
    if not is_needed or variable in os.environ:
        yield
        return
    os.environ[variable] = "true"
    try:
        yield
    finally:
        del os.environ[variable]
