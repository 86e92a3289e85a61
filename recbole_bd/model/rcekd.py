"""Rejuvenated cross-entropy distillation: the student's own top items, and the teacher's among items like them.

Zhu, Zhang: Rejuvenating Cross-Entropy Loss in Knowledge Distillation for Recommender Systems. ICLR 2026.
arXiv 2509.20989.
"""

from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_bd.backbones.names import STUDENT
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import users_of
from recbole_bd.data.batches import Batch
from recbole_bd.errors import ConfigError
from recbole_bd.model import losses
from recbole_bd.model.objective import number, temperature_text
from recbole_bd.model.one_way import OneWay, teacher_text
from recbole_bd.sampler.draws import draw_listed
from recbole_bd.sampler.top_lists import is_listed

# The count of the teacher's items by which an item is drawn stops growing here, as in the public code.
_MOST_COUNTED = 50


class RCEKD(OneWay):
    """The student learns the teacher's softmax over two lists, mixed for each user by how far the two models agree.

    L = L_CF + lambda * mean over u of (1 - g_u) * CE(Q_S) + g_u * CE(A + (Q_T minus A minus Q_S))

    CE(Q) = - sum over j in Q of softmax_Q(z_T / t)_j * log softmax_Q(z_S / t)_j

    g_u = exp(-beta * |Q_T and O| / K)

    z are logits, t is the temperature. Q_T and Q_S are the first K items of the teacher's and of the student's ranking
    of the items that the user has not seen. A are L items of the student's first m, drawn without replacement: it
    prefers those that the student puts above the teacher's items. O is A, as in the public code, or Q_S, as in the
    paper: see `overlap`. The student's lists and A are made anew every `refresh_period` epochs.

    The mean is over the distinct users of a batch. The public code sums over them. A user of whom the teacher ranks
    nothing has a term of 0.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Raises:
        ConfigError: more items are asked for than there are, or than the student's first m.
    """

    prepared = ("teacher_lists", "teacher_targets", "items", "targets", "overlap")

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.require_items("top_items", "sampled_items", "sampled_from")
        for name in ("top_items", "sampled_items"):
            if config[name] > config["sampled_from"]:
                raise ConfigError(
                    f"{name}={config[name]}: above sampled_from={config['sampled_from']}, the length of the student's "
                    "list that they come from"
                )
        self.teacher_lists: torch.Tensor | None = None  # int32 [n_users, K], Q_T
        self.teacher_targets: torch.Tensor | None = None  # the teacher's logits of these items
        self.items: torch.Tensor | None = None  # int32 [n_users, K + L + K]: Q_S, A, and Q_T minus A minus Q_S
        self.targets: torch.Tensor | None = None  # the teacher's logits of these items
        self.overlap: torch.Tensor | None = None  # float32 [n_users], part of Q_T that the student's list has

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the loss, its lists and their weights: see `OneWay.transfer_facts`."""
        top, whose = config["top_items"], "the student's own top"
        drawn = f"{config['sampled_items']} of {whose} {config['sampled_from']}"
        beside = f"{number(config['draw_temperature'])} with the {teacher_text(config, is_listed=True)}'s top {top}"
        of = "the drawn" if config["overlap"] == "sampled" else "its top"
        return (
            "rejuvenated_cross_entropy",
            f"{whose} {top}",
            f"{drawn} by temperature {beside}",
            f"weight exp(-{number(config['overlap_sharpness'])} * overlap with {of})",
            f"target {teacher_text(config)}",
            temperature_text(config["temperature"], on="both"),
        )

    @classmethod
    def not_read(cls, config: Config) -> dict[str, str]:
        """Options of the overlap without weight, and of a draw of all items: see `Distiller.not_read`."""
        unread = super().not_read(config)
        if config["overlap_sharpness"] == 0:
            unread["overlap"] = "overlap_sharpness is 0"
        if config["top_items"] == config["sampled_items"] == config["sampled_from"]:
            unread["overlap"] = "top_items and sampled_items are sampled_from, so that both lists are the same"
        if config["sampled_items"] == config["sampled_from"]:
            unread["draw_temperature"] = "sampled_items is sampled_from, so that all of them are drawn"
        return unread

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Store the teacher's lists once; rank by the student and draw every `refresh_period` epochs."""
        if self.items is not None and epoch % self.config["refresh_period"]:
            return False
        length = self.config["top_items"]
        with self.frozen.scoring(), self.learner.scoring():
            if self.teacher_lists is None:
                self.teacher_lists = self.top_of(self.frozen, length, progress)
                self.teacher_targets = self.stored_logits(self.teacher_lists)
            own = self.top_of(self.learner, self.config["sampled_from"], progress)
            drawn = self._drawn(own, self.teacher_lists)
            listed = torch.cat([own[:, :length], drawn], dim=1)
            targets = self.stored_logits(listed)
        is_rest = ~is_listed(self.teacher_lists, listed)
        self.items = torch.cat([listed, self.teacher_lists * is_rest], dim=1)
        if targets is not None and self.teacher_targets is not None:
            self.targets = torch.cat([targets, self.teacher_targets], dim=1)
        of = drawn if self.config["overlap"] == "sampled" else own[:, :length]
        self.overlap = is_listed(self.teacher_lists, of).sum(dim=1) / length
        return True

    def _drawn(self, own: torch.Tensor, teacher_lists: torch.Tensor) -> torch.Tensor:
        """Draw A from the student's lists, the item at rank r with weight exp((min(c_r, 50) + 1) / T).

        c_r is the number of the teacher's items at rank r or below.
        """
        of_teacher = is_listed(own, teacher_lists)
        counts = of_teacher.flip(1).cumsum(dim=1).flip(1).clamp(max=_MOST_COUNTED)
        log_weights = (counts + 1) / self.config["draw_temperature"]
        return draw_listed(own, log_weights, self.config["sampled_items"], self.generator)

    def transfer(self, users: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Both cross-entropies for the distinct users, or the rows, mixed by the users' overlap. Scalar."""
        # `prepare` has set these.
        assert self.items is not None
        assert self.overlap is not None
        assert self.teacher_lists is not None
        units, length = self.units(STUDENT, users, batch, distinct=True), self.config["top_items"]
        users = users_of(units)
        items = self.items[users].long()
        targets = self.teacher_logits(units, items, None if self.targets is None else self.targets[users])
        tables = (self.learner.pair_logits(units, items), targets, items > 0)
        temperature = self.config["temperature"]
        own, shared = (
            losses.list_cross_entropy(logits, targets, temperature, listed)
            for logits, targets, listed in zip(*(table.tensor_split([length], dim=1) for table in tables), strict=True)
        )
        share = torch.exp(-self.config["overlap_sharpness"] * self.overlap[users])
        has_list = self.teacher_lists[users].any(dim=1)
        return (((1 - share) * own + share * shared) * has_list).mean()
