"""Schedules of the weight of distillation over the epochs of its stage."""

import math

CONSTANT, LINEAR, DECAY = SCHEDULES = ("constant", "linear", "decay")


def share_of_weight(schedule: str, epoch: int, warmup_epochs: int, decay_epochs: float) -> float:
    """Share of the full weight in an epoch.

    `constant`: 1
    `linear`: min(1, (epoch + 1) / warmup_epochs)
    `decay`: exp(-epoch / decay_epochs)   (CCD, KDD 2024)

    Args:
        schedule: one of `SCHEDULES`.
        epoch: of the distillation stage, from 0.
        warmup_epochs: epochs until the linear schedule reaches 1.
        decay_epochs: epochs in which `decay` falls by the factor e.

    Raises:
        ValueError: unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r}: must be one of {', '.join(SCHEDULES)}")
    if schedule == LINEAR:
        return min(1.0, (epoch + 1) / warmup_epochs)
    return math.exp(-epoch / decay_epochs) if schedule == DECAY else 1.0
