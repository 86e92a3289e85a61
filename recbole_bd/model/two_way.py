"""Base class of DML and KDCL: both roles learn in every step, each from a softmax over the same items."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.names import DIRECTION_INTO, PAIR
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import Units, users_of
from recbole_bd.data.batches import Batch
from recbole_bd.errors import RoleError
from recbole_bd.model import losses
from recbole_bd.model.best_guide import StoredGuide, untrained_role
from recbole_bd.model.full_lists import (
    ListRows,
    can_learn_full_lists,
    constant_rows,
    full_list_cross_entropy,
    some_units,
)
from recbole_bd.model.objective import term_text
from recbole_bd.model.prepared import UNTRAINED, Prepared
from recbole_bd.sampler.seen_items import Indices
from recbole_bd.sampler.top_lists import is_listed
from recbole_bd.sampler.unseen_items import UnseenItems

ALL, BOTH_TOPS = "all", "both_tops"  # values of `items`


class TwoWay(Prepared):
    """Each role learns from its own loss and from a target that the roles' current logits give.

    L_role = L_CF(role) + lambda_role * mean over u of - sum over j in Q of p*_j * log softmax_Q(z_role / t)_j

    The target p* is a softmax over the same list Q, and a constant. The cross-entropy is the Kullback-Leibler
    divergence with an entropy added that has no gradient. The losses of both roles are computed before either is
    updated, in each batch that both learn from.

    Q is of items that the user has not seen: the first `top_items` of the teacher's ranking and of the student's
    (`both_tops`), `sampled_items` uniform ones (`sampled`), or `all`. It is the same for both roles. The mean is over
    the distinct users of a batch, or its rows (`exchange_at`), or over some of them by `users_of_batch`.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Attributes:
        weight: lambda by learner.
        temperature: divides the learner's logits.
        untrained: with `taught_by: untrained`, new models in the place of those that give the target, by role.

    Raises:
        ConfigError: more items are asked for than there are.
        RoleError: `items: all` with a role that scores one pair at a time, or `taught_by: untrained` with a role that
            starts from a pretrained file.
    """

    prepared = ("lists",)
    temperature = 1.0

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.weight = {learner: config[f"lambda_{direction}"] for learner, direction in DIRECTION_INTO.items()}
        self.takes_all = config["items"] == ALL
        self.lists: Tensor | None = None  # int32 [n_users, K], 0 where there is no item
        if not self.takes_all:
            self.require_items("top_items" if config["items"] == BOTH_TOPS else "sampled_items")
        for name, role in roles.items() if self.takes_all else ():
            if self.weight[name] and not can_learn_full_lists(type(role.model)):
                raise RoleError(
                    f"items=all: {role.config['model']} as the {name} scores one pair at a time; use items={BOTH_TOPS} "
                    "or sampled"
                )
        self.untrained: dict[str, StoredGuide] = {}
        if config["taught_by"] == UNTRAINED and not control:
            needed = {source for name in PAIR if self.weight[name] for source in self.sources(name)}
            new = {name: untrained_role(roles[name], dataset) for name in PAIR if name in needed}
            self.untrained = {name: StoredGuide(role, for_all_items=True) for name, role in new.items()}

    @classmethod
    def distillation_terms(cls, config: Config, role: str) -> list[str]:
        """Write what a role learns with its weight: see `Distiller.distillation_terms`."""
        weight = config[f"lambda_{DIRECTION_INTO[role]}"]
        return (
            [term_text(weight, "cross_entropy", items_text(config), *cls.target_facts(config, role))] if weight else []
        )

    @classmethod
    @abstractmethod
    def target_facts(cls, config: Config, role: str) -> tuple[str, ...]:
        """Name the target of a learner, and its temperature.

        Args:
            config: settings of the run, with the method's options.
            role: a learner.
        """

    @abstractmethod
    def sources(self, role: str) -> tuple[str, ...]:
        """Roles whose logits give the target of a learner."""

    @abstractmethod
    def target(self, role: str, logits: Mapping[str, Tensor], absent: Indices) -> Tensor:
        """Logits of the target, before `temperature`.

        Args:
            role: the learner.
            logits: [C, n] of each of its `sources`; arbitrary at absent entries.
            absent: rows and columns of the entries that are in no list.

        Returns:
            [C, n]; arbitrary at absent entries.
        """

    def refresh(self, epoch: int, progress: Callable[[int], None] | None = None) -> bool:
        """Rank or draw the items of all users: see `Distiller.refresh`."""
        if self.control or not any(self.weight.values()):
            return False
        return self.prepare(epoch, progress)

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Rank by both roles every `refresh_period` epochs, or draw items every epoch."""
        if self.takes_all:
            return any([guide.keep_vectors() for guide in self.untrained.values()])
        if self.config["items"] == BOTH_TOPS:
            if self.lists is not None and epoch % self.config["refresh_period"]:
                return False
            first, second = (self.top_of(self.roles[name], self.config["top_items"], progress) for name in PAIR)
            self.lists = torch.cat([first, second * ~is_listed(second, first)], dim=1)
            return True
        users = torch.arange(self.n_users, device=self.device)
        drawn = UnseenItems(self.seen).draw_distinct(users, self.config["sampled_items"], self.generator)
        self.lists = drawn.to(torch.int32)
        return True

    def distillation_loss(self, role: str, batch: Batch) -> dict[str, Tensor]:
        """Scalars `cf`, the role's own loss, and `distill`, the weighted cross-entropy.

        The cross-entropy is absent where its weight is 0 or no user of the batch has a training item.
        """
        parts = {"cf": self.roles[role].loss(batch.interaction)}
        users = batch.users
        if batch.positives is None:  # a batch of users only: leave out those without a training item
            users = users[self.seen.counts[users] > 0]
        if self.weight[role] and len(users):
            parts["distill"] = self.in_loss_units(role, self.weight[role], self.transfer(role, users, batch), users)
        return parts

    def transfer(self, role: str, users: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of a role with its target, before its weight.

        Args:
            role: the learner.
            users: int64 [B], users of the batch who have training items; a user may repeat.
            batch: the whole batch.

        Returns:
            A scalar, a mean over distinct users, or over rows.
        """
        units, learner = self.units(role, users, batch, distinct=True), self.roles[role]
        learning = [name for name in batch.roles if self.takes_step(name, batch)]
        if self.takes_all:
            units = some_units(units, self.config["users_of_batch"], self.generator)
            users = users_of(units)
            rows = {name: self._rows(name, units, name in learning) for name in self.sources(role)}

            def target_rows(part: slice) -> Tensor:
                logits = {name: rows_of(part).float() for name, rows_of in rows.items()}
                return self.target(role, logits, self.seen.of(users[part]))

            return full_list_cross_entropy(
                learner, units, target_rows, self.seen, self.temperature, " or ".join(self.sources(role))
            )
        assert self.lists is not None  # `prepare` has set it
        items = self.lists[users_of(units)].long()
        own, listed = learner.pair_logits(units, items), items > 0
        logits = {name: self._logits(name, units, items, name in learning).float() for name in self.sources(role)}
        absent = (~listed).nonzero().T
        target = self.target(role, logits, (absent[0], absent[1]))
        return losses.list_cross_entropy(own, target, self.temperature, listed).mean()

    def _rows(self, name: str, units: Units, learning: bool) -> ListRows:
        """Logits of all items by what stands for a role."""
        if (guide := self.untrained.get(name)) is not None:
            return lambda part: guide.all_logits(units[part])
        return constant_rows(self.roles[name], units, learning)

    def _logits(self, name: str, units: Units, items: Tensor, learning: bool) -> Tensor:
        """Logits of the lists by what stands for a role."""
        if (guide := self.untrained.get(name)) is not None:
            return guide.logits(units, items)
        return self.roles[name].target_logits(units, items, learning)


def items_text(config: Any) -> str:
    """Name the items over which both roles take the softmax.

    Args:
        config: settings of the run, with the method's options.
    """
    if config["items"] == ALL:
        some = config["users_of_batch"]
        return "all unseen items" + (f" of {some} users of a batch" if some else "")
    if config["items"] == BOTH_TOPS:
        return f"the top {config['top_items']} of both"
    return f"{config['sampled_items']} uniform items"
