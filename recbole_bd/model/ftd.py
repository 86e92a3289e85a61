"""Full Topology Distillation: the angles between all users and items of a batch are those of the teacher.

Kang, Hwang, Kweon, Yu: Topology Distillation for Recommender System. KDD 2021. doi 10.1145/3447548.3467319.
"""

import torch
from recbole.config import Config
from torch import Tensor

from recbole_bd.backbones.names import STUDENT
from recbole_bd.backbones.scoring.rows import Units
from recbole_bd.data.batches import Batch
from recbole_bd.model.embeddings import OfEmbeddings, start_text
from recbole_bd.model.one_way import teacher_text
from recbole_bd.model.topology import full_topology


class FTD(OfEmbeddings):
    """The student learns the cosines between the teacher's vectors.

    L = L_CF + lambda * mean over (a, b) of (cos(s_a, s_b) - cos(t_a, t_b))^2

    a and b are the distinct users (or rows) and items of the batch, positives and negatives alike. The public code sums
    over the pairs and sums its own loss over positives. Its lambda is ours divided by the number of pairs per positive.

    Args:
        config, dataset, roles, control: see `Distiller`.
    """

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the loss, the pairs and the target: see `OneWay.transfer_facts`."""
        return "full_topology", "all pairs of the batch", f"target {teacher_text(config)}'s angles", start_text(config)

    def transfer(self, users: Tensor, batch: Batch) -> Tensor:
        """Mean squared difference of cosines. Scalar."""
        own, target = self.vectors(*units_and_items(self, users, batch))
        return full_topology(torch.cat(own), torch.cat(target))


def units_and_items(method: OfEmbeddings, users: Tensor, batch: Batch) -> tuple[Units, Tensor]:
    """The distinct users, or the rows, and the distinct items of a batch, positives and negatives alike.

    Args:
        method: draws items where the loader gives none.
        users, batch: see `OneWay.transfer`.

    Returns:
        int64 [U], or rows, and int64 [I].
    """
    return method.units(STUDENT, users, batch, distinct=True), torch.cat(method.items_of(users, batch)).unique()
