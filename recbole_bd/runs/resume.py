"""Resume of a stopped run."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from recbole_bd.config.config import BDConfig
from recbole_bd.config.layers import COMMAND_LINE, CONFIG_DICT, Layer, dotted
from recbole_bd.config.own_names import names_given
from recbole_bd.config.property_files import file_or_shipped
from recbole_bd.config.recorded_paths import absolute, data_folders, file_of
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import ConfigError, RunFolderError
from recbole_bd.model import METHODS
from recbole_bd.runs.hashes import evaluation_version, run_hashes
from recbole_bd.runs.progress import Progress, has_progress, no_progress, runs_of
from recbole_bd.runs.records import SCHEMA, not_a_run_folder, read_result
from recbole_bd.runs.stages import Run
from recbole_bd.system.atomic_write import remove_torn_files
from recbole_bd.system.distributed import group
from recbole_bd.system.locks import claimed
from recbole_bd.system.signals import Stop

logger = logging.getLogger(__name__)


def unfinished_runs(config: BDConfig) -> list[Path]:
    """List runs of these settings that have finished or can be resumed, the newest first."""
    found = runs_of(run_hashes(config)["config"], Path(config["checkpoint_dir"]))
    # A run without progress was stopped before there was anything to keep.
    return [folder for folder, status in found if status == "finished" or has_progress(folder)]


def claimed_by_first(folder: Path) -> AbstractContextManager[None]:
    """Lock a run folder; in a distributed run only the first process does."""
    return claimed(folder) if group().is_first else nullcontext()


def resume_run(
    folder: Path,
    given: tuple,
    stop: Stop,
    watch: Callable[[dict[str, Any]], None] | None,
    is_named: bool = True,
) -> dict[str, Any]:
    """Train the rest of the run in a folder.

    Args:
        folder: the run folder.
        given: the arguments of `run_bd` before `resume`.
        stop: tells whether the user has asked the run to stop.
        watch: see `run_bd`.
        is_named: whether the user named the folder; otherwise it was found by the given settings.

    Returns:
        The content of `result.json`, at once if the run has finished.

    Raises:
        RunFolderError: the folder holds no run that can be resumed.
        ConfigError: the given settings change what must not change, or the length of a finished run.
        InUseError: another process uses the folder.
    """
    if not folder.is_dir():
        raise RunFolderError(not_a_run_folder(folder))
    if not (folder / "result.json").is_file() and not has_progress(folder):
        raise no_progress(folder)  # checked before a lock file is made in a folder that is no run folder
    with claimed_by_first(folder):
        result = read_result(folder) if (folder / "result.json").is_file() else {}
        if result.get("status") == "finished":
            if any(given) and is_named:
                _, changes = _merged_settings(folder, given, Progress.load(folder))
                if changes:
                    raise ConfigError(
                        "{} has finished with {setting}={before!r} and cannot be trained further with {now!r}; start a "
                        "new run".format(folder, **changes[0])
                    )
            logger.warning("%s has already finished; nothing is left to do", folder)
            return {**result, "run_folder": str(folder)}  # it may have been moved
        progress = Progress.load(folder)
        if group().is_first:
            remove_torn_files(folder)
        config, changes = _merged_settings(folder, given, progress)
        progress.check_length(config.as_dict(), folder)
        if progress.record.get("evaluation", {}) != evaluation_version(config):
            raise RunFolderError(
                f"{folder} cannot resume: an earlier version started it, which drew other candidates or defined its "
                "metrics otherwise; start a new run"
            )
        if config.method_class is not None and progress.record.get("schema") != SCHEMA:
            raise RunFolderError(
                f"{folder} cannot resume: an earlier version started it, in which the start of a stage was no "
                "candidate for its best state; start a new run, which uses its warm-ups again"
            )
        return Run(config, stop, watch, folder, progress, changes).execute()


def _merged_settings(folder: Path, given: tuple, progress: Progress) -> tuple[BDConfig, list[dict[str, Any]]]:
    """Merge the given settings over a run's own, and list the changes.

    Raises:
        ConfigError: a setting that must not change would change; or the run has a class of somebody's own, which the
            user does not name again, or whose source has changed.
    """
    model, dataset, config_files, config_dict, command_line = given
    progress.check_models({"model": model, "dataset": dataset, **(config_dict or {}), **(command_line or {})}, folder)
    own = folder / "config.yaml"
    files = [*([own] if own.is_file() else []), *(config_files or ())]
    base = {} if own.is_file() else progress.settings
    layers = [Layer(file, load_yaml(file)) for file in map(file_or_shipped, config_files or ())]
    layers += [Layer(CONFIG_DICT, {**(config_dict or {}), "model": model}), Layer(COMMAND_LINE, command_line or {})]
    trusted = names_given(layers)

    def merged(moved: dict[str, Any]) -> BDConfig:
        given_dict = {**base, **(config_dict or {}), **moved}
        return BDConfig(model, dataset, files, given_dict, command_line, methods=METHODS, trusted=trusted)

    config = merged({})
    if moved := _moved_paths(config, progress.settings, folder):
        config = merged(moved)
    if changed := set(progress.record.get("own_code", ())) ^ set(config.own_code()):
        name = sorted(changed)[0].partition(" ")[0]
        raise ConfigError(f"{folder} cannot resume: {name} has changed since the run began; start a new run")
    return config, progress.check_settings(config.as_dict(), config["device"].type, folder)


def _moved_paths(config: BDConfig, recorded: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Find the paths of a run that was moved, or that is resumed from another folder.

    Args:
        config: the merged settings.
        recorded: the settings of the run so far; a path that differs from them was given, and stays.
        folder: the run folder.

    Returns:
        Settings to change: `checkpoint_dir` is the folder that holds the run folder now. `data_path`, checkpoints
        and lists are looked for near the run if they are no longer at their place.
    """
    moved: dict[str, Any] = {}
    if config["checkpoint_dir"] == recorded.get("checkpoint_dir"):
        moved["checkpoint_dir"] = str(folder.parent)
    now = config.as_dict()
    if now["data_path"] == absolute(recorded.get("data_path")) and not Path(config["data_path"]).is_dir():
        found = data_folders(now["data_path"], config["dataset"], folder)
        moved |= {"data_path": str(found[0])} if found else {}
    own = dict(dotted(recorded))
    for key, path in dotted(now):
        if key.endswith(("checkpoint", "teacher_lists")) and path and path == absolute(own.get(key)):
            moved |= {key: file_of(path, folder)}
    return moved
