"""Entry point of a run: `run_bd`."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_bd.config.config import BDConfig
from recbole_bd.config.own_names import with_names
from recbole_bd.errors import InUseError
from recbole_bd.model import METHODS
from recbole_bd.runs.resume import claimed_by_first, resume_run, unfinished_runs
from recbole_bd.runs.stages import Run
from recbole_bd.system.distributed import joined
from recbole_bd.system.signals import stoppable

logger = logging.getLogger(__name__)

AUTO = "auto"  # value of `resume` that finds the run folder by the settings


def run_bd(
    model: str | type | None = None,
    dataset: str | None = None,
    config_files: Iterable[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    command_line: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    watch: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Warm up teacher and student, distil between them, and compare with separate and continued training.

    Args:
        model: a method of this package (`BD`, `RD`, ...) or a RecBole recommender to train alone; None reads it
            from the settings, whose default is `BD`. In its place, as in `teacher_model`, `student_model` and
            `metrics`, a class may be given, or its name `my_package.module:Class`.
        dataset: name of the data set; None reads it from the settings, whose default is `ml-100k`.
        config_files: yaml files; later ones override earlier ones.
        config_dict: settings that override the files; keys may be dotted, `{"student.embedding_size": 8}`.
        command_line: settings that override all others.
        resume: a run folder to resume, with its own settings overridden by the other arguments where a setting may
            change. Or `auto`: resume the newest unfinished run of exactly these settings, return the result of a
            finished one, or start a new run.
        watch: callback after every validation with its row of `metrics.csv`: `stage`, `role`, `epoch` and each metric.
            A resumed run first calls it with the earlier rows.

    Returns:
        The content of `result.json`; `run_folder` is the path of the run's files.

    Raises:
        Interrupted: SIGINT or SIGTERM; the message says how to resume.
        BDError: a problem the user can solve; the message is one line.
    """
    name: str | None = with_names({"model": model}, METHODS)["model"]
    config_dict, command_line = (with_names(settings, METHODS) for settings in (config_dict, command_line))
    given = (name, dataset, config_files, config_dict, command_line)
    with stoppable() as stop, joined() as own:
        if resume is not None and str(resume) != AUTO:
            return resume_run(Path(resume), given, stop, watch)
        config = BDConfig(*given, methods=METHODS)
        if resume is not None:
            for folder in own.broadcast(lambda: unfinished_runs(config)):
                try:
                    return resume_run(folder, given, stop, watch, is_named=False)
                except InUseError as error:
                    if own.size > 1:
                        raise
                    logger.warning("%s", error)
        run = Run(config, stop, watch)
        with claimed_by_first(run.folder):
            return run.execute()
