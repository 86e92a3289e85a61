"""Sums of the loss parts of an epoch, kept on the device."""

from typing import Any

import torch

from recbole_bd.errors import TrainingError
from recbole_bd.system.distributed import group


class EpochLosses:
    """Sums of one role's loss parts over an epoch; a loss that is not finite stops the run.

    On a CPU every step is checked at once. On another device a check waits for the device, so that the latest 50 steps
    are checked together. The error names the first bad step in either case.

    Args:
        role, arm, epoch: named in the error.
        device: device of the losses.
        remedy: the advice at the end of the error.
        is_shared: whether the losses are weighted shares of several processes, which are summed by all-reduce.
    """

    def __init__(
        self,
        role: str,
        arm: str,
        epoch: int,
        device: torch.device,
        remedy: str = "lower the learning rate",
        is_shared: bool = False,
    ):
        self.role, self.arm, self.epoch, self.remedy = role, arm, epoch, remedy
        self.steps, self._is_shared = 0, is_shared
        self._device, self._every = device, 1 if device.type == "cpu" else 50
        self._sums: dict[str, torch.Tensor] = {}
        self._unchecked: list[dict[str, torch.Tensor]] = []

    def add(self, parts: dict[str, torch.Tensor]) -> None:
        """Add the loss parts of one step; call it before the update.

        Raises:
            TrainingError: a loss is not finite; names role, arm, epoch, step and the loss parts.
        """
        parts = {name: value.detach() for name, value in parts.items()}
        if self._is_shared:
            values = group().all_reduce(torch.stack([value.reshape(()) for value in parts.values()]))
            parts = dict(zip(parts, values, strict=True))
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self.steps += 1
        self._unchecked.append(parts)
        if len(self._unchecked) == self._every:
            self._check()

    def means(self) -> dict[str, float]:
        """Mean of each part over the steps so far.

        Raises:
            TrainingError: see `add`.
        """
        self._check()
        return {name: float(value) / max(self.steps, 1) for name, value in self._sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, as plain data.

        Raises:
            TrainingError: see `add`.
        """
        self._check()
        return {"steps": self.steps, "sums": dict(self._sums)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.steps = state["steps"]
        self._sums = {name: torch.as_tensor(value, device=self._device) for name, value in state["sums"].items()}

    def _check(self) -> None:
        if not self._unchecked:
            return
        finite = torch.isfinite(torch.stack([torch.as_tensor(sum(parts.values())) for parts in self._unchecked]))
        if not finite.all():
            first = int((~finite).nonzero()[0])
            shown = ", ".join(f"{name} {float(value):g}" for name, value in self._unchecked[first].items())
            step = self.steps - len(self._unchecked) + first + 1
            raise TrainingError(
                f"the {self.role}'s loss is not finite ({shown}; arm {self.arm}, epoch {self.epoch}, step {step}): "
                f"its updates were most likely too large; {self.remedy}"
            )
        self._unchecked.clear()
