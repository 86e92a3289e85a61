"""One run: warm-ups, the distillation arm and its controls, and the test, in this order."""

import logging
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from recbole.utils import init_seed

from recbole_bd.backbones.names import CONTINUED, DATA, DISTILLED, PLACEBO, SEPARATE
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import Snapshot, restore_snapshot
from recbole_bd.config.chosen_loggers import require_loggers
from recbole_bd.config.config import BDConfig
from recbole_bd.config.own_names import words_again
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.data.batches import batch_stream
from recbole_bd.data.split_warnings import split_warnings
from recbole_bd.errors import BDError, CheckpointError, Interrupted
from recbole_bd.runs.folder import logging_to, new_run_folder
from recbole_bd.runs.hashes import opening_record
from recbole_bd.runs.loggers import open_loggers
from recbole_bd.runs.other_columns import columns_of_run, differing
from recbole_bd.runs.outputs import RunOutputs
from recbole_bd.runs.prepare import build_distiller, kept_states, prepare, read_checkpoint, size_notes
from recbole_bd.runs.progress import Progress
from recbole_bd.runs.warmups import WarmUps
from recbole_bd.system.distributed import group
from recbole_bd.system.signals import Stop
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.resumable import Keeper

logger = logging.getLogger(__name__)


class Run:
    """One run: its settings, data, models, folder and progress.

    A stage is one unit of training and resume: `separate <role>` (a warm-up), `distilled`, `continued`
    or `placebo`.

    Args:
        config: settings of the run.
        stop: tells whether the user has asked the run to stop.
        watch: see `run_bd`.
        folder, progress, changes: folder, kept progress and changed settings of a resumed run; a new run makes its
            own folder.
    """

    def __init__(
        self,
        config: BDConfig,
        stop: Stop,
        watch: Callable[[dict[str, Any]], None] | None = None,
        folder: Path | None = None,
        progress: Progress | None = None,
        changes: Sequence[dict[str, Any]] = (),
    ):
        require_loggers(config)
        self.config, self.stop, self.watch = config, stop, watch
        self.started = time.perf_counter()
        self.split, self.roles = prepare(config, progress.fingerprint if progress else None)
        columns = columns_of_run(self.roles, self.split)
        warmed_up = progress.arms.get(SEPARATE, {}) if progress else {}
        given = [role for role in self.roles.values() if role.config["checkpoint"] and role.name not in warmed_up]
        self.checkpoints = {role.name: self._given(role) for role in given}
        self.is_first_process = group().is_first  # only the first process of a distributed run writes
        self.show_progress = bool(config["show_progress"]) and sys.stderr.isatty() and self.is_first_process
        if progress is None:
            record = opening_record(config, "running")
            progress = Progress.begun(record, config.as_dict(), config["device"].type, self.split.fingerprint)
            progress.columns = columns
        elif progress.fingerprint != self.split.fingerprint or differing(progress.columns, columns):
            raise _other_data(folder, config)
        self.is_new, self.changes = folder is None, list(changes)
        self.progress, self.earlier_seconds = progress, progress.seconds
        self.folder = folder or group().broadcast(lambda: new_run_folder(config))
        self.outputs = RunOutputs(config, self.split, self.roles, self.folder, self.is_first_process)
        self.kept: dict[str, Snapshot] = {}

    def _given(self, role: Role) -> Snapshot:
        return read_checkpoint(role, self.split, kept_states(self.config, role.name))

    def execute(self) -> dict[str, Any]:
        """Run every stage that has not finished, and write the results.

        Returns:
            The content of `result.json`.

        Raises:
            Interrupted: the user stopped the run.
            BDError: the run failed; its folder holds the results so far, as after any other error.
        """
        path = self.folder / "run.log"
        with logging_to(path, self.config, self.show_progress) if self.is_first_process else nullcontext():
            self._open()
            try:
                if self.is_first_process:
                    self.journal.attach(open_loggers(self.config, self.folder))
                self._stages()
                self.outputs.close("finished", self.kept, self.journal, self._seconds)
            except Exception as error:
                cause = self.stop.cause_of(error)
                if isinstance(cause, Interrupted):
                    raise self._interrupted(cause.signal) from error
                self._fail(error)
                raise
            finally:
                # After `result.json`: tools may take long, and a user who does not wait loses nothing.
                with self.stop.deferred():
                    status = self.outputs.result["status"]
                    self.journal.loggers.close("failed" if status == "running" else status)
            seconds = self.outputs.result["timing"]["total_s"]
            logger.info("finished in %.0f s; results are in %s", seconds, self.folder)
        return self.outputs.result

    def _open(self) -> None:
        """Write the settings and the first result of a new run, or log where the run resumes."""
        threads = self.progress.settings.get("threads")
        if self.changes:
            self.progress.change_settings(self.config.as_dict(), self.changes)
        self.outputs.open(self.progress)
        written = self.is_first_process
        self.journal = Journal(self.folder if written else None, self.watch if written else None)
        if self.progress.journal:
            self.journal.load_state_dict(self.progress.journal)
        for warning in split_warnings(self.split):
            self.journal.warn(warning.kind, DATA, warning.part, -1, warning.message)
        if self.is_new or self.changes:
            self.outputs.write_config()
            self.progress.journal = self.journal.state_dict()
            if self.is_first_process:
                self.progress.save(self.folder)
        self.outputs.write_result()
        if self.is_new:
            logger.info("run folder %s, device %s", self.folder, self.config["device"])
        else:
            logger.info("%s: resuming after %s", self.folder, self.progress.reached())
            if threads != self.config["threads"]:
                logger.warning(
                    "threads was %r and is %r: sums may be rounded differently from here on",
                    threads,
                    self.config["threads"],
                )
        for note in [*settings_notes(self.config), *size_notes(self.roles)] if self.is_first_process else ():
            logger.warning("%s", note)
        for change in self.changes:
            logger.info("setting changed: %(setting)s is %(now)r from here on, was %(before)r", change)
        logger.info("data: %s", self.outputs.result["data"])

    def _keep(self, stage: str | None, place: dict[str, Any] | None) -> None:
        """Write the progress of the run to `last.ckpt`."""
        if not self.is_first_process:
            return
        self.progress.stage, self.progress.place = stage, place
        self.progress.journal = self.journal.state_dict()
        self.progress.seconds = self._seconds()
        self.progress.save(self.folder)

    def _keeper(self, stage: str) -> Keeper:
        often = self.config["checkpoint_every"], self.config["checkpoint_seconds"]
        return Keeper(lambda place: self._keep(stage, place), self.stop, *often)

    def _stages(self) -> None:
        self.outputs.add_roles()
        arms = self.progress.arms
        start = arms.setdefault(SEPARATE, {})
        warm_ups = WarmUps(
            self.config, self.split, self.checkpoints, self.journal, self.progress, self._keeper, self.show_progress
        )
        for name, role in self.roles.items():
            if name not in start:
                start[name] = warm_ups.warmed_up(role, self.outputs.model_record(role))
                self._over()
        self.kept = {**start, **arms.get(DISTILLED, {})}
        if self.config.method_class is not None:
            for arm in (DISTILLED, *(arm for arm in (CONTINUED, PLACEBO) if arm in self.config["controls"])):
                if arm not in arms:
                    arms[arm] = self._trained_on(start, arm)
                    self._over()
        self.outputs.test(arms, self.journal, self.show_progress)

    def _over(self) -> None:
        """Keep the progress at the end of a stage, and stop if the user has asked for it."""
        self._keep(None, None)
        self.stop.check()

    def _trained_on(self, start: dict[str, Snapshot], arm: str) -> dict[str, Snapshot]:
        """Train one arm, and return the best state of every learner.

        Distillation and its controls start from the same states and see the same batches and negatives. Where no later
        state of a learner is better by validation, its best is the start, as of epoch -1.
        """
        for name, role in self.roles.items():
            restore_snapshot(role.model, start[name])
            role.earlier = start[name].earlier
            role.forget()
        init_seed(self.config["seed"], self.config["reproducibility"])
        distiller = build_distiller(self.config, self.split, self.roles, arm)
        for text in self.outputs.result["objective"][arm].values():
            logger.info("%s: %s", arm, text)
        # Seeding again after the method's own draws gives every method with these learners the same control.
        init_seed(self.config["seed"], self.config["reproducibility"])
        configs = {name: self.roles[name].config for name in distiller.learners}
        stream = batch_stream(configs, self.split, lambda name: self.roles[name].model)
        valid = {name: start[name].valid for name in distiller.learners}
        trainer = BDTrainer(self.config, distiller, self.journal, self._keeper(arm), valid)
        if (place := self.progress.resume_point(arm)) is not None:
            trainer.resume_from(place)
        try:
            trainer.fit(stream, self.split.valid_loader, show_progress=self.show_progress)
        finally:
            if arm == DISTILLED:
                self.kept |= trainer.best
        self.journal.write_metrics()
        return {name: trainer.best.get(name) or replace(start[name], epoch=-1) for name in distiller.learners}

    def _fail(self, error: Exception) -> None:
        """Write the results of a failed run; a second error, such as a full disk, does not hide the first."""
        try:
            self.outputs.close("failed", self.kept, self.journal, self._seconds, _one_line(error))
        except Exception as second:
            logger.error("the failed run cannot write its results: %s", second)

    def _interrupted(self, number: int) -> Interrupted:
        """Write that the user stopped the run, and make the error that says how to resume it."""
        self.outputs.close_interrupted(self.journal)
        name, where = signal.Signals(number).name, self.progress.reached()
        again = words_again(self.config.as_dict())
        how = f"recbole-bd run --resume={shlex.quote(str(self.folder))}{again}"
        return Interrupted(number, f"stopped by {name}; progress is saved up to {where}. To resume: {how}")

    def _seconds(self) -> float:
        return round(self.earlier_seconds + time.perf_counter() - self.started, 2)


def _other_data(folder: Path | None, config: BDConfig) -> CheckpointError:
    return CheckpointError(
        f"{folder} cannot resume: the data set {config['dataset']} or its split has changed in {config['data_path']}; "
        "name another folder with --data_path=DIR"
    )


def _one_line(error: Exception) -> str:
    """Describe an error in one line: its message, and before it the class if the error is not one of ours."""
    return str(error) if isinstance(error, BDError) else f"{type(error).__name__}: {' '.join(str(error).split())}"
