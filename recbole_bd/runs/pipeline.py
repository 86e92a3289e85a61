"""The pipeline of a run in order: settings, data, roles, warm-ups, distillation, control, test, records."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_bd.config.config import BDConfig
from recbole_bd.errors import InUseError
from recbole_bd.model import METHODS
from recbole_bd.runs.resume import claimed_by_first, resume_run, unfinished_runs
from recbole_bd.runs.stages import Run
from recbole_bd.system.distributed import joined
from recbole_bd.system.signals import stoppable

logger = logging.getLogger(__name__)

AUTO = "auto"  # instead of a run folder to go on with: find it


def run_bd(
    model: str | None = None,
    dataset: str | None = None,
    config_files: Iterable[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    command_line: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    watch: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Warm up teacher and student, let a method distil, and measure what it taught against honest controls.

    Args:
        model: a method of this package (`BD`, `RD`, ...) or a RecBole general recommender to train alone; None reads it
            from the settings, whose default is `BD`.
        dataset: name of the data set; None reads it from the settings, whose default is `ml-100k`.
        config_files: yaml files, the later above the earlier.
        config_dict: settings above the files; keys may be dotted, `{"student.embedding_size": 8}`.
        command_line: settings above everything.
        resume: a run folder, whose run goes on with its own settings, or with those of the other arguments above them
            where these may change; or `auto`: the newest run of exactly these settings that has not finished, if there
            is one, and the result of one that has.
        watch: called after every validation with its row of `metrics.csv`: `stage`, `role`, `epoch` and each metric; in
            a run that goes on, with those of before first.

    Returns:
        The content of `result.json`; `run_folder` says where the run's files are.

    Raises:
        Interrupted: SIGINT or SIGTERM; the message says how to go on.
        BDError: whatever the user can mend, in one line.
    """
    given = (model, dataset, config_files, config_dict, command_line)
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
