"""Exponential moving average of a model's weights over the steps of its optimizer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightsAverage:
    """Average of a model's trained parameters; its buffers are not averaged.

    After step t = 0, 1, ...: average = d_t * average + (1 - d_t) * weights, with d_t = min(decay, (1 + t) / (10 + t))

    The first average is the weights after the first step. An average with a constant decay would hold the start for
    about 1 / (1 - decay) steps. The smaller decay of the first steps prevents this: after t steps, about the last
    tenth of them, and never more than 1 / (1 - decay), have weight.

    Args:
        model: the model.
        decay: d, in (0, 1); None for no average.
    """

    def __init__(self, model: nn.Module, decay: float | None):
        self.model, self.decay = model, decay
        self.steps = 0
        self._average: dict[str, Tensor] | None = None
        self._is_applied = False

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Update after every step of an optimizer; without a decay, never.

        A step that is being captured as a CUDA graph is no step: see `after_replay`.
        """
        if self.decay is not None:
            optimizer.register_step_post_hook(lambda *_: None if _is_capturing() else self.update())

    def after_replay(self) -> None:
        """Update after a replayed step, whose graph cannot hold a decay that differs from step to step."""
        if self.decay is not None:
            self.update()

    def update(self) -> None:
        """Take the weights after a step into the average.

        Raises:
            ValueError: there is no decay.
        """
        if self.decay is None:
            raise ValueError("no decay is set")
        weights = self._weights()
        with torch.no_grad():
            if self._average is None:
                self._average = {name: weight.detach().clone() for name, weight in weights.items()}
            else:
                decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
                torch._foreach_lerp_([*self._average.values()], [*weights.values()], 1 - decay)
        self.steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model within the scope; nothing changes before the first step. May be nested."""
        if self._average is None or self._is_applied:
            yield
            return
        weights = self._weights()
        kept = {name: weight.detach().clone() for name, weight in weights.items()}
        _copy(self._average, weights)
        self._is_applied = True
        try:
            yield
        finally:
            self._is_applied = False
            _copy(kept, weights)

    def state_dict(self) -> dict[str, Any]:
        """Average so far and number of steps, as plain data."""
        return {"steps": self.steps, "average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.steps = state["steps"]
        weights, average = self._weights(), state["average"]
        if average is not None:
            average = {name: average[name].to(weight.device) for name, weight in weights.items()}
        self._average = average

    def _weights(self) -> dict[str, nn.Parameter]:
        return {name: one for name, one in self.model.named_parameters() if one.requires_grad}


def _is_capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _copy(values: dict[str, Tensor], into: dict[str, nn.Parameter]) -> None:
    with torch.no_grad():
        for name, weight in into.items():
            weight.copy_(values[name])
