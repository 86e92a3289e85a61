"""The trained model that a command names by run folder or file, and by role."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_bd.errors import ConfigError
from recbole_bd.system.startup import quick_imports

if TYPE_CHECKING:
    from recbole_bd.runs.trained_model import Trained


def required_run(run: str | None, command: str) -> str:
    """The run that was named.

    Args:
        run: the word on the command line; None where there was none.
        command: name of the command, for the error.

    Raises:
        ConfigError: no run was named.
    """
    if run is None:
        raise ConfigError(f"{command} needs a run folder or a model file: recbole-bd {command} saved/RUN")
    return run


def file_of_role(files: Mapping[str, Path], run: str, role: str) -> Path:
    """The model file of a role.

    Args:
        files: model files of the run by role.
        run: the run as it was named, for the error.
        role: the role.

    Raises:
        ConfigError: the run has no model of that role.
    """
    if role not in files:
        raise ConfigError(f"{run} has no {role}, only {', '.join(files)}")
    return files[role]


def chosen_model(options: Namespace, command: str, device: str | None = None) -> Trained:
    """Load the model of a file, of the role that is named, or of the student where a run has two models.

    Args:
        options: `run`, `role`, `data_path` and `allow_code` of `model_parser`.
        command: name of the command, for errors.
        device: where to load it; None is the device of this machine's settings.

    Raises:
        ConfigError: no run was named, or it has no model of that role.
    """
    run = required_run(options.run, command)
    folder, colon, _ = run.rpartition(":")
    if colon and Path(folder).is_dir() and not Path(run).exists():
        raise ConfigError(f"{run}: {command} takes the run folder alone; choose its model by {folder} --role=NAME")
    with quick_imports():
        from recbole_bd.runs.trained_model import load_trained, model_files
    files = model_files(run)
    role = options.role or ("student" if "student" in files else next(iter(files)))
    return load_trained(file_of_role(files, run, role), device, options.data_path, options.allow_code)
