"""Unbiased Knowledge Distillation: pairs of items of one popularity group, in the teacher's order.

Chen, Wu, Chen, Feng, Chen, Wang: Unbiased Knowledge Distillation for Recommendation. WSDM 2023.
doi 10.1145/3539597.3570477.
"""

from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.lists import known_lists
from recbole_bd.backbones.names import STUDENT
from recbole_bd.backbones.role import Role
from recbole_bd.data.batches import Batch
from recbole_bd.model import losses
from recbole_bd.model.objective import number
from recbole_bd.model.one_way import OneWay, teacher_text
from recbole_bd.sampler.draws import head_length
from recbole_bd.sampler.popularity import apportioned, draw_pairs, group_lists, popularity_groups
from recbole_bd.sampler.top_lists import is_listed


class UnKD(OneWay):
    """The student learns the teacher's order of pairs of items that are about equally popular.

    L = L_CF + lambda * mean over (u, i) of mean over k of -log sigmoid(z_S(u, a_k) - z_S(u, b_k))

    z are logits. Items are in groups of equal popularity mass, the most popular first: see `popularity_groups`. Each
    group has a share of a user's pairs. Both items of a pair are drawn from the teacher's list of the group's
    items that the user has not seen. Rank 1 is best; b_k is the item that the teacher ranks lower.

    p(rank r of the group's list) is proportional to exp(-r / rank_temperature); the two items differ

    Pairs are drawn anew every epoch. A user stands once for each positive in the batch, as in the public code. A
    group of which a user has seen all items but one gives that user no pair.

    Args:
        config, dataset, roles, control: see `Distiller`.
    """

    prepared = ("lists", "higher", "lower")

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        counts = torch.bincount(torch.as_tensor(dataset.inter_feat[self.ITEM_ID]), minlength=self.n_items)
        self.groups = popularity_groups(counts, config["popularity_groups"]).to(self.device)
        self.pairs_of = apportioned(counts, self.groups.cpu(), config["pairs_per_user"], config["share_power"])
        self.lists: Tensor | None = None  # int32 [n_groups, n_users, head of the list]
        self.higher: Tensor | None = None  # int32 [n_users, pairs_per_user]; 0 where there is no pair
        self.lower: Tensor | None = None

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the loss, the pairs and the target: see `OneWay.transfer_facts`."""
        pairs, groups = config["pairs_per_user"], config["popularity_groups"]
        listed = teacher_text(config, is_listed=True)
        return (
            "pairwise_ranking",
            f"{pairs} pairs within {groups} groups of equal popularity mass",
            f"of the {listed}'s lists by exp(-rank / {number(config['rank_temperature'])})",
            f"shares by power {number(config['share_power'])}" if config["share_power"] else "",
            f"target {teacher_text(config)}",
        )

    @classmethod
    def not_read(cls, config: Config) -> dict[str, str]:
        """The option of the groups' shares, where there is one group: see `Distiller.not_read`."""
        unread = ("share_power",) if config["popularity_groups"] == 1 else ()
        return super().not_read(config) | dict.fromkeys(unread, "popularity_groups is 1")

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Store the teacher's list of each group once; draw this epoch's pairs."""
        temperature = self.config["rank_temperature"]
        if self.lists is None:
            ranking = (self.groups, head_length(temperature, distinct=2), self.generator, progress, self.frozen.name)
            with self.frozen.scoring():
                lists = group_lists(self.frozen.all_logits, self.seen, *ranking)
            if (known := known_lists(self.frozen.model)) is not None:
                lists = torch.stack([own * is_listed(own, known) for own in lists])
            self.lists = lists
        drawn = [
            draw_pairs(lists, count, temperature, self.generator)
            for lists, count in zip(self.lists, self.pairs_of, strict=True)
        ]
        self.higher, self.lower = (torch.cat(items, dim=1) for items in zip(*drawn, strict=True))
        return True

    def transfer(self, users: Tensor, batch: Batch) -> Tensor:
        """Negative log-likelihood of the teacher's order of each pair. Scalar."""
        # `prepare` has set these.
        assert self.higher is not None
        assert self.lower is not None
        higher = self.higher[users]
        units = self.units(STUDENT, users, batch)
        pairs = torch.cat([higher, self.lower[users]], dim=1).long()
        if not self.frozen.scores.keeps_for_users(units):  # the order of a pair is that after the row's history
            above, below = self.frozen.target_logits(units, pairs, learning=False).chunk(2, dim=1)
            pairs = torch.where((below > above).repeat(1, 2), pairs.roll(higher.shape[1], dims=1), pairs)
        logits = self.learner.pair_logits(units, pairs)
        above, below = logits.chunk(2, dim=1)
        return losses.pairwise_ranking(above, below, listed=higher > 0)
