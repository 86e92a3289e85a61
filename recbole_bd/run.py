"""The pipeline of a run in order: settings, data, roles, warm-ups, distillation, control, test, records."""

import json
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy
import torch
from recbole.utils import init_seed

from recbole_bd import discrepancy, evaluation, plots, wins
from recbole_bd.atomic import claimed, exclusively, remove_torn_files, write_atomically, write_whole
from recbole_bd.checkpoint import Snapshot, load_model, load_warmup, restore_snapshot, save_model
from recbole_bd.config import BDConfig
from recbole_bd.data import Split, batch_stream, load_split, train_loader
from recbole_bd.distributed import alone, group, joined
from recbole_bd.errors import BDError, CheckpointError, ConfigError, Interrupted, InUseError, RunFolderError
from recbole_bd.folders import read_result
from recbole_bd.identity import changed_hashes, opening_record, role_configs, run_hashes, warmup_hash
from recbole_bd.journal import Journal
from recbole_bd.model import METHODS
from recbole_bd.model.base import Distiller
from recbole_bd.options import to_yaml
from recbole_bd.pausing import Keeper
from recbole_bd.progress import Progress, has_progress, no_progress, runs_of
from recbole_bd.role_trainer import WARMUP, warm_up
from recbole_bd.roles import Role, build_role
from recbole_bd.runfolder import logging_to, machine, new_run_folder, peak_memory, versions
from recbole_bd.stopping import Stop, stoppable
from recbole_bd.trainer import CONTINUED, DISTILLED, BDTrainer

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
            return _gone_on(Path(resume), given, stop, watch)
        config = BDConfig(*given, methods=METHODS)
        if resume is not None:
            for folder in own.of_first(lambda: _unfinished(config)):
                try:
                    return _gone_on(folder, given, stop, watch, is_named=False)
                except InUseError as error:
                    if own.size > 1:
                        raise
                    logger.warning("%s", error)
        run = _Run(config, stop, watch)
        with _claimed(run.folder):
            return run.execute()


def _unfinished(config: BDConfig) -> list[Path]:
    """Runs of these settings to go on with, or to take the result of, the newest first."""
    found = runs_of(run_hashes(config)["config"], Path(config["checkpoint_dir"]))
    # Others were stopped before there was anything to keep.
    return [folder for folder, status in found if status == "finished" or has_progress(folder)]


def _claimed(folder: Path) -> AbstractContextManager[None]:
    """Keep others out of a run folder; of several processes of one run, the first does."""
    return claimed(folder) if group().is_first else nullcontext()


def _gone_on(
    folder: Path,
    given: tuple,
    stop: Stop,
    watch: Callable[[dict[str, Any]], None] | None,
    is_named: bool = True,
) -> dict[str, Any]:
    """The result of the run in a folder, after what is left of it was done.

    Args:
        folder: the run folder.
        given: the arguments of `run_bd` before `resume`.
        stop: whether the user wants it to stop.
        watch: see `run_bd`.
        is_named: the user named the folder; else it was found by its settings, which are those that are given.
    """
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is no run folder: there is no such folder")
    if not (folder / "result.json").is_file() and not has_progress(folder):
        raise no_progress(folder)  # before a lock is left in a folder that is none of ours
    with _claimed(folder):
        result = read_result(folder) if (folder / "result.json").is_file() else {}
        if result.get("status") == "finished":
            if any(given) and is_named:
                _, changes = _settings_on(folder, given, Progress.load(folder))
                if changes:
                    raise ConfigError(
                        "{} has finished with {setting}={before!r} and is trained no further with {now!r}; begin a new "
                        "run".format(folder, **changes[0])
                    )
            logger.warning("%s has finished already; nothing is left to do", folder)
            return result
        so_far = Progress.load(folder)
        if group().is_first:
            remove_torn_files(folder)
        config, changes = _settings_on(folder, given, so_far)
        return _Run(config, stop, watch, folder, so_far, changes).execute()


def _settings_on(folder: Path, given: tuple, so_far: Progress) -> tuple[BDConfig, list[dict[str, Any]]]:
    """A run's own settings with what is given above them, and what that changes.

    Raises:
        ConfigError: what must stay as it is would change.
    """
    model, dataset, config_files, config_dict, command_line = given
    so_far.check_models({"model": model, "dataset": dataset, **(config_dict or {}), **(command_line or {})}, folder)
    own = folder / "config.yaml"
    files = [*([own] if own.is_file() else []), *(config_files or ())]
    base = {} if own.is_file() else so_far.settings
    config = BDConfig(model, dataset, files, {**base, **(config_dict or {})}, command_line, methods=METHODS)
    return config, so_far.check_settings(config.as_dict(), config["device"].type, folder)


def describe(config: BDConfig) -> str:
    """What a run would do, after loading the data and building its roles, as text.

    Args:
        config: settings of the run.

    Returns:
        The resolved settings as YAML, the data, each role's size, and an estimate of memory in MiB.

    Raises:
        BDError: whatever the user can mend, in one line.
    """
    split, roles = _prepare(config)
    for role in roles.values():
        if role.config["checkpoint"]:
            _read_checkpoint(role, split)
    users, items = split.n_users, split.n_items
    lines = ["resolved configuration:", to_yaml(config.as_dict()).rstrip()]
    lines += ["", f"data: {json.dumps(split.statistics())}", f"device: {config['device']}"]
    parameters = 0
    for role in roles.values():
        parameters += role.parameter_count
        lines.append(f"{role.name}: {role.config['model']}, {role.parameter_count:,} parameters")
    # Weights, gradients and Adam's two moments, best states; scores of one evaluation batch and RecBole's masks of it.
    batch_users = max(config["eval_batch_size"] // items, 1)
    scores = min(batch_users, users) * items
    samples = len(split.train) * (config["samples_per_positive"] or 0) * (config["refresh_period"] or 0)
    estimate = 300e6 + parameters * 4 * 6 + scores * 4 * 4 + samples * 2 * 8
    lines.append(f"estimated memory: {estimate / 2**20:,.0f} MiB (about 300 of it are Python and torch)")
    return "\n".join(lines)


def _prepare(config: BDConfig) -> tuple[Split, dict[str, Role]]:
    """Everything that can fail on bad input, before anything is written."""
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    split = load_split(config)
    roles = {}
    for name, role_config in role_configs(config).items():
        init_seed(role_config["seed"], config["reproducibility"])
        roles[name] = build_role(name, role_config, split.train)
    if config.method_class is not None:
        try:
            config.method_class(config, split.train, roles)  # refuses options that contradict each other or the models
        except (RuntimeError, MemoryError) as error:
            problem = str(error).split("\n")[0] or "no memory is left"
            raise ConfigError(f"{config['model']} cannot be built with these settings: {problem}") from error
    return split, roles


def _read_checkpoint(role: Role, split: Split) -> Snapshot:
    path = role.config["checkpoint"]
    snapshot, about = load_model(path)
    if about.get("fingerprint", split.fingerprint) != split.fingerprint:
        raise CheckpointError(f"checkpoint {path} was trained on other data or another split ({about['dataset']})")
    for key in ("model", "dataset"):
        if about.get(key, role.config[key]) != role.config[key]:
            raise CheckpointError(
                f"checkpoint {path} is of {key} {about[key]}, this run's {role.name} of {role.config[key]}"
            )
    restore_snapshot(role.model, snapshot, f"checkpoint {path}")
    return snapshot


class _Run:
    """One run: its settings, its folder, and what it has found so far.

    Args:
        config: settings of the run.
        stop: whether the user wants it to stop.
        watch: see `run_bd`.
        folder, so_far, changes: of a run that goes on; a new one makes its folder.
    """

    def __init__(
        self,
        config: BDConfig,
        stop: Stop,
        watch: Callable[[dict[str, Any]], None] | None = None,
        folder: Path | None = None,
        so_far: Progress | None = None,
        changes: Sequence[dict[str, Any]] = (),
    ):
        self.config, self.stop, self.watch = config, stop, watch
        self.started = time.perf_counter()
        self.split, self.roles = _prepare(config)
        warmed_up = so_far.arms.get(WARMUP, {}) if so_far else {}
        given = [role for role in self.roles.values() if role.config["checkpoint"] and role.name not in warmed_up]
        self.checkpoints = {role.name: _read_checkpoint(role, self.split) for role in given}
        own = group()
        self.leads = own.is_first  # of several processes the first leaves what a run leaves
        self.show_progress = bool(config["show_progress"]) and sys.stderr.isatty() and self.leads
        if so_far is None:
            record = opening_record(config, "running")
            so_far = Progress(record, config.as_dict(), config["device"].type, self.split.fingerprint)
        elif so_far.fingerprint != self.split.fingerprint:
            raise CheckpointError(f"{folder} cannot go on: its data set {config['dataset']}, or the split, has changed")
        self.is_new, self.changes = folder is None, list(changes)
        self.so_far = so_far
        self.earlier_seconds = so_far.seconds
        self.folder = folder or own.of_first(lambda: new_run_folder(config))
        self.kept: dict[str, Snapshot] = {}

    def execute(self) -> dict[str, Any]:
        """Run every stage that is not over, and leave the records."""
        logged = logging_to(self.folder / "run.log", self.config, self.show_progress) if self.leads else nullcontext()
        with logged:
            self._open()
            try:
                self._stages()
                self._leave("finished")
            except Interrupted as error:
                raise self._interrupted(error.signal) from error
            except BDError as error:
                self._fail(error)
                raise
            logger.info("finished in %.0f s; everything is in %s", self.result["timing"]["total_s"], self.folder)
        return self.result

    def _open(self) -> None:
        """Write what the run is before it does anything, or say from where it goes on."""
        record = self.so_far.record
        if self.changes:
            self.so_far.changes += self.changes
            record = self.so_far.record = {**record, "hashes": changed_hashes(record["hashes"], self.changes)}
            record["config_hash"] = record["hashes"]["config"]
            self.so_far.settings = self.config.as_dict()
        self.result: dict[str, Any] = {
            **record,
            **({"changes": self.so_far.changes} if self.so_far.changes else {}),
            "data": self.split.statistics(),
            "run_folder": str(self.folder),
            "pid": os.getpid(),
            "versions": versions(),
            "machine": machine(self.config),
        }
        self.journal = Journal(self.folder if self.leads else None, self.watch if self.leads else None)
        if self.so_far.journal:
            self.journal.load_state_dict(self.so_far.journal)
        if self.is_new or self.changes:
            if self.leads:
                write_whole(self.folder / "config.yaml", to_yaml(self.config.as_dict()))
            self.so_far.journal = self.journal.state_dict()
            if self.leads:
                self.so_far.save(self.folder)
        self._write_result()
        if self.is_new:
            logger.info("run folder %s, device %s", self.folder, self.config["device"])
        else:
            logger.info("%s goes on after %s", self.folder, self.so_far.reached())
        for change in self.changes:
            logger.info("changed: %(setting)s is %(now)r from here on, it was %(before)r", change)
        logger.info("data: %s", self.result["data"])

    def _keep(self, stage: str | None, place: dict[str, Any] | None) -> None:
        """Write how far the run is."""
        if not self.leads:
            return
        self.so_far.stage, self.so_far.place = stage, place
        self.so_far.journal = self.journal.state_dict()
        self.so_far.seconds = self._seconds()
        self.so_far.save(self.folder)

    def _keeper(self, stage: str) -> Keeper:
        return Keeper(lambda place: self._keep(stage, place), self.stop, self.config["checkpoint_every"])

    def _place_in(self, stage: str) -> dict[str, Any] | None:
        return self.so_far.place if self.so_far.stage == stage else None

    # --- stages ----------------------------------------------------------------------------------------------------
    def _stages(self) -> None:
        for name, role in self.roles.items():
            seed = role.config["seed"]
            apart = (
                f"; with its teacher's very settings it begins from seed {seed}" if seed != self.config["seed"] else ""
            )
            logger.info("%s: %s, %s parameters%s", name, role.config["model"], f"{role.parameter_count:,}", apart)
            self.result[name] = {"model": role.config["model"], "parameters": role.parameter_count}
        arms = self.so_far.arms
        start = arms.setdefault(WARMUP, {})
        for name, role in self.roles.items():
            if name not in start:
                start[name] = self._warmed_up(role)
                self._over()
        self.kept = {**start, **arms.get(DISTILLED, {})}
        if self.config.method_class is not None:
            for arm in (DISTILLED, CONTINUED) if self.config["control"] else (DISTILLED,):
                if arm not in arms:
                    arms[arm] = self._trained_on(start, arm)
                    self._over()
        self._test(arms)

    def _over(self) -> None:
        """A stage is over."""
        self._keep(None, None)
        self.stop.check()

    def _warmed_up(self, role: Role) -> Snapshot:
        """The best state of a role alone: from its checkpoint, from the cache, or trained now by RecBole's Trainer."""
        if role.name in self.checkpoints:
            return self._from_checkpoint(role)
        if not self.config["warmup_cache"]:
            return self._trained_alone(role)
        name = warmup_hash(role.config, self.split.fingerprint)
        cache = Path(self.config["checkpoint_dir"]) / "warmup" / f"{name}.pth"
        # Runs side by side that need the same warm-up: one trains it, the others wait for it.
        lock = cache.with_suffix(".lock")
        with exclusively(lock, f"warm-up of the {role.name}") if self.leads else nullcontext():
            if group().of_first(cache.is_file) and self._place_in(f"{WARMUP} {role.name}") is None:
                return self._from_cache(role, cache)
            snapshot = self._trained_alone(role)
            record = {"validations": self.journal.of(WARMUP, role.name)}
            record["warnings"] = self.journal.warnings_of(WARMUP, role.name)
            if self.leads:
                save_model(cache, snapshot, {**self._about(role), **record})
        return snapshot

    def _from_cache(self, role: Role, cache: Path) -> Snapshot:
        with self.journal.timed(f"warmup_{role.name}"):
            snapshot, about = load_warmup(cache)
            restore_snapshot(role.model, snapshot, str(cache))
        self.journal.replay([{**row, "role": role.name} for row in about["validations"]])
        for one in about["warnings"]:
            self.journal.warn(**{**one, "role": role.name})
        logger.info("%s: warm-up reused from %s", role.name, cache)
        return snapshot

    def _trained_alone(self, role: Role) -> Snapshot:
        init_seed(role.config["seed"], self.config["reproducibility"])
        loader, stage = train_loader(role.config, self.split), f"{WARMUP} {role.name}"
        with self.journal.timed(f"warmup_{role.name}"):
            snapshot = warm_up(
                role,
                loader,
                self.split.valid_loader,
                self.journal,
                self.show_progress,
                self._keeper(stage),
                self._place_in(stage),
            )
        self.journal.write_metrics()
        return snapshot

    def _from_checkpoint(self, role: Role) -> Snapshot:
        snapshot = self.checkpoints[role.name]
        with self.journal.timed(f"warmup_{role.name}"):
            restore_snapshot(role.model, snapshot)
            snapshot.valid = evaluation.evaluate(role, self.split, self.split.valid_loader, self.journal, WARMUP)
        self.journal.validation(WARMUP, role.name, snapshot.epoch, snapshot.valid)
        logger.info("%s: starts from %s", role.name, role.config["checkpoint"])
        return snapshot

    def _distiller(self, control: bool) -> Distiller:
        return self.config.method_class(self.config, self.split.train, self.roles, control=control).to(
            self.config["device"]
        )

    def _trained_on(self, start: dict[str, Snapshot], arm: str) -> dict[str, Snapshot]:
        """Every learner after the distillation stage or its control, from the same states, batches and negatives."""
        control = arm == CONTINUED
        for name, role in self.roles.items():
            restore_snapshot(role.model, start[name])
            role.forget()
        init_seed(self.config["seed"], self.config["reproducibility"])
        distiller = self._distiller(control)
        # Whatever the method drew for itself: the control is the same beside every method with these learners.
        init_seed(self.config["seed"], self.config["reproducibility"])
        configs = {name: self.roles[name].config for name in distiller.learners}
        stream = batch_stream(configs, self.split, lambda name: self.roles[name].model)
        trainer = BDTrainer(self.config, distiller, self.journal, self._keeper(arm))
        if (place := self._place_in(arm)) is not None:
            trainer.take_up(place)
        try:
            trainer.fit(stream, self.split.valid_loader, show_progress=self.show_progress)
        finally:
            if not control:
                self.kept |= trainer.best
        self.journal.write_metrics()
        return {name: trainer.best.get(name, start[name]) for name in distiller.learners}

    def _test(self, arms: dict[str, dict[str, Snapshot]]) -> None:
        """Read the test part, once, from each role's best state of each arm."""
        # Models that score with noise: not by what was drawn before, which a warm-up from the cache did not.
        init_seed(self.config["seed"], self.config["reproducibility"])
        ranks: dict[tuple[str, str], torch.Tensor] = {}
        per_user = evaluation.PerUser(self.split)
        for arm, snapshots in arms.items():
            for name, snapshot in snapshots.items():
                role = self.roles[name]
                restore_snapshot(role.model, snapshot)
                test = evaluation.evaluate(
                    role, self.split, self.split.test_loader, self.journal, arm, self.show_progress, per_user
                )
                self.result[name][arm] = {"valid": snapshot.valid, "test": test, "best_epoch": snapshot.epoch}
                if arm != CONTINUED and len(self.roles) == 2 and self.leads:
                    ranks[arm, name] = evaluation.test_ranks(role, self.split)
        if self.leads:
            with alone():  # the other processes are done
                self._leave_records(arms, ranks, per_user)

    def _leave_records(
        self,
        arms: dict[str, dict[str, Snapshot]],
        ranks: dict[tuple[str, str], torch.Tensor],
        per_user: evaluation.PerUser,
    ) -> None:
        """Write what the test has shown beside its metrics."""
        per_user.write(self.folder / "per_user.npz")
        if ranks:
            # A role that does not learn is compared as its warm-up left it.
            self.result["student_wins"] = {
                arm: evaluation.share_of_wins(
                    *(ranks.get((arm, name), ranks[WARMUP, name]) for name in ("student", "teacher"))
                )
                for arm in (WARMUP, DISTILLED)
            }
            self._leave_arrays("test_ranks.npz", wins.test_ranks_record(self.split, ranks))
            self._leave_arrays("discrepancy.npz", self._discrepancies(arms[WARMUP]))

    def _discrepancies(self, start: dict[str, Snapshot]) -> dict[str, numpy.ndarray]:
        """Rank discrepancies before distillation, and draws; at the end, where nothing random comes after them."""
        began = time.perf_counter()
        for name, role in self.roles.items():
            restore_snapshot(role.model, start[name])
        sampler = self._distiller(control=False).sampler
        record = discrepancy.count_discrepancies(self.roles, self.split, sampler, self.config["seed"])
        seconds, users = time.perf_counter() - began, len(record["user"])
        logger.info("rank discrepancies of %d users counted in %.1f s", users, seconds)
        return record

    def _leave_arrays(self, name: str, arrays: dict[str, numpy.ndarray]) -> None:
        """Write plain arrays, which `numpy.load(path, allow_pickle=False)` reads, into the run folder."""
        named: dict[str, Any] = arrays
        write_atomically(self.folder / name, lambda stream: numpy.savez_compressed(stream, **named))

    # --- records -----------------------------------------------------------------------------------------------------
    def _leave(self, status: str, error: str | None = None) -> None:
        """Write everything the run leaves: models, metrics, pictures, and last the result that vouches for them."""
        seconds = self.journal.seconds
        self.result["timing"] = {
            **{f"warmup_{name}_s": sum(seconds.get(f"warmup_{name}", [])) for name in self.roles},
            "distill_epoch_s": seconds.get("distill_epoch", []),
            "control_epoch_s": seconds.get("control_epoch", []),
            "refresh_s": seconds.get("refresh", []),
            "eval_s": seconds.get("eval", []),
            "total_s": self._seconds(),
        }
        self.result["warnings"] = self.journal.warnings
        self.result["peak_rss_mb"] = peak_memory()
        self.result["status"] = status
        if error:
            self.result["error"] = error
        if not self.leads:
            return
        for name, snapshot in self.kept.items():
            save_model(self.folder / f"{name}.pth", snapshot, self._about(self.roles[name]))
        if status == "finished":
            plots.draw(self.folder, self.result, self.journal.validations)
        self.journal.close()
        self._write_result()

    def _fail(self, error: BDError) -> None:
        """Leave what can be left; an error on the way (the disk is full) does not hide the first one."""
        try:
            self._leave("failed", error=str(error))
        except BDError as second:
            logger.error("the failed run cannot leave its records: %s", second)

    def _interrupted(self, number: int) -> Interrupted:
        """Note that the user stopped the run, and say how to go on."""
        self.result["status"] = "interrupted"
        self.journal.close()
        self._write_result()
        name, where = signal.Signals(number).name, self.so_far.reached()
        how = f"recbole-bd run --resume={shlex.quote(str(self.folder))}"
        return Interrupted(number, f"stopped by {name}; everything until {where} is kept. To go on: {how}")

    def _seconds(self) -> float:
        return round(self.earlier_seconds + time.perf_counter() - self.started, 2)

    def _write_result(self) -> None:
        if self.leads:
            write_whole(self.folder / "result.json", json.dumps(self.result, indent=2, ensure_ascii=False))

    def _about(self, role: Role) -> dict[str, Any]:
        return {
            "model": role.config["model"],
            "role": role.name,
            "method": self.config["model"],
            "dataset": self.config["dataset"],
            "fingerprint": self.split.fingerprint,
            "settings": self.config.as_dict(),
        }
