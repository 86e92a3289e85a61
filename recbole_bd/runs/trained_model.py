"""Trained models of runs, loaded with their data."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.backbones.names import BASELINE, PAIR
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import restore_snapshot
from recbole_bd.config.config import BDConfig
from recbole_bd.config.own_names import import_names
from recbole_bd.config.recorded_paths import data_folders
from recbole_bd.data.batches import train_loader
from recbole_bd.data.split import Split, load_split_of
from recbole_bd.errors import CheckpointError, RunFolderError
from recbole_bd.model import METHODS
from recbole_bd.runs.other_columns import differing, other_columns
from recbole_bd.runs.records import read_result, runs_beside

# Settings by which RecBole's models read no pretrained file. A trained model does not need the files it started from.
_WITHOUT_START = {"use_pretrain": False, "pretrain_path": None, "train_method": "no_pretrain"}


@dataclass(frozen=True)
class Trained:
    """Trained model of a run in its best state by validation, in evaluation mode.

    Attributes:
        path: the model's file.
        role: the model.
        split: its data.
        about: metadata in the file: `model`, `role`, `method`, `dataset`, `fingerprint`, `settings`, and
            `columns` where it reads more than users and items, see `other_columns`.
        valid: metrics on the validation part; empty if it was not validated.
    """

    path: Path
    role: Role
    split: Split
    about: dict[str, Any]
    valid: dict[str, float]


def load_trained(
    path: str | Path, device: str | None = None, data_path: str | Path | None = None, allow_code: bool = False
) -> Trained:
    """Load a trained model of a run.

    Args:
        path: `teacher.pth`, `student.pth` or `model.pth` of a run.
        device: device to load it to. The default is a GPU if there is one, or the CPU if it was trained with
            `device: cpu`.
        data_path: the folder that holds the data set's folder. The default is the run's own `data_path`; if the data
            is not there, it is searched for where it lies if run and data were moved together.
        allow_code: import the classes of the user's own that the file names, which runs the code of their modules.

    Raises:
        CheckpointError: the file is damaged or not of this package, its data is missing or has changed, or it names
            classes to import and `allow_code` is False.
        BDError: its settings, data files or model cannot be used here.
    """
    snapshot, about = load_model(path)
    if "settings" not in about:
        raise CheckpointError(
            f"{path} is not a model file of this package; RecBole's own files cannot be loaded whole safely"
        )
    named = import_names(about["settings"])
    if named and not allow_code:
        raise CheckpointError(
            f"{path} needs {', '.join(named)}, and importing this runs its code. If you trust the file, allow it: "
            "--allow_code on the command line, allow_code=True in Python"
        )
    settings = _on_this_machine(_without_start(about["settings"]), device)
    if data_path is not None:
        settings["data_path"] = str(data_path)
    config = BDConfig(config_dict=settings, methods=METHODS)
    if about.get("role") not in config.backbones:
        raise CheckpointError(f"{path} is damaged: its role is {about.get('role')!r}")
    others = () if data_path is not None else _moved(config, settings, Path(path).parent)
    config, split = _with_data(config, others, Path(path), about)
    role = build_role(about["role"], config.role(about["role"]), split.train)
    restore_snapshot(role.model, snapshot, str(path))
    role.model.eval()
    return Trained(Path(path), role, split, about, snapshot.valid)


def _moved(config: BDConfig, settings: dict[str, Any], folder: Path) -> Iterator[BDConfig]:
    """Settings with each folder that may hold the data if the project of a run was moved."""
    for place in data_folders(config.as_dict()["data_path"], config["dataset"], folder):
        yield BDConfig(config_dict={**settings, "data_path": str(place)}, methods=METHODS)


def _with_data(
    config: BDConfig, others: Iterable[BDConfig], path: Path, about: dict[str, Any]
) -> tuple[BDConfig, Split]:
    """Load the data that a model was trained on, from the first folder that holds it.

    Args:
        config: settings with the folder to try first.
        others: settings with further folders.
        path: the model's file, named in errors.
        about: its metadata.

    Raises:
        CheckpointError: no folder exists, or none holds the same data.
    """
    name, tried = config["dataset"], []
    for candidate in chain([config], others):
        folder = candidate["data_path"]
        if folder in tried or not Path(folder).is_dir():  # never download to a path that a file names
            continue
        tried.append(folder)
        split = load_split_of(candidate, about["fingerprint"])
        if split.fingerprint == about["fingerprint"]:
            columns = other_columns(candidate.role(about["role"]), split)
            if not differing(about.get("columns", {}), columns):
                return candidate, split
    if not tried:
        raise CheckpointError(
            f"{path}: its data set {name} is not in {config['data_path']}; name the folder that holds {name}/ with "
            "--data_path=DIR, in Python with data_path=DIR"
        )
    raise CheckpointError(
        f"{path}: the data set {name} in {tried[0]} or its split is not the one this model was trained on"
    )


def _without_start(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out the files from which models were pretrained, at the top level and in the blocks of roles."""
    return {
        key: _without_start(value) if key in PAIR and isinstance(value, dict) else _WITHOUT_START.get(key, value)
        for key, value in settings.items()
    }


def _on_this_machine(settings: dict[str, Any], device: str | None) -> dict[str, Any]:
    """Replace the device of the training machine by one of this machine."""
    moved = {key: value for key, value in settings.items() if key != "gpu_id"}
    return {**moved, "device": device or ("cpu" if settings.get("device") == "cpu" else "auto")}


def load_data_and_model(
    path: str | Path, data_path: str | Path | None = None, allow_code: bool = False
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Load a trained model of a run with its data, as RecBole's function of the same name does.

    Args:
        path, data_path, allow_code: see `load_trained`.

    Returns:
        (config, model, dataset, train_data, valid_data, test_data), the model in evaluation mode.

    Raises:
        BDError: see `load_trained`.
    """
    trained = load_trained(path, data_path=data_path, allow_code=allow_code)
    split, config = trained.split, trained.role.config
    return (
        config,
        trained.role.model,
        split.dataset,
        train_loader(config, split),
        split.valid_loader,
        split.test_loader,
    )


def model_files(path: str | Path) -> dict[str, Path]:
    """Find the model files of a run by role, or the one named file.

    Args:
        path: a run folder, or a model's file.

    Raises:
        RunFolderError: the file or folder does not exist, or the run has not finished.
    """
    path = Path(path)
    if path.is_file():
        if path.suffix != ".pth" and (path.parent / "result.json").is_file():
            raise RunFolderError(f"{path} is not a model file; name its run folder, {path.parent}")
        return {path.stem: path}
    if not path.is_dir():
        raise RunFolderError(
            f"{path} is neither a run folder nor a model file: no such file or folder{runs_beside(path)}"
        )
    result = read_result(path)
    if result["status"] != "finished":
        raise RunFolderError(f"{path} has not finished; resume it with recbole-bd run --resume={path}")
    roles = PAIR if result["learners"] else (BASELINE,)
    return {role: path / f"{role}.pth" for role in roles}
