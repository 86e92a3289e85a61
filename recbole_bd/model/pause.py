"""Pauses of the teacher while the student is too far behind.

Qian, Wang, Yin, Liu, Wang, Shao: Switchable Online Knowledge Distillation. ECCV 2022. arXiv 2209.04996.
"""

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import Units
from recbole_bd.data.batches import Batch
from recbole_bd.model.batch_items import BatchItems
from recbole_bd.sampler.sampler import DistillationSampler

logger = logging.getLogger(__name__)


class SwitOKD:
    """Asks before each step whether the teacher pauses, on lists of the positive and the items drawn for the batch.

    Both roles score the lists in their present states, without dropout. This costs two passes more for each step.

    Args:
        roles: the two roles by name.
        learner: the direction whose drawn items make the lists.

    Attributes:
        asked, paused: steps since the last `log`.
    """

    def __init__(self, roles: Mapping[str, Role], learner: str):
        self._roles, self._learner = roles, learner
        self.asked = self.paused = 0

    def holds(
        self, drawn: BatchItems, sampler: DistillationSampler, batch: Batch, units_of: Callable[[Tensor], Units]
    ) -> bool:
        """Whether the teacher shall not learn from a batch.

        Args:
            drawn: draws the items of a batch.
            sampler: holds the drawn items.
            batch: a batch that the teacher would learn from.
            units_of: gives what both roles score for users: see `AtRows.units`.
        """
        lists_of = drawn.draw(sampler, self._learner, batch, takes_positive=True)
        if lists_of.positives is None or not len(lists_of.users):
            return False
        lists = lists_of.with_positives()
        units = units_of(lists_of.users)
        logits = [self._roles[name].target_logits(units, lists, learning=False) for name in (STUDENT, TEACHER)]
        found = bool(is_far_behind(*logits))
        self.asked += 1
        self.paused += found
        return found

    def log(self) -> None:
        """Tell how often the teacher has paused since the last call."""
        if self.asked:
            logger.info("distilled: the teacher paused in %d of %d steps", self.paused, self.asked)
        self.asked = self.paused = 0


def is_far_behind(student: Tensor, teacher: Tensor) -> Tensor:
    """Whether the gap between the roles is above the threshold of SwitOKD.

    G = |p_S - p_T|,   s = |p_S - y|,   t = |p_T - y|
    G > s - exp(-t / (s + t)) * t   and   t < s

    p is the softmax over a list, y the one-hot positive, and |.| the sum of absolute values, a mean over the lists.

    Args:
        student, teacher: logits [B, 1 + K], the positive in column 0.

    Returns:
        A bool scalar.
    """
    own, other = student.float().softmax(dim=1), teacher.float().softmax(dim=1)
    gap = (own - other).abs().sum(dim=1).mean()
    behind, ahead = (2 * (1 - shares[:, 0]).mean() for shares in (own, other))  # |p - y| = 2 (1 - p_0)
    threshold = behind - torch.exp(-ahead / (behind + ahead).clamp(min=1e-12)) * ahead
    return (gap > threshold) & (ahead < behind)
