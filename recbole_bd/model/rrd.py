"""Relaxed Ranking Distillation: interesting items in the teacher's order, all above uninteresting ones.

Kang, Hwang, Kweon, Yu: DE-RRD: A Knowledge Distillation Framework for Recommender System. CIKM 2020.
doi 10.1145/3340531.3412005.
"""

from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_bd.backbones.names import STUDENT
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import users_of
from recbole_bd.data.batches import Batch
from recbole_bd.model import losses
from recbole_bd.model.objective import number
from recbole_bd.model.one_way import OneWay, teacher_text
from recbole_bd.sampler.draws import draw_head, head_length
from recbole_bd.sampler.unseen_items import UnseenItems


class RRD(OneWay):
    """The student learns to rank some items in the teacher's order, and above some others.

    L = L_CF + lambda * mean over u of sum over k of -log( exp(z_k) / (sum over i >= k exp(z_i) + sum over l exp(z_l)) )

    z are the student's logits. The K interesting items come from the teacher's list, in its order. The L uninteresting
    items are uniform from the user's other unseen items. Both are drawn anew every epoch; with `interesting: top` the
    interesting ones are always the first K of the list.

    The mean is over the distinct users of a batch, each with one list. The public code sums over them, and sums its own
    loss over positives. Lambda means the same where a batch has as many distinct users as positives.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Raises:
        ConfigError: more items are asked for than there are.
    """

    prepared: tuple[str, ...] = ("lists", "interesting", "uninteresting")

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.require_items("interesting_items", "uninteresting_items")
        self.lists: torch.Tensor | None = None  # int32 [n_users, head of the list]
        self.interesting: torch.Tensor | None = None  # int32 [n_users, K]
        self.uninteresting: torch.Tensor | None = None  # int32 [n_users, L]

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the loss, and the items of both kinds: see `OneWay.transfer_facts`."""
        count, temperature = config["interesting_items"], number(config["rank_temperature"])
        listed = teacher_text(config, is_listed=True)
        drawn = f"{count} of the {listed}'s list by exp(-rank / {temperature})"
        return (
            "relaxed_ranking",
            drawn if config["interesting"] == "sampled" else f"the {listed}'s top {count}",
            f"above {config['uninteresting_items']} uniform items",
            f"target {teacher_text(config)}",
        )

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Store the teacher's top lists once; draw this epoch's interesting and uninteresting items."""
        count, temperature = self.config["interesting_items"], self.config["rank_temperature"]
        is_sampled = self.config["interesting"] == "sampled"
        if self.lists is None:
            length = head_length(temperature, distinct=count) if is_sampled else count
            self.lists = self.top_of(self.frozen, length, progress)
        self.interesting = draw_head(self.lists, count, temperature, self.generator) if is_sampled else self.lists
        rest = UnseenItems(self.seen, besides=self.interesting)
        users = torch.arange(self.n_users, device=self.device)
        drawn = rest.draw_distinct(users, self.config["uninteresting_items"], self.generator)
        self.uninteresting = drawn.to(torch.int32)
        return True

    def transfer(self, users: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Negative log-likelihood of the teacher's order for the distinct users, or the rows. Scalar."""
        # `prepare` has set these.
        assert self.interesting is not None
        assert self.uninteresting is not None
        units = self.units(STUDENT, users, batch, distinct=True)
        users = users_of(units)
        interesting = self.in_teachers_order(units, self.interesting[users].long())
        uninteresting = self.uninteresting[users].long()
        logits = self.learner.pair_logits(units, torch.cat([interesting, uninteresting], dim=1))
        ordered, others = logits.split([interesting.shape[1], uninteresting.shape[1]], dim=1)
        return losses.relaxed_ranking(ordered, others, listed=interesting > 0, drawn=uninteresting > 0)
