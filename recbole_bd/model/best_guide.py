"""Models that teach without learning: copies of roles in a stored state, and new ones."""

from typing import Any

from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.acceleration.pair_products import pair_products
from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.extra_state import changed_attributes, restore_attributes
from recbole_bd.backbones.registry import learns_by_gradient
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import Units, users_of
from recbole_bd.errors import RoleError
from recbole_bd.system.random_state import random_state, seeded, set_random_state

# Second number of the seed of a new model, which therefore differs from that of every warm-up.
_OF_A_NEW_MODEL = 1


class StoredGuide:
    """Model that scores in one state at a time, without gradient, dropout or noise.

    Where logits are inner products and a pair needs a pass over the whole model, the user and item vectors are computed
    once per state and kept, not once per step. This takes the memory of these vectors.

    Args:
        copy: a role that nothing else changes.
        for_all_items: keep the vectors of every inner product, for a use that scores all items in every step.

    Attributes:
        state_number: number of states so far.
    """

    def __init__(self, copy: Role, for_all_items: bool = False):
        self._copy, self._for_all_items = copy, for_all_items
        self._vectors: tuple[Tensor, Tensor] | None = None
        self.state_number = 0

    @property
    def version(self) -> int:
        """Number of states so far whose vectors are kept; they lie elsewhere in every state."""
        return self.state_number if self._keeps_vectors else 0

    @property
    def _keeps_vectors(self) -> bool:
        return self._copy.propagates or self._for_all_items

    def logits(self, users: Units, items: Tensor) -> Tensor:
        """Score some items for each user, or row of a batch.

        Args:
            users: [B] int64, users may repeat; or rows.
            items: [B, K] int64, K items for each.

        Returns:
            Logits [B, K] without gradient.
        """
        if (vectors := self._kept_vectors(users)) is None:
            return self._copy.target_logits(users, items, learning=False)
        of_users, of_items = vectors
        return pair_products(of_users[users_of(users)], of_items, items)

    def all_logits(self, users: Units, items: Tensor | None = None) -> Tensor:
        """Score all items, or a few, for each user, as `Role.all_logits` does; without gradient."""
        if items is not None and items.dim() == 2:
            return self.logits(users, items)
        if (vectors := self._kept_vectors(users)) is None:
            with self._copy.scoring():
                return self._copy.all_logits(users, items)
        of_users, of_items = vectors
        return of_users[users_of(users)] @ (of_items if items is None else of_items[items]).T

    def keep_vectors(self) -> bool:
        """Compute the vectors that are kept, before they are asked for.

        Returns:
            Whether there are such vectors, and they were not there yet.
        """
        return self._vectors is None and self._kept_vectors() is not None

    def _kept_vectors(self, units: Units | None = None) -> tuple[Tensor, Tensor] | None:
        """The vectors of all users and items; None where they are not kept, or are not those of given units."""
        if units is not None and not self._copy.scores.keeps_for_users(units):
            return None
        if self._vectors is None and self._keeps_vectors:
            with self._copy.scoring():
                self._vectors = self._copy.embeddings()
        return self._vectors


class BestGuide(StoredGuide):
    """Copy of a role in its best state so far, for a role to learn from.

    Args:
        role: the role to copy, in its current state.
        dataset: the training part.
    """

    def __init__(self, role: Role, dataset: Dataset):
        before = random_state()
        super().__init__(build_role(role.name, role.config, dataset))
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
        self._vectors = None
        self.state_number += 1


def untrained_role(role: Role, dataset: Dataset) -> Role:
    """Build a new model of a role's kind, from a seed that no warm-up has; no other random number moves.

    Args:
        role: the role; its model is not used.
        dataset: the training part.

    Raises:
        RoleError: the model would start from a pretrained file, or is computed from the data instead of trained.
    """
    if not learns_by_gradient(role.config["model"]):
        raise RoleError(
            f"{role.name}: {role.config['model']} is computed from the data as soon as it is built, so it is never "
            "untrained; leave the placebo out"
        )
    with seeded(role.config["seed"], _OF_A_NEW_MODEL):
        return build_role(role.name, role.config, dataset, is_pretrained=False)


def _state_of(role: Role) -> dict[str, Any]:
    return {"model": role.model.state_dict(), "attributes": changed_attributes(role.model)}
