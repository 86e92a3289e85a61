"""Base class of methods that draw or store tensors before an epoch, from one generator."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_bd.backbones.lists import known_lists
from recbole_bd.backbones.role import Role
from recbole_bd.errors import ConfigError
from recbole_bd.model.base import Distiller
from recbole_bd.sampler.seen_items import SeenItems
from recbole_bd.sampler.top_lists import is_listed, top_lists

UNTRAINED = "untrained"  # value of `taught_by`


class Prepared(Distiller):
    """Method whose tensors are prepared before an epoch, and go into the resume point with the generator.

    Its placebo is an untrained model in the place of the one that teaches: `taught_by: untrained`.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Attributes:
        seen: the training items, on the device.
        generator: random generator of all draws, on the device.
        prepared: names of the attributes that `prepare` sets to tensors; None before.
        placebo_text: what the placebo is, for messages.

    Raises:
        DataError: a user who has seen every item.
    """

    prepared: tuple[str, ...] = ()
    placebo_text = "untrained models"

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.generator = torch.Generator(self.device).manual_seed(config["seed"])
        users, items = dataset.inter_feat[self.USER_ID], dataset.inter_feat[self.ITEM_ID]
        self.seen = SeenItems(users, items, self.n_users, self.n_items).to(self.device)

    @classmethod
    def placebo_settings(cls, config: Config) -> dict[str, Any]:
        """Untrained models that teach: see `Distiller.placebo_settings`."""
        if config["placebo"] not in ("auto", UNTRAINED):
            raise ConfigError(
                f"placebo={config['placebo']}: the placebo of {config['model']} is {cls.placebo_text}; use "
                f"placebo=auto or {UNTRAINED}"
            )
        if config["taught_by"] == UNTRAINED:
            raise ConfigError(
                f"controls={config['controls']}: with taught_by={UNTRAINED} the distilled arm is the placebo; leave "
                "one of them out"
            )
        return {"taught_by": UNTRAINED}

    @classmethod
    def not_read(cls, config: Config) -> dict[str, str]:
        """Options of ranks by which a sampler draws: see `Distiller.not_read`."""
        unread = ("rank_precision", "ranked_items")
        reason = "only methods that draw items by the ranks of both roles, such as BD, read it"
        return super().not_read(config) | dict.fromkeys(unread, reason)

    @abstractmethod
    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Method's part of `refresh`; called only where something is taught."""

    def top_of(self, role: Role, length: int, progress: Callable[[int], None] | None) -> torch.Tensor:
        """Rank by a role: the first unseen items of every user, see `top_lists`.

        Args:
            role: the role that ranks.
            length: items per user at most.
            progress: called with the number of users done so far.

        Returns:
            int32 [n_users, min(length, n_items - 1)]; 0 after a user's last item. A role that knows lists only ends
            where its list does.
        """
        with role.scoring():
            lists = top_lists(role.all_logits, self.seen, length, self.generator, progress, role.name)
        known = known_lists(role.model)
        return lists if known is None else lists * is_listed(lists, known)

    def sampling_state(self) -> dict[str, Any]:
        """State of the generator, and the tensors that `prepare` has set."""
        tensors = {name: getattr(self, name) for name in self.prepared}
        return {"generator": self.generator.get_state(), **{n: t for n, t in tensors.items() if t is not None}}

    def load_sampling_state(self, state: dict[str, Any]) -> None:
        """Continue exactly where `sampling_state` was taken."""
        self.generator.set_state(state["generator"].cpu())
        for name in self.prepared:
            setattr(self, name, state[name].to(self.device) if name in state else None)
