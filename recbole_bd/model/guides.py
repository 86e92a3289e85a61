"""Targets of the learners, and whose rankings choose their items: the other role, or placebos in its place.

A placebo has nothing of what the other role has learned. It is a target on the same items, draws, batches and weights,
so that a gain over it is due to the other role's knowledge. No gradient reaches any target.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import Units, users_of
from recbole_bd.errors import ConfigError
from recbole_bd.model.best_guide import BestGuide, StoredGuide, untrained_role
from recbole_bd.model.exchange import CONSTANT, ONE_HOT, OTHER, SELF, SHUFFLED, UNTRAINED, Exchange
from recbole_bd.model.kept_logits import KeptLogits
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.system.distributed import group

# Offset of the seed of the draws of placebos, so that they do not repeat the numbers of the sampler's generator.
_OF_PLACEBOS = 2**17


class Guides:
    """Targets and rankings for the directions that are on.

    Args:
        exchanges: the directions that are on, by learner.
        roles: the two roles by name.
        dataset: the training part.
        seed: seed of the draws, which have a generator of their own.
        device: device of the draws.
        keeping: learners for which a stored guide's logits of all drawn items are kept, see `keeps_logits`.

    Attributes:
        best: roles in their best state so far that some direction learns from, by name.
        untrained: new models of a role's kind, by the role's name.
        kept: logits of stored guides for the drawn items, by learner.
        generator: random generator of the draws; None where nothing is drawn.

    Raises:
        ConfigError: `shuffled` with a single user.
        RoleError: `untrained` with a model that starts from a pretrained file.
    """

    def __init__(
        self,
        exchanges: Mapping[str, Exchange],
        roles: Mapping[str, Role],
        dataset: Dataset,
        seed: int,
        device: Any,
        keeping: Collection[str] = (),
    ):
        self._exchanges, self._roles = dict(exchanges), roles
        found = self._exchanges.values()
        of_best = [one.learner if one.target == SELF else one.guide for one in found if _learns_from_best(one)]
        self.best = {name: BestGuide(roles[name], dataset) for name in of_best}
        of_new = [one.guide for one in found if one.target == UNTRAINED]
        self.untrained = {name: StoredGuide(untrained_role(roles[name], dataset)) for name in of_new}
        stored = {learner: self._stored(one) for learner, one in self._exchanges.items() if learner in keeping}
        self.kept = {
            learner: KeptLogits(guide)
            for learner, guide in stored.items()
            if guide is not None and self._exchanges[learner].target != SHUFFLED
        }
        self.generator: torch.Generator | None = None
        if any(one.target == SHUFFLED or one.ranker == "random order" for one in found):
            self.generator = torch.Generator(device).manual_seed((seed + _OF_PLACEBOS) % 2**32)
        if self.mixes_rows and dataset.user_num < 3:
            raise ConfigError("guide=shuffled needs two users; there is one: use another guide")

    @property
    def mixes_rows(self) -> bool:
        """Whether a row's target may depend on other rows of the batch."""
        return any(one.target == SHUFFLED for one in self._exchanges.values())

    @property
    def version(self) -> int:
        """A number that rises whenever kept vectors of a stored guide are replaced."""
        return sum(guide.version for guide in self.best.values())

    @property
    def rankers(self) -> dict[str, str]:
        """Name of what ranks items in the guide's place, by learner."""
        return {learner: one.ranker for learner, one in self._exchanges.items()}

    def _stored(self, exchange: Exchange) -> StoredGuide | None:
        """The guide in a stored state whose logits are, or become, the target; None if there is none."""
        if exchange.target == UNTRAINED:
            return self.untrained[exchange.guide]
        if _learns_from_best(exchange):
            return self.best[exchange.learner if exchange.target == SELF else exchange.guide]
        return None

    def keep_logits(self, sampler: DistillationSampler, learners: Collection[str], is_new: bool) -> None:
        """Compute the logits that are kept, where the drawn items or the guide's state have changed.

        Args:
            sampler: holds the drawn items.
            learners: learners that need them.
            is_new: whether the items have been drawn anew.
        """
        for learner, kept in self.kept.items():
            if is_new:
                kept.forget()
            if learner in learners and learner in sampler.pools:
                kept.update(sampler.pools[learner], sampler.sizes[learner])

    def target(
        self, learner: str, units: Units, items: Tensor, is_learning: bool, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor | slice]:
        """Compute the target of a batch.

        Args:
            learner: the role that learns.
            units: users, int64 [B], who may repeat; or rows of the batch.
            items: int64 [B, K], the positive in column 0 where the exchange takes it.
            is_learning: whether the other role learns from this batch too, see `Role.target_logits`.
            places: int64 [B, K], places of the items without the positive in the learner's pool; None if they are of
                no pool.

        Returns:
            Logits [B, K] without gradient, and which rows have a target: all, or with `shuffled` bool [B]. The exchange
            divides these logits by the temperature. What has no temperature is multiplied by it before.
        """
        exchange, everything = self._exchanges[learner], slice(None)
        if exchange.target in (ONE_HOT, CONSTANT):
            return fixed_target(exchange, items), everything
        stored = self._stored(exchange)
        if stored is None:
            logits = self._roles[exchange.guide].target_logits(units, items, learning=is_learning)
        elif learner in self.kept and places is not None:
            logits = self.kept[learner].at(places)
            if exchange.takes_positive:
                logits = torch.cat([stored.logits(units, items[:, :1]), logits], dim=1)
        else:
            logits = stored.logits(units, items)
        if exchange.target != SHUFFLED:
            return logits, everything
        assert self.generator is not None
        users = users_of(units)
        rows = rows_of_others(users, self.generator)
        return logits[rows], users[rows] != users

    def rankings(self) -> dict[str, Callable[..., Tensor]]:
        """Logits of all that ranks items in some direction, by name: the roles first, then what stands in for them.

        Call it once for a refresh: users are paired anew, and random orders are drawn anew.

        Returns:
            Functions for `DistillationSampler.refresh`; those of roles need `Role.scoring`.
        """
        found: dict[str, Callable[..., Tensor]] = {name: role.all_logits for name, role in self._roles.items()}
        for exchange in self._exchanges.values():
            name = exchange.ranker
            if name in found:
                continue
            if exchange.target == UNTRAINED:
                found[name] = self.untrained[exchange.guide].all_logits
            elif exchange.target == SELF:
                found[name] = self.best[exchange.learner].all_logits
            elif exchange.target == SHUFFLED:
                found[name] = self._for_another_user(self._roles[exchange.guide])
            else:
                found[name] = self._in_random_order()
        return found

    def _for_another_user(self, role: Role) -> Callable[..., Tensor]:
        """Logits of a role for another user in place of each: the next in a random order of all users."""
        order = 1 + torch.randperm(role.n_users - 1, generator=self.generator, device=role.device)
        another = torch.zeros(role.n_users, dtype=torch.int64, device=role.device)
        another[order] = order.roll(-1)
        return lambda users, items=None: role.all_logits(another[users_of(users)], items)

    def _in_random_order(self) -> Callable[..., Tensor]:
        assert self.generator is not None
        device = self.generator.device
        number = int(torch.randint(2**31, (1,), generator=self.generator, device=device))
        everything = torch.arange(next(iter(self._roles.values())).n_items, device=device)
        return lambda users, items=None: random_logits(users_of(users), everything if items is None else items, number)

    def new_best(self, role: Role) -> None:
        """Store a role's new best state, if some direction learns from it."""
        if role.name in self.best:
            self.best[role.name].take(role)

    def state_dict(self) -> dict[str, Any]:
        """Best states by role, as `guides`, and the generator's state, as `guide_generator` where there is one."""
        state: dict[str, Any] = {"guides": {name: guide.state_dict() for name, guide in self.best.items()}}
        return state if self.generator is None else {**state, "guide_generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        for name, guide in state["guides"].items():
            self.best[name].load_state_dict(guide)
        if self.generator is not None:
            self.generator.set_state(state["guide_generator"].cpu())


def keeps_logits(config: Any) -> bool:
    """Whether a stored guide scores all drawn items at once, which costs less than to score them in every step.

    It does not where items or states change so often that most draws are scored in vain, or where every process would
    score the draws of all.

    Args:
        config: settings of the run, with BD's options.
    """
    period = config["refresh_period"]
    is_often = config["refresh_users"] == "rolling" or period == 1 or 2 * config["eval_step"] < period
    return not is_often and group().size == 1


def _learns_from_best(exchange: Exchange) -> bool:
    return exchange.target == SELF or (exchange.target in (OTHER, SHUFFLED) and exchange.from_best)


def fixed_target(exchange: Exchange, items: Tensor) -> Tensor:
    """Logits of a target that knows no model: a one-hot positive, or a constant.

    `one_hot`: softmax(z) is 1 for the positive and 0 for the rest; sigmoid(z_0 - z_k) = 1.
    `constant`, pointwise: sigmoid(z_k / temperature) = constant for every item.
    `constant`, pairwise: sigmoid((z_0 - z_k) / temperature) = constant for every sampled item.
    `constant`, listwise: softmax(z) is uniform over the list.

    Args:
        exchange: the direction.
        items: [B, K], the items of the target.

    Returns:
        float32 [B, K].
    """
    logits = torch.zeros(items.shape, device=items.device)
    if exchange.target == ONE_HOT:
        logits[:, 1:] = -torch.inf
    elif exchange.kind != "listwise":
        logit = math.log(exchange.constant) - math.log1p(-exchange.constant)
        logits[:, : 1 if exchange.kind == "pairwise" else None] = exchange.temperature * logit
    return logits


def rows_of_others(users: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a permutation that gives each row of a batch a row of another user.

    Users come in random order, each with their rows in random order. A row gets the one that is `shift` places further
    on, around the end. The shift is uniform among those that reach another user from every row. These are the numbers
    from m to B - m, where m is the number of rows of the user who has most. Where users do not repeat, every other row
    is equally likely. A user with more than half of the rows keeps some of them: then the shift is B / 2.

    Args:
        users: int64 [B]; users may repeat.
        generator: random generator on the device of `users`.

    Returns:
        int64 [B], the row that each row gets.
    """
    count, device = len(users), users.device
    _, owner, rows = users.unique(return_inverse=True, return_counts=True)
    places = torch.randperm(len(rows), generator=generator, device=device)
    shuffled = torch.randperm(count, generator=generator, device=device)
    order = shuffled[places[owner[shuffled]].argsort(stable=True)]
    most = min(int(rows.max()), count // 2) if count else 0
    shift = most + int(torch.randint(max(count - 2 * most, 0) + 1, (1,), generator=generator, device=device))
    found = torch.empty_like(order)
    found[order] = order.roll(-shift)
    return found


def random_logits(users: Tensor, items: Tensor, number: int) -> Tensor:
    """Pseudorandom logits of user and item, so that the order of a user's items is random.

    The logits are a function of the three numbers (SplitMix64's finalizer), so they do not depend on how users and
    items are split into chunks.

    Args:
        users: int64 [C].
        items: int64 [M], or [C, M], each user's own.
        number: another number gives another order.

    Returns:
        float32 [C, M], whole numbers from 0 to 2**24 - 1; equal ones share a rank.
    """
    mixed = users.unsqueeze(1) * 0x9E3779B1 + number
    mixed = _mixed(mixed) + items * 0x85EBCA77
    return (_mixed(mixed) >> 40 & 0xFFFFFF).float()


def _mixed(numbers: Tensor) -> Tensor:
    """SplitMix64's finalizer of int64 numbers, which wrap around; a shift brings in zeros."""
    for bits, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        numbers = (numbers ^ (numbers >> bits & (1 << 64 - bits) - 1)) * factor
    return numbers ^ (numbers >> 31 & (1 << 33) - 1)
