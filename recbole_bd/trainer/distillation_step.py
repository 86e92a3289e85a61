"""One training step of the distillation, and who takes part in it."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from recbole_bd.data.batches import Batch
from recbole_bd.model.base import Distiller
from recbole_bd.system.distributed import group, per_process_rng, with_gradient_all_reduce
from recbole_bd.trainer.captured_step import CapturedSteps, cuda_steps, may_capture
from recbole_bd.trainer.epoch_losses import EpochLosses
from recbole_bd.trainer.training_step import TrainingStep


class DistillationStep:
    """Updates every learner from one batch.

    With several processes, each process computes the loss of its share of the rows and the gradients are summed.
    Roles whose loss is no mean over rows are computed in full by every process.

    Args:
        model: the method with its two roles.
        trainers: RecBole's trainer of each learner, by role.
        device: device of the models.
        autocast: whether the losses are computed in mixed precision.

    Attributes:
        shared_roles: roles whose batches the processes share.
        captured: runs steps as CUDA graphs; None where they are not captured.
    """

    def __init__(self, model: Distiller, trainers: Mapping[str, Any], device: torch.device, autocast: bool):
        self.model, self.trainers = model, trainers
        shares = group().size > 1 and (model.shares_batches or model.control)
        self.shared_roles = {name for name in trainers if shares and model.roles[name].shares_batches}
        self._step = TrainingStep(self._losses, trainers, device, autocast, model.step)
        self.captured: CapturedSteps | None = None
        if may_capture(trainers.values(), model.roles.values()):
            self.captured = cuda_steps(self._step.run, model.generators(), trainers)

    def learning(self, roles: Iterable[str]) -> list[str]:
        """The given roles whose turn it is and that do not rest, in the given order."""
        return [name for name in roles if name in self.trainers and self.model.is_learning(name)]

    def epoch(self) -> AbstractContextManager:
        """Scope of an epoch's steps."""
        return nullcontext() if self.captured is None else self.captured.epoch()

    def update(self, batch: Batch, losses: Mapping[str, EpochLosses]) -> None:
        """Update each learning role of the batch once; all losses are computed before the first update.

        Args:
            batch: a batch on the models' device.
            losses: receives the loss parts, by role.

        Raises:
            TrainingError: a loss is not finite.
        """
        learning = [name for name in self.learning(batch.roles) if not self.model.pauses(name, batch)]
        kind = None if self.captured is None else self.model.kind_of_step(batch)
        if kind is None or self.captured is None:
            self._step.run(batch, learning, lambda name, parts: losses[name].add(parts))
        else:
            self.captured.update(batch, learning, losses, kind)

    def _losses(self, name: str, batch: Batch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The loss parts of a role and their sum; for shared roles, this process's share, weighted."""
        if name not in self.shared_roles:
            parts = self.model.loss(name, batch)
            return parts, torch.stack([*parts.values()]).sum()
        share, row_weight, user_weight = batch.share(group())
        with per_process_rng():
            parts = self.model.loss(name, share)
        parts = {part: loss * (row_weight if part == "cf" else user_weight) for part, loss in parts.items()}
        trainer = self.trainers[name]
        learned = [*trainer.model.parameters(), *trainer.beside]
        return parts, with_gradient_all_reduce(torch.stack([*parts.values()]).sum(), learned)
