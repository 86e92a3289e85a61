"""A copy of a role in its best state so far, from which the other role learns."""

from typing import Any

from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.extra_state import changed_attributes, restore_attributes
from recbole_bd.backbones.role import Role
from recbole_bd.system.random_state import random_state, set_random_state


class BestGuide:
    """Keeps a role's state, and scores by it.

    Where logits are inner products, what makes the vectors (a graph convolution, a tower) runs once per state, not once
    per step: memory of the user and item vectors.

    Args:
        role: whose state is taken, as it is now.
        dataset: the training part.
    """

    def __init__(self, role: Role, dataset: Dataset):
        before = random_state()
        self._copy = build_role(role.name, role.config, dataset)
        set_random_state(before)
        self.take(role)

    def take(self, role: Role) -> None:
        """Take the state of a role as it is now."""
        self.load_state_dict(_state_of(role))

    def state_dict(self) -> dict[str, Any]:
        """The state that was taken: `model`, and what else of it is not as it was built."""
        return _state_of(self._copy)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state of `state_dict`."""
        self._copy.model.load_state_dict(state["model"])
        restore_attributes(self._copy.model, state["attributes"])
        self._vectors: tuple[Tensor, Tensor] | None = None

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """Score some items for each user as constants, without dropout or noise.

        Args:
            users: [B] int64; users may repeat.
            items: [B, K] int64, K items for each of them.

        Returns:
            Logits [B, K] without gradient.
        """
        if self._vectors is None and self._copy.propagates:
            with self._copy.scoring():
                self._vectors = self._copy.embeddings()
        if self._vectors is None:
            return self._copy.target_logits(users, items, learning=False)
        of_users, of_items = self._vectors
        return (of_items[items] * of_users[users].unsqueeze(1)).sum(dim=-1)


def _state_of(role: Role) -> dict[str, Any]:
    return {"model": role.model.state_dict(), "attributes": changed_attributes(role.model)}
