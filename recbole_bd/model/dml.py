"""Deep Mutual Learning: teacher and student learn each other's softmax, from both current states.

Zhang, Xiang, Hospedales, Lu: Deep Mutual Learning. CVPR 2018. arXiv 1706.00384.
"""

from collections.abc import Mapping

from recbole.config import Config
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.role import Role
from recbole_bd.model.objective import temperature_text
from recbole_bd.model.prepared import UNTRAINED
from recbole_bd.model.two_way import TwoWay
from recbole_bd.sampler.seen_items import Indices


class DML(TwoWay):
    """Each role learns the softmax of the other role's current logits.

    L_role = L_CF(role) + lambda_role * mean over u of - sum over j in Q of p_other,j * log p_role,j

    p_role = softmax_Q(z_role / t)

    z are logits, t is the temperature, and p_other is a constant. The list Q and the mean are those of `TwoWay`. The
    gradient is that of KL(p_other || p_role).

    Args:
        config, dataset, roles, control: see `TwoWay`.
    """

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.temperature = config["temperature"]

    @classmethod
    def target_facts(cls, config: Config, role: str) -> tuple[str, ...]:
        """Name the other role and the temperature: see `TwoWay.target_facts`."""
        other = _other(role)
        who = f"untrained {other}" if config["taught_by"] == UNTRAINED else f"{other}'s current state"
        return f"target {who}", temperature_text(config["temperature"], on="both")

    def sources(self, role: str) -> tuple[str, ...]:
        """The other role alone."""
        return (_other(role),)

    def target(self, role: str, logits: Mapping[str, Tensor], absent: Indices) -> Tensor:
        """Logits of the other role: see `TwoWay.target`."""
        return logits[_other(role)]


def _other(role: str) -> str:
    return STUDENT if role == TEACHER else TEACHER
