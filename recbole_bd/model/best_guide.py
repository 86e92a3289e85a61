"""Copy of a role in its best state so far, for the other role to learn from."""

from typing import Any

from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.extra_state import changed_attributes, restore_attributes
from recbole_bd.backbones.role import Role
from recbole_bd.system.random_state import random_state, set_random_state


class BestGuide:
    """Copy of a role's model that scores in a stored state.

    Where logits are inner products, the user and item vectors are computed once per state and kept, not once per step.
    This takes the memory of these vectors.

    Args:
        role: the role to copy, in its current state.
        dataset: the training part.
    """

    def __init__(self, role: Role, dataset: Dataset):
        before = random_state()
        self._copy = build_role(role.name, role.config, dataset)
        set_random_state(before)
        self.take(role)

    def take(self, role: Role) -> None:
        """Store the current state of a role."""
        self.load_state_dict(_state_of(role))

    def state_dict(self) -> dict[str, Any]:
        """Stored state: `model`, and `attributes` that differ from those of a new model."""
        return _state_of(self._copy)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state of `state_dict`."""
        self._copy.model.load_state_dict(state["model"])
        restore_attributes(self._copy.model, state["attributes"])
        self._vectors: tuple[Tensor, Tensor] | None = None

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """Score some items for each user, without gradient, dropout or noise.

        Args:
            users: [B] int64; users may repeat.
            items: [B, K] int64, K items for each user.

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
