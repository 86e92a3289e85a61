"""Knowledge distillation via collaborative learning: teacher and student both learn from their ensemble.

Guo, Wang, Wu, Yu, Liang, Hu, Luo: Online Knowledge Distillation via Collaborative Learning. CVPR 2020. Its ensembles
are of logits of one scale. Those of recommenders have none in common, so here they are standardised or become ranks.
"""

from collections.abc import Mapping

import torch
from recbole.config import Config
from torch import Tensor

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.model.objective import number, temperature_text
from recbole_bd.model.prepared import UNTRAINED
from recbole_bd.model.two_way import TwoWay
from recbole_bd.sampler.draws import head_length
from recbole_bd.sampler.seen_items import Indices
from recbole_bd.sampler.top_lists import topk_sorted


class KDCL(TwoWay):
    """Both roles learn the softmax of one weighted sum of their scores.

    L_role = L_CF(role) + lambda_role * mean over u of - sum over j in Q of p*_j * log softmax_Q(z_role)_j

    p* = softmax_Q((w_T * s_T + (1 - w_T) * s_S) / t)

    z are logits, t is the temperature, and p* is a constant that both roles share. The scores s are z standardised over
    Q for each user, or exp(-rank / T), rank 1 being the best of Q: see `scores`. The list Q and the mean are those of
    `TwoWay`. With w_T = 1 the teacher gives the target to both: it cannot be drawn to the student.

    Args:
        config, dataset, roles, control: see `TwoWay`.
    """

    @classmethod
    def target_facts(cls, config: Config, role: str) -> tuple[str, ...]:
        """Name the ensemble, its scores and the temperature: see `TwoWay.target_facts`."""
        kind = "untrained roles" if config["taught_by"] == UNTRAINED else "current states"
        scores = "standardised logits"
        if config["scores"] == "ranks":
            scores = f"exp(-rank / {number(config['rank_temperature'])})"
        of = f"{number(config['teacher_weight'])} of the teacher's"
        return f"target ensemble of {kind} by {scores}, {of}", temperature_text(config["temperature"])

    def sources(self, role: str) -> tuple[str, ...]:
        """The roles whose weight is not 0."""
        return tuple(name for name, share in self._shares().items() if share)

    def _shares(self) -> dict[str, float]:
        weight = self.config["teacher_weight"]
        return {TEACHER: weight, STUDENT: 1 - weight}

    def target(self, role: str, logits: Mapping[str, Tensor], absent: Indices) -> Tensor:
        """Weighted sum of the roles' scores, divided by the temperature: see `TwoWay.target`."""
        shares, scored = self._shares(), {}
        for name, own in logits.items():
            if self.config["scores"] == "ranks":
                scored[name] = rank_scores(own, absent, self.config["rank_temperature"])
            else:
                scored[name] = standardised(own, absent)
        total = sum(shares[name] * scores for name, scores in scored.items())
        return torch.as_tensor(total) / self.config["temperature"]


def standardised(logits: Tensor, absent: Indices) -> Tensor:
    """Subtract each row's mean, and divide by its standard deviation.

    Args:
        logits: [C, n].
        absent: rows and columns of the entries that are left out of both.

    Returns:
        [C, n]; 0 at absent entries, and in rows whose logits are all equal.
    """
    count = logits.shape[1] - torch.bincount(absent[0], minlength=len(logits)).unsqueeze(1)
    count = count.clamp(min=1)
    scores = logits.clone()
    scores[absent] = 0
    scores -= scores.sum(dim=1, keepdim=True) / count
    scores[absent] = 0
    deviation = (scores.square().sum(dim=1, keepdim=True) / count).sqrt()
    return torch.where(deviation > 0, scores / deviation, 0)


def rank_scores(logits: Tensor, absent: Indices, temperature: float) -> Tensor:
    """Scores by rank within each row: exp(-rank / temperature), rank 1 the best.

    Args:
        logits: [C, n].
        absent: rows and columns of the entries that have no rank.
        temperature: above 0, in ranks.

    Returns:
        float32 [C, n]; 0 at absent entries, and where the score is below e^-10 times the best one.
    """
    left = logits.float() + 0.0  # 0.0 in the place of -0.0
    left[absent] = -torch.inf
    length = min(head_length(temperature), left.shape[1])
    best, columns = topk_sorted(left, length)
    ranks = torch.arange(1, length + 1, device=left.device)
    found = torch.where(best == -torch.inf, 0, torch.exp(ranks / -temperature))
    return torch.zeros_like(left).scatter_(1, columns, found)
