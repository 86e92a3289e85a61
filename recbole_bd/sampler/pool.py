"""The drawn items of one learner, and memory for drawing them."""

import threading
from dataclasses import dataclass

import torch
from torch import Tensor


class Workspace(threading.local):
    """Memory for cumulative weights, float64, reused by every chunk; each thread has its own."""

    def __init__(self, device: torch.device):
        self._memory = torch.empty(0, dtype=torch.float64, device=device)

    def like(self, weights: Tensor) -> Tensor:
        """Uninitialised memory of the shape of `weights`, float64."""
        if len(self._memory) < weights.numel():
            self._memory = torch.empty(weights.numel(), dtype=torch.float64, device=self._memory.device)
        return self._memory[: weights.numel()].view(weights.shape)


@dataclass(frozen=True)
class Pool:
    """The items drawn for one learner, user by user.

    Attributes:
        items: int32 [sum of `sizes`], written in place.
        sizes: int64 [n_users], items drawn per user.
        starts: int64 [n_users], index of each user's first item in `items`.
        workspace: memory that draws may overwrite.
    """

    items: Tensor
    sizes: Tensor
    starts: Tensor
    workspace: Workspace

    def put(self, users: Tensor, drawn: Tensor) -> None:
        """Keep as many of each user's draws as the pool has room for.

        Args:
            users: int64 [C].
            drawn: int32 [C, K], item ids.
        """
        draws, sizes = torch.arange(drawn.shape[1], device=drawn.device), self.sizes[users]
        places = self.starts[users].unsqueeze(1) + draws
        if int(sizes.min()) < drawn.shape[1]:
            wanted = draws < sizes.unsqueeze(1)
            places, drawn = places[wanted], drawn[wanted]
        self.items[places] = drawn
