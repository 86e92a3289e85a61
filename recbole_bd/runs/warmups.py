"""Warm-ups of a run: the best state of each role alone, from which distillation and its control start."""

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole.utils import init_seed

from recbole_bd.backbones.checkpoint import load_warmup, save_model
from recbole_bd.backbones.names import SEPARATE
from recbole_bd.backbones.recorded_split import check_validation
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import Snapshot, chosen_states, restore_snapshot
from recbole_bd.config.config import BDConfig
from recbole_bd.data.batches import train_loader
from recbole_bd.data.split import Split
from recbole_bd.errors import CheckpointError
from recbole_bd.runs.hashes import own_split_seed, warmup_hash
from recbole_bd.runs.other_columns import fingerprint_of_role
from recbole_bd.runs.prepare import kept_states
from recbole_bd.runs.progress import Progress
from recbole_bd.system.distributed import group
from recbole_bd.system.locks import exclusively
from recbole_bd.trainer.evaluation import evaluate
from recbole_bd.trainer.journal import ROWS, Journal
from recbole_bd.trainer.resumable import Keeper
from recbole_bd.trainer.role_trainer import warm_up

logger = logging.getLogger(__name__)


@dataclass
class WarmUps:
    """Warm-ups of one run.

    Attributes:
        config: settings of the run.
        split: its data.
        checkpoints: the given start states by role, see `read_checkpoint`.
        journal: record of the run.
        progress: progress of the run, which may hold a resume point within a warm-up.
        keeper: makes the keeper of resume points of a stage.
        show_progress: whether to draw progress bars.
    """

    config: BDConfig
    split: Split
    checkpoints: Mapping[str, Snapshot]
    journal: Journal
    progress: Progress
    keeper: Callable[[str], Keeper]
    show_progress: bool

    def warmed_up(self, role: Role, model_record: dict[str, Any]) -> Snapshot:
        """Return the best state of a role alone: from a checkpoint, from the cache, or trained by RecBole's Trainer.

        A warm-up that was resumed with changed settings is not kept in the cache: no settings give it again.

        Args:
            role: the role; its model has this state afterwards.
            model_record: metadata for the model's file in the cache.

        Raises:
            BDError: training fails, or the cache cannot be read or written.
        """
        if role.name in self.checkpoints:
            return self._from_checkpoint(role)
        if not self.config["warmup_cache"]:
            return self._trained_alone(role)
        fingerprint = fingerprint_of_role(role.config, self.split)
        name = warmup_hash(role.config, fingerprint, split_seed=own_split_seed(self.config))
        folder, wanted = Path(self.config["checkpoint_dir"]) / "warmup", kept_states(self.config, role.name)
        # States before the best depend on their number, so they are kept in a file of their own.
        cache = folder / (f"{name}.pth" if wanted == 1 else f"{name}-{wanted}.pth")
        # Concurrent runs that need the same warm-up: one trains it, the others wait for it.
        lock = folder / f"{name}.lock"
        with exclusively(lock, f"warm-up of the {role.name}") if group().is_first else nullcontext():
            kept = group().broadcast(lambda: _kept(cache, wanted))
            if kept and self.progress.resume_point(f"{SEPARATE} {role.name}") is None:
                return self._from_cache(role, kept)
            snapshot = self._trained_alone(role)
            if group().is_first and not self.progress.changes:
                save_model(cache, snapshot, {**model_record, **self.journal.rows_of(SEPARATE, role.name)})
        return snapshot

    def _chosen(self, role: Role, snapshot: Snapshot) -> list[dict[str, Any]]:
        """As many of a file's earlier states as the method asks for."""
        return chosen_states(snapshot, kept_states(self.config, role.name))

    def _from_cache(self, role: Role, cache: Path) -> Snapshot:
        with self.journal.timed(f"warmup_{role.name}"):
            snapshot, about = load_warmup(cache)
            if about["fingerprint"] != self.split.fingerprint:
                raise CheckpointError(f"{cache} is a warm-up on other data. Delete it to train the warm-up again")
            restore_snapshot(role.model, snapshot, str(cache))
            snapshot.earlier = self._chosen(role, snapshot)
        rows = {name: [{**row, "role": role.name} for row in about.get(name, ())] for name in ROWS}
        self.journal.replay(rows)
        logger.info("%s: warm-up reused from %s", role.name, cache)
        return snapshot

    def _trained_alone(self, role: Role) -> Snapshot:
        init_seed(role.config["seed"], self.config["reproducibility"])
        loader, stage = train_loader(role.config, self.split), f"{SEPARATE} {role.name}"
        with self.journal.timed(f"warmup_{role.name}"):
            keeper, resume_point = self.keeper(stage), self.progress.resume_point(stage)
            valid_loader, wanted = self.split.valid_loader, kept_states(self.config, role.name)
            snapshot = warm_up(
                role, loader, valid_loader, self.journal, self.show_progress, keeper, resume_point, wanted
            )
        self.journal.write_metrics()
        return snapshot

    def _from_checkpoint(self, role: Role) -> Snapshot:
        snapshot, path = self.checkpoints[role.name], role.config["checkpoint"]
        snapshot.earlier = self._chosen(role, snapshot)
        recorded = snapshot.valid
        with self.journal.timed(f"warmup_{role.name}"):
            restore_snapshot(role.model, snapshot)
            snapshot.valid = evaluate(role, self.split, self.split.valid_loader, self.journal, SEPARATE)
        check_validation(f"checkpoint {path}", recorded, snapshot.valid, role.name)
        self.journal.validation(SEPARATE, role.name, snapshot.epoch, snapshot.valid)
        logger.info("%s: starts from %s", role.name, path)
        return snapshot


def _kept(cache: Path, wanted: int) -> Path | None:
    """The file that holds a warm-up. Where its best state is all that is wanted, one with more states serves too."""
    others = sorted(cache.parent.glob(f"{cache.stem}-*.pth")) if wanted == 1 else []
    return next((path for path in (cache, *others) if path.is_file()), None)
