"""Steps of one role by its own loss alone, captured as CUDA graphs."""

from collections.abc import Iterable
from typing import Any

import torch
from tqdm import tqdm

from recbole_bd.data.batches import Batch
from recbole_bd.trainer.captured_step import CapturedSteps, cuda_steps, may_capture
from recbole_bd.trainer.training_step import TrainingStep


def steps_alone(trainer: Any) -> CapturedSteps | None:
    """Make the steps of a warm-up.

    Args:
        trainer: see `role_trainer`.

    Returns:
        None where they cannot be captured.
    """
    role = trainer.role
    if not may_capture([trainer], [role]):
        return None

    def loss(name: str, batch: Batch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        parts = role.parts_of_loss(batch.interaction)
        if isinstance(parts, tuple) and len(parts) > 1:
            return {f"loss{i}": part for i, part in enumerate(parts)}, torch.stack([*parts]).sum()
        total = parts[0] if isinstance(parts, tuple) else parts
        return {"cf": total}, total

    step = TrainingStep(loss, {role.name: trainer}, trainer.device, trainer.enable_amp)
    return cuda_steps(step.run, [], {role.name: trainer})


def train_alone(trainer: Any, batches: Iterable, show_progress: bool) -> None:
    """Train an epoch of a warm-up by captured steps.

    Args:
        trainer: see `role_trainer`; it has captured steps.
        batches: interactions of RecBole's loader.
        show_progress: whether to draw a progress bar.

    Raises:
        TrainingError: a loss is not finite.
    """
    name = trainer.role.name
    trainer.model.train()
    with trainer.captured.epoch():
        for interaction in tqdm(batches, desc=f"{name} {trainer.epoch:>5}", disable=not show_progress):
            own = interaction.to(trainer.device)
            batch = Batch((name,), own, own[trainer.model.USER_ID], None)
            trainer.captured.update(batch, (name,), {name: trainer.losses}, "alone")
