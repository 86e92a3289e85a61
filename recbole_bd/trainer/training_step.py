"""One training step of one role or of several: their losses, then their backward passes and updates."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch.nn.utils.clip_grad import clip_grad_norm_

from recbole_bd.backbones.traits import traits_of
from recbole_bd.data.batches import Batch
from recbole_bd.system.distributed import group
from recbole_bd.system.threads import one_thread, side_by_side

# Loss parts by role: scalars by name, which add up to the role's loss.
Parts = dict[str, dict[str, torch.Tensor]]


class TrainingStep:
    """Updates roles from one batch; all losses are computed before the first update.

    Two roles of short steps share two CPU threads, if there are as many: one role's backward pass runs beside the
    other's loss and backward pass, and their updates side by side. The numbers are those of one thread.

    Args:
        loss: gives the loss parts of a role on a batch, and the loss of which the gradient is taken.
        trainers: RecBole's trainer of each role, whose optimizer, scaler and clipping are used.
        device: device of the models.
        autocast: whether the losses are computed in mixed precision.
        scope: makes the context in which a step's losses are computed.
    """

    def __init__(
        self,
        loss: Callable[[str, Batch], tuple[dict[str, torch.Tensor], torch.Tensor]],
        trainers: Mapping[str, Any],
        device: torch.device,
        autocast: bool,
        scope: Callable[[], AbstractContextManager] = nullcontext,
    ):
        self.loss, self.trainers, self.device, self.autocast, self.scope = loss, trainers, device, autocast, scope
        self._short_steps = {name: traits_of(one.role.model).short_steps for name, one in trainers.items()}

    def run(
        self, batch: Batch, roles: Sequence[str], record: Callable[[str, dict[str, torch.Tensor]], None] | None = None
    ) -> Parts:
        """Update some roles once.

        Args:
            batch: a batch on the models' device.
            roles: roles to update.
            record: receives each role's loss parts before its backward pass.

        Returns:
            The loss parts.
        """
        parts: Parts = {}
        with side_by_side(self._share_threads(roles)) as start:
            with self._on_device(), self.scope():
                for name in roles:
                    parts[name], total = self._losses(name, batch)
                    if record:
                        record(name, parts[name])
                    start(partial(self._backward, name, total), name == roles[-1])
            for name in roles:
                start(partial(self._update, name), name == roles[-1])
        return parts

    def _losses(self, name: str, batch: Batch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Compute a role's loss parts and the loss of which the gradient is taken."""
        # Casts of weights are not kept, so that a captured step holds them.
        cast = torch.autocast(self.device.type, enabled=self.autocast, cache_enabled=self.device.type == "cpu")
        with cast, self._threads(name):
            return self.loss(name, batch)

    def _share_threads(self, roles: Sequence[str]) -> bool:
        """Whether two roles take a step side by side."""
        can = self.device.type == "cpu" and torch.get_num_threads() > 1 and group().size == 1
        return can and len(roles) > 1 and all(self._short_steps[name] for name in roles)

    def _backward(self, name: str, total: torch.Tensor) -> None:
        """Compute a role's gradients."""
        with self._threads(name):
            self.trainers[name].optimizer.zero_grad()
            self.trainers[name].scaler.scale(total).backward()

    def _update(self, name: str) -> None:
        """Update a role by its gradients."""
        with self._threads(name):
            _step(self.trainers[name])

    def _threads(self, name: str) -> AbstractContextManager:
        """The CPU threads of a role's part of the step."""
        return one_thread(self._short_steps[name])

    def _on_device(self) -> AbstractContextManager:
        """Let RecBole's losses make their first zero on the GPU: a copy of one waits for the GPU."""
        return self.device if self.device.type == "cuda" else nullcontext()


def _step(trainer: Any) -> None:
    """Update a role by its gradients; where these are scaled and one is not finite, the scale is lowered instead."""
    if trainer.clip_grad_norm:
        trainer.scaler.unscale_(trainer.optimizer)  # the largest norm is one of gradients, not of scaled ones
        clip_grad_norm_([*trainer.model.parameters(), *trainer.beside], **trainer.clip_grad_norm)
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
