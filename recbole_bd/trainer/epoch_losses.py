"""Sums of the loss parts of an epoch, kept on the device."""

from typing import Any

import torch
from torch import Tensor

from recbole_bd.errors import TrainingError
from recbole_bd.system.distributed import group

# Steps that are checked together where a check waits for the device: those of an epoch, unless it has more.
_CHECKED_TOGETHER = 4096


class EpochLosses:
    """Sums of one role's loss parts over an epoch; a loss that is not finite stops the run.

    On a CPU every step is checked at once. On another device a check waits for the device, so that up to 4,096 steps
    are checked together, at the end of the epoch. The error names the first bad step in either case.

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
        self._device, self._every = device, 1 if device.type == "cpu" else _CHECKED_TOGETHER
        self._sums: dict[str, Tensor] = {}
        # Steps that are not checked and not in the sums: names of their parts, the same for all, and one row each.
        self._names: tuple[str, ...] = ()
        self._rows: list[Tensor] = []

    def add(self, parts: dict[str, Tensor]) -> None:
        """Add the loss parts of one step; call it before the update.

        Raises:
            TrainingError: a loss is not finite; names role, arm, epoch, step and the loss parts.
        """
        row = torch.stack([value.detach().reshape(()) for value in parts.values()])
        self.add_row(tuple(parts), group().all_reduce(row) if self._is_shared else row)

    def add_row(self, names: tuple[str, ...], row: Tensor) -> None:
        """Add the loss parts of one step as a row, which must not change afterwards.

        Args:
            names: the parts.
            row: [parts], their values.

        Raises:
            TrainingError: see `add`.
        """
        if names != self._names:
            self._check()
            self._names = names
        self._rows.append(row)
        self.steps += 1
        if len(self._rows) == self._every:
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
        """Check the latest steps and add them to the sums."""
        if not self._rows:
            return
        rows = torch.stack(self._rows)
        finite = torch.isfinite(rows.sum(dim=1))
        if not finite.all():
            first = int((~finite).nonzero()[0])
            shown = ", ".join(
                f"{name} {value:g}" for name, value in zip(self._names, rows[first].tolist(), strict=True)
            )
            step = self.steps - len(self._rows) + first + 1
            raise TrainingError(
                f"the {self.role}'s loss is not finite ({shown}; arm {self.arm}, epoch {self.epoch}, step {step}): "
                f"its updates were most likely too large; {self.remedy}"
            )
        for name, value in zip(self._names, rows.sum(dim=0), strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._rows.clear()
