"""Ranking Distillation: the top of the teacher's list as additional positives.

Tang, Wang: Ranking Distillation: Learning Compact Ranking Models With High Performance for Recommender System.
KDD 2018. doi 10.1145/3219819.3220021.
"""

from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_bd.backbones.names import STUDENT
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import Units, users_of
from recbole_bd.data.batches import Batch
from recbole_bd.model import losses
from recbole_bd.model.objective import number
from recbole_bd.model.one_way import OneWay, teacher_text
from recbole_bd.sampler.unseen_items import UnseenItems


class RD(OneWay):
    """The teacher's top unseen items are additional positives, with more weight where the student ranks them low.

    L = L_CF + lambda * mean over (u, i) of sum over r of w_r * -log sigmoid(z_S(u, pi_r))

    z are logits. pi_r is the item at rank r of the teacher's list for u, which has no training items; rank 1 is best.
    w_r is the product of a position weight and, from `dynamic_start_epoch` on, a dynamic weight. The dynamic weight
    grows with the distance by which the student ranks pi_r below r. The student's rank is estimated from sampled items
    that the user has not seen. With `normalised_weights` the w_r add up to 1.

    A user stands once for each positive in the batch, as in the public code, where each training instance has its list.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Raises:
        ConfigError: more items are asked for than there are.
    """

    prepared = ("lists",)

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.require_items("top_items")
        self.lists: torch.Tensor | None = None  # int32 [n_users, K]
        self.unseen = UnseenItems(self.seen)
        self.is_dynamic = False

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the loss, the listed items and their weights: see `OneWay.transfer_facts`."""
        by_rank = f"weights exp(-rank / {number(config['position_temperature'])})"
        samples, epoch = config["dynamic_samples"], config["dynamic_start_epoch"]
        dynamic = f"dynamic weights {number(config['dynamic_sharpness'])} by {samples} samples from epoch {epoch}"
        return (
            "ranking",
            f"the {teacher_text(config, is_listed=True)}'s top {config['top_items']}",
            by_rank if config["position_weights"] else "equal weights",
            dynamic if config["dynamic_weights"] else "",
            "" if config["normalised_weights"] else "not normalised",
            f"target {teacher_text(config)}",
        )

    @classmethod
    def not_read(cls, config: Config) -> dict[str, str]:
        """Options of dynamic weights that never begin, and of equal weights: see `Distiller.not_read`."""
        unread = super().not_read(config)
        if config["dynamic_start_epoch"] >= config["distill_epochs"]:
            reason = f"distill_epochs={config['distill_epochs']} ends before dynamic_start_epoch"
            unread |= dict.fromkeys(("dynamic_weights", "dynamic_sharpness", "dynamic_samples"), reason)
        if config["top_items"] == 1 and config["normalised_weights"]:
            reason = "top_items is 1, and the weights of a list sum to 1"
            unread |= dict.fromkeys(("position_weights", "position_temperature"), reason)
        return unread

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Store the teacher's top lists once; turn the dynamic weights on from `dynamic_start_epoch`."""
        self.is_dynamic = self.config["dynamic_weights"] and epoch >= self.config["dynamic_start_epoch"]
        if self.lists is not None:
            return False
        self.lists = self.top_of(self.frozen, self.config["top_items"], progress)
        return True

    def transfer(self, users: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Weighted negative log-likelihood of the teacher's top items. Scalar."""
        assert self.lists is not None  # `prepare` has set it
        units = self.units(STUDENT, users, batch)
        items = self.in_teachers_order(units, self.lists[users].long())
        logits = self.learner.pair_logits(units, items)
        return losses.ranking_distillation(logits, self._weights(units, items, logits))

    def _weights(self, units: Units, items: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Weights [B, K] of the listed items; 0 where the list has no item."""
        weights = (items > 0).float()
        if self.config["position_weights"]:
            weights = weights * losses.position_weights(
                items.shape[1], self.config["position_temperature"], items.device
            )
        if self.is_dynamic:
            users = users_of(units)
            sampled = self.unseen.draw(users, self.config["dynamic_samples"], self.generator)
            sampled_logits = self.learner.target_logits(units, sampled, learning=True)
            rank = losses.estimated_rank(logits.float(), sampled_logits.float(), self.unseen.n_left[users])
            weights = weights * losses.dynamic_weights(rank, self.config["dynamic_sharpness"])
        if self.config["normalised_weights"]:
            # Rows whose weights are all 0 stay 0: the student ranks every item high enough.
            weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        return weights
