"""Hierarchical Topology Distillation: angles within groups, and between groups, are those of the teacher.

Kang, Hwang, Kweon, Yu: Topology Distillation for Recommender System. KDD 2021. doi 10.1145/3447548.3467319.
"""

import torch
from recbole.config import Config
from torch import Tensor

from recbole_bd.data.batches import Batch
from recbole_bd.model.de import DE, OF_ANNEALING, Experts
from recbole_bd.model.ftd import units_and_items
from recbole_bd.model.objective import number
from recbole_bd.model.topology import hierarchical_topology


class HTD(DE):
    """The student learns the teacher's cosines within groups, and between groups and all users and items.

    L = L_CF + lambda * (alpha * TD + (1 - alpha) * GA)

    TD is `hierarchical_topology` of the distinct users and items of the batch. The group of each is the expert that the
    selection network finds most probable for the teacher's vector; users and items have groups of their own. GA, the
    group assignment, is the mean of || t - E(s) ||^2 over them, as in DE. It trains experts and selection, and the
    student's vectors too.

    Means stand for the public code's sums, where TD has some hundred pairs for each term of GA. So an alpha of .99 here
    is about its .5.

    Args:
        config, dataset, roles, control: see `Distiller`.
    """

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the loss, the groups and the target: see `OneWay.transfer_facts`."""
        _, _, *facts = super().transfer_facts(config)
        return (
            "hierarchical_topology",
            "users and items of the batch",
            f"{number(config['topology_share'])} of the topology and the rest of the groups",
            *facts,
        )

    @classmethod
    def not_read(cls, config: Config) -> dict[str, str]:
        """Options of the group assignment, where it has no weight: see `Distiller.not_read`."""
        unread = super().not_read(config)
        if config["topology_share"] == 1:
            unread |= dict.fromkeys(OF_ANNEALING, "topology_share is 1")
        return unread

    def transfer(self, users: Tensor, batch: Batch) -> Tensor:
        """Mean squared difference of cosines, and distance of the restored vectors. Scalar."""
        units, items = units_and_items(self, users, batch)
        own, target = self.vectors(units, items)
        experts = self.user_experts, self.item_experts
        distances = [self.distance(*one) * len(one[1]) for one in zip(experts, own, target, strict=True)]
        assignment = torch.stack(distances).sum() / (len(units) + len(items))
        groups = [groups_of(one, vectors) for one, vectors in zip(experts, target, strict=True)]
        groups[1] = groups[1] + self.config["experts"]
        topology = hierarchical_topology(torch.cat(own), torch.cat(target), torch.cat(groups))
        share = self.config["topology_share"]
        return share * topology + (1 - share) * assignment


@torch.no_grad()
def groups_of(experts: Experts, teacher: Tensor) -> Tensor:
    """Number of the most probable expert of each vector, without noise.

    Args:
        experts: of users or of items.
        teacher: [N, d_T].

    Returns:
        int64 [N].
    """
    return (teacher @ experts.selection + experts.selection_bias).argmax(dim=1)
