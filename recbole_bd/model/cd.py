"""Collaborative Distillation: the teacher's soft labels of items drawn by rank.

Lee, Choi, Lee, Shim: Collaborative Distillation for Top-N Recommendation. ICDM 2019.
"""

from collections.abc import Callable
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_bd import losses
from recbole_bd.backbones import STUDENT, TEACHER
from recbole_bd.data import Batch
from recbole_bd.model.one_way import OneWay
from recbole_bd.roles import Role
from recbole_bd.sampler import Direction, DistillationSampler, pool_sizes


class CD(OneWay):
    """The student learns the teacher's probabilities of items that one of the two ranks high.

    L = L_CF + lambda * mean over u, j ~ p(.|u) of BCE(z_S(u, j), sigmoid((z_T(u, j) + shift) / temperature))

    p(rank r) is proportional to exp(-r / rank_temperature) in the guide's ranking: the student's own, which corrects
    what it wrongly ranks high, or the teacher's. As in BD, `samples_per_positive` items are drawn for every positive.

    Args:
        config, dataset, roles, control: see `Distiller`.
    """

    prepared = ("targets",)

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.period = config["refresh_period"]
        self.samples = config["samples_per_positive"]
        # A loader of users only (autoencoders): as many items for each as users have positives on average.
        self.samples_per_user = self.samples * max(1, round(len(dataset.inter_feat) / (self.n_users - 1)))
        guide = "learner" if config["guide"] == STUDENT else "other"
        direction = Direction(sampling="top", top_temperature=config["rank_temperature"], guide=guide)
        self.sampler = DistillationSampler(
            self.seen,
            {STUDENT: direction if config["guide"] != "none" else Direction(sampling="uniform")},
            pool_sizes(self.seen, self.samples, min(self.period, max(config["distill_epochs"], 1))),
            ranks=config["rank_precision"],
            seed=config["seed"],
            device=self.device,
        )
        self.targets: torch.Tensor | None = None  # the teacher's logit of every drawn item

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Draw items anew every `refresh_period` epochs and take the teacher's logits of them."""
        if epoch % self.period:
            return False
        with self.frozen.scoring(), self.learner.scoring():
            self.sampler.refresh({TEACHER: self.frozen.all_logits, STUDENT: self.learner.all_logits}, progress)
            self.targets = self.sampler.score_pool(STUDENT, self.frozen.pair_logits)
        return True

    def transfer(self, users: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy with the teacher's soft labels on the drawn items. Scalar."""
        slots = self.sampler.slots(users, self.samples_per_user if batch.positives is None else self.samples)
        items = self.sampler.pools[STUDENT].take(slots).long()
        logits = self.learner.pair_logits(users, items)
        options = {"temperature": self.config["temperature"], "shift": self.config["shift"]}
        return losses.collaborative_exchange(logits, self.targets.take(slots), **options)

    def sampling_state(self) -> dict[str, Any]:
        """The sampler's state with the teacher's logits."""
        return {**super().sampling_state(), "sampler": self.sampler.state_dict()}

    def load_sampling_state(self, state: dict[str, Any]) -> None:
        """Continue exactly where `sampling_state` was taken."""
        super().load_sampling_state(state)
        self.sampler.load_state_dict(state["sampler"])
