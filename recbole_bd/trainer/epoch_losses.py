"""Losses of an epoch, added up where they are computed."""

from typing import Any

import torch

from recbole_bd.errors import TrainingError
from recbole_bd.system.distributed import group


class EpochLosses:
    """The loss parts of one role over an epoch, summed where they are; a loss that is not finite stops the run.

    On a CPU every step is looked at. On another device that would make every step wait for it: there the latest steps
    are looked at together, and the first bad one is named all the same.

    Args:
        role, arm, epoch: named in the error.
        device: where the losses are.
        remedy: what the error advises.
        is_shared: the losses are those of a share of the rows, weighted: of several processes the sums are taken.
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
        self._unseen: list[dict[str, torch.Tensor]] = []

    def add(self, parts: dict[str, torch.Tensor]) -> None:
        """Take the parts of one step's loss, before the update that they cause.

        Raises:
            TrainingError: naming role, stage, epoch, step and the loss parts.
        """
        parts = {name: value.detach() for name, value in parts.items()}
        if self._is_shared:
            values = group().all_reduce(torch.stack([value.reshape(()) for value in parts.values()]))
            parts = dict(zip(parts, values, strict=True))
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self.steps += 1
        self._unseen.append(parts)
        if len(self._unseen) == self._every:
            self._look()

    def means(self) -> dict[str, float]:
        """Mean of each part over the steps so far.

        Raises:
            TrainingError: see `add`.
        """
        self._look()
        return {name: float(value) / max(self.steps, 1) for name, value in self._sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, as plain data.

        Raises:
            TrainingError: see `add`.
        """
        self._look()
        return {"steps": self.steps, "sums": dict(self._sums)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.steps = state["steps"]
        self._sums = {name: torch.as_tensor(value, device=self._device) for name, value in state["sums"].items()}

    def _look(self) -> None:
        if not self._unseen:
            return
        finite = torch.isfinite(torch.stack([torch.as_tensor(sum(parts.values())) for parts in self._unseen]))
        if not finite.all():
            first = int((~finite).nonzero()[0])
            shown = ", ".join(f"{name} {float(value):g}" for name, value in self._unseen[first].items())
            step = self.steps - len(self._unseen) + first + 1
            raise TrainingError(
                f"the {self.role}'s loss is not finite ({shown}; stage {self.arm}, epoch {self.epoch}, step {step}): "
                f"its updates were most likely too large; {self.remedy}"
            )
        self._unseen.clear()
