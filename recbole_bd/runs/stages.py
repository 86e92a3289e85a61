"""One run: its stages in order, and what it leaves."""

import json
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy
import torch
from recbole.utils import init_seed

from recbole_bd.backbones.checkpoint import load_warmup, save_model
from recbole_bd.backbones.names import CONTINUED, DISTILLED, SEPARATE
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import Snapshot, restore_snapshot
from recbole_bd.config.config import BDConfig
from recbole_bd.config.yaml_text import to_yaml
from recbole_bd.data.batches import batch_stream, train_loader
from recbole_bd.errors import BDError, CheckpointError, Interrupted
from recbole_bd.evaluator import rank_discrepancy, student_wins
from recbole_bd.evaluator.held_out_ranks import share_of_wins, test_ranks
from recbole_bd.evaluator.per_user import PerUser
from recbole_bd.model.base import Distiller
from recbole_bd.runs import plots
from recbole_bd.runs.folder import logging_to, machine, new_run_folder, peak_memory, versions
from recbole_bd.runs.hashes import changed_hashes, opening_record, warmup_hash
from recbole_bd.runs.prepare import _prepare, _read_checkpoint
from recbole_bd.runs.progress import Progress
from recbole_bd.system.atomic_write import write_atomically, write_whole
from recbole_bd.system.distributed import alone, group
from recbole_bd.system.locks import exclusively
from recbole_bd.system.signals import Stop
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.evaluation import evaluate
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.resumable import Keeper
from recbole_bd.trainer.role_trainer import warm_up

logger = logging.getLogger(__name__)


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
        warmed_up = so_far.arms.get(SEPARATE, {}) if so_far else {}
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
        self.folder = folder or own.broadcast(lambda: new_run_folder(config))
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
        start = arms.setdefault(SEPARATE, {})
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
            if group().broadcast(cache.is_file) and self._place_in(f"{SEPARATE} {role.name}") is None:
                return self._from_cache(role, cache)
            snapshot = self._trained_alone(role)
            record = {"validations": self.journal.of(SEPARATE, role.name)}
            record["warnings"] = self.journal.warnings_of(SEPARATE, role.name)
            if self.leads:
                save_model(cache, snapshot, {**self._about(role), **record})
        return snapshot

    def _from_cache(self, role: Role, cache: Path) -> Snapshot:
        with self.journal.timed(f"warmup_{role.name}"):
            snapshot, about = load_warmup(cache)
            restore_snapshot(role.model, snapshot, str(cache))
        validations, warnings = (
            [{**row, "role": role.name} for row in about[name]] for name in ("validations", "warnings")
        )
        self.journal.replay(validations, warnings)
        logger.info("%s: warm-up reused from %s", role.name, cache)
        return snapshot

    def _trained_alone(self, role: Role) -> Snapshot:
        init_seed(role.config["seed"], self.config["reproducibility"])
        loader, stage = train_loader(role.config, self.split), f"{SEPARATE} {role.name}"
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
            snapshot.valid = evaluate(role, self.split, self.split.valid_loader, self.journal, SEPARATE)
        self.journal.validation(SEPARATE, role.name, snapshot.epoch, snapshot.valid)
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
            trainer.resume_from(place)
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
        per_user = PerUser(self.split)
        for arm, snapshots in arms.items():
            for name, snapshot in snapshots.items():
                role = self.roles[name]
                restore_snapshot(role.model, snapshot)
                test = evaluate(
                    role, self.split, self.split.test_loader, self.journal, arm, self.show_progress, per_user
                )
                self.result[name][arm] = {"valid": snapshot.valid, "test": test, "best_epoch": snapshot.epoch}
                if arm != CONTINUED and len(self.roles) == 2 and self.leads:
                    ranks[arm, name] = test_ranks(role, self.split)
        if self.leads:
            with alone():  # the other processes are done
                self._leave_records(arms, ranks, per_user)

    def _leave_records(
        self,
        arms: dict[str, dict[str, Snapshot]],
        ranks: dict[tuple[str, str], torch.Tensor],
        per_user: PerUser,
    ) -> None:
        """Write what the test has shown beside its metrics."""
        per_user.write(self.folder / "per_user.npz")
        if ranks:
            # A role that does not learn is compared as its warm-up left it.
            self.result["student_wins"] = {
                arm: share_of_wins(*(ranks.get((arm, name), ranks[SEPARATE, name]) for name in ("student", "teacher")))
                for arm in (SEPARATE, DISTILLED)
            }
            self._leave_arrays("test_ranks.npz", student_wins.test_ranks_record(self.split, ranks))
            self._leave_arrays("discrepancy.npz", self._discrepancies(arms[SEPARATE]))

    def _discrepancies(self, start: dict[str, Snapshot]) -> dict[str, numpy.ndarray]:
        """Rank discrepancies before distillation, and draws; at the end, where nothing random comes after them."""
        began = time.perf_counter()
        for name, role in self.roles.items():
            restore_snapshot(role.model, start[name])
        sampler = self._distiller(control=False).sampler
        record = rank_discrepancy.count_discrepancies(self.roles, self.split, sampler, self.config["seed"])
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
