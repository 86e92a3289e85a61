"""Distillation Experts: networks that restore the teacher's embeddings from the student's.

Kang, Hwang, Kweon, Yu: DE-RRD: A Knowledge Distillation Framework for Recommender System. CIKM 2020.
doi 10.1145/3340531.3412005.
"""

from collections.abc import Callable, Sequence

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from torch import Tensor, nn

from recbole_bd.backbones.names import STUDENT
from recbole_bd.backbones.role import Role
from recbole_bd.data.batches import Batch
from recbole_bd.model import losses
from recbole_bd.model.embeddings import OfEmbeddings, start_text
from recbole_bd.model.objective import number
from recbole_bd.model.one_way import teacher_text

# Options of the temperature of the selection.
OF_ANNEALING = ("temperature_start", "temperature_end", "annealing_epochs")


class Experts(nn.Module):
    """Mixture of experts from the student's space to the teacher's, selected by the teacher's vector.

    An expert has layers d_student -> (d_student + d_teacher) / 2 -> d_teacher with a ReLU between them. Between equal
    widths the middle layer has half of them, as in the public code; a wider one could copy any vector. The selection
    is one linear layer on the teacher's vector. All experts are computed together. They are mixed before the second
    layer, so that no array of [rows, experts, d_teacher] is made. On a CPU, rows of which one expert has the whole
    share, as most have once the temperature is low, are computed by that expert alone.

    Args:
        student_size, teacher_size: widths of the two spaces.
        count: number of experts.
        generator: draws the initial values, distributed as those of torch's linear layers.
    """

    def __init__(self, student_size: int, teacher_size: int, count: int, generator: torch.Generator):
        super().__init__()
        hidden = max(student_size // 2, 1) if student_size == teacher_size else (student_size + teacher_size) // 2

        def uniform(*shape: int, fan_in: int) -> nn.Parameter:
            values = torch.rand(*shape, generator=generator, device=generator.device)
            return nn.Parameter((2 * values - 1) / fan_in**0.5)

        self.first = uniform(student_size, count, hidden, fan_in=student_size)
        self.first_bias = uniform(count, hidden, fan_in=student_size)
        self.second = uniform(count, hidden, teacher_size, fan_in=hidden)
        self.second_bias = uniform(count, teacher_size, fan_in=hidden)
        self.selection = uniform(teacher_size, count, fan_in=teacher_size)
        self.selection_bias = uniform(count, fan_in=teacher_size)

    def forward(self, student: Tensor, teacher: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Map the student's vectors by the selected experts.

        Args:
            student: [N, d_student].
            teacher: [N, d_teacher], of the same users or items.
            temperature: of the Gumbel-softmax, above 0. Near 0 a single expert is taken, drawn by the selection's
                probabilities.
            generator: draws the Gumbel noise.

        Returns:
            [N, d_teacher].
        """
        share = self.shares(teacher, temperature, generator)  # [N, M]
        if student.device.type != "cpu" or share.shape[1] == 1:
            return self._mixed(student, share)
        greatest, chosen = share.detach().max(dim=1)
        group = torch.where(greatest == 1, chosen, share.shape[1])  # the other shares add up to less than 1e-7
        counts = torch.bincount(group, minlength=share.shape[1] + 1).tolist()
        if counts[-1] > len(student) // 2:
            return self._mixed(student, share)
        order = torch.argsort(group, stable=True)
        *parts, rest = student.index_select(0, order).split(counts)
        found = [*self._selected(parts), self._mixed(rest, share.index_select(0, order[len(order) - len(rest) :]))]
        return torch.cat(found).index_select(0, torch.argsort(order))

    def _mixed(self, student: Tensor, share: Tensor) -> Tensor:
        """Vectors of all experts, mixed by their shares. [N, d_student] and [N, M] to [N, d_teacher]."""
        hidden = torch.addmm(self.first_bias.flatten(), student, self.first.flatten(1)).relu_()  # [N, M * hidden]
        mixed = share.unsqueeze(2) * hidden.unflatten(1, self.first_bias.shape)
        return torch.addmm(share @ self.second_bias, mixed.flatten(1), self.second.flatten(0, 1))

    def _selected(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Vectors of each expert's own rows. M arrays [N_m, d_student] to M arrays [N_m, d_teacher]."""
        layers = zip(
            self.first_bias.unbind(), self.first.unbind(1), self.second_bias.unbind(), self.second.unbind(), strict=True
        )
        return [
            torch.addmm(second_bias, torch.addmm(first_bias, part, first).relu_(), second)
            for part, (first_bias, first, second_bias, second) in zip(parts, layers, strict=True)
        ]

    def shares(self, teacher: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Weight of every expert by the Gumbel-softmax.

        softmax((log alpha + g) / temperature), g standard Gumbel

        Args:
            teacher, temperature, generator: see `forward`.

        Returns:
            [N, M], rows add up to 1.
        """
        # The softmax needs no normalised logarithms, and takes a fraction of the time over the first dimension.
        logits = torch.addmm(self.selection_bias.unsqueeze(1), self.selection.T, teacher.T)  # [M, N]
        noise = torch.empty_like(logits).exponential_(generator=generator).log().neg()
        return torch.softmax((logits + noise) / temperature, dim=0).T


class DE(OfEmbeddings):
    """The student's embeddings learn to let experts restore the teacher's embeddings.

    L = L_CF + lambda * (L_user + (L_positive + L_negative) / 2)

    Each part is the mean of || t - E(s) ||^2 over the distinct users (or rows), positive items or negative items of the
    batch.
    The public code sums here and in its own loss. Lambda means the same where a batch has as many distinct users and
    items as positives.

    Experts and selection networks belong to the method. They are trained by the student's optimizer, are initialised
    from the seed, and are no part of the saved student.

    Args:
        config, dataset, roles, control: see `Distiller`.
    """

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.temperature = config["temperature_start"]
        if not control and self.weight:
            sizes = self.widths()
            self.user_experts, self.item_experts = (
                Experts(sizes[0], sizes[1], config["experts"], self.generator) for _ in range(2)
            )

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the loss, the experts and the target: see `OneWay.transfer_facts`."""
        start, end = number(config["temperature_start"]), number(config["temperature_end"])
        epochs = config["annealing_epochs"] or max(config["distill_epochs"], 1)
        return (
            "squared_distance",
            "users, positives and negatives of the batch",
            f"{config['experts']} experts, temperature {start} to {end} over {epochs} epochs",
            f"target {teacher_text(config)}'s embeddings",
            start_text(config),
        )

    @classmethod
    def not_read(cls, config: Config) -> dict[str, str]:
        """Options of the annealing that change nothing: see `Distiller.not_read`."""
        unread = super().not_read(config)
        if config["temperature_start"] == config["temperature_end"]:
            unread["annealing_epochs"] = "temperature_start is temperature_end"
        if config["distill_epochs"] == 1:
            unread |= dict.fromkeys(("temperature_end", "annealing_epochs"), "distill_epochs is 1")
        if config["experts"] == 1:
            unread |= dict.fromkeys(OF_ANNEALING, "experts is 1, so that nothing is selected")
        return unread

    def parameters_beside(self, role: str) -> list[nn.Parameter]:
        """Parameters of experts and selection networks; none in the control, or where the weight is 0."""
        own = [module for name, module in self.named_children() if name.endswith("_experts")]
        return [parameter for module in own for parameter in module.parameters()]

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Store the teacher's embeddings once, and anneal the temperature.

        T_start * (T_end / T_start)^(epoch / epochs)
        """
        start, end = self.config["temperature_start"], self.config["temperature_end"]
        epochs = self.config["annealing_epochs"] or max(self.config["distill_epochs"], 1)
        self.temperature = start * (end / start) ** min(epoch / epochs, 1.0)
        return super().prepare(epoch, progress)

    def transfer(self, users: Tensor, batch: Batch) -> Tensor:
        """Squared distance between restored and actual teacher embeddings. Scalar."""
        positives, negatives = self.items_of(users, batch)
        units = self.units(STUDENT, users, batch, distinct=True)
        own, target = self.vectors(units, torch.cat([positives, negatives]))
        user_term = self.distance(self.user_experts, own[0], target[0])
        kinds = zip(*(vectors[1].split([len(positives), len(negatives)]) for vectors in (own, target)), strict=True)
        item_terms = [self.distance(self.item_experts, *kind) for kind in kinds]
        return user_term + sum(item_terms) / 2

    def distance(self, experts: Experts, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean squared distance of the vectors that experts restore. Scalar.

        Args:
            experts: of users or of items.
            student: [N, d_S].
            teacher: [N, d_T], of the same users or items.
        """
        return losses.squared_distance(experts(student, teacher, self.temperature, self.generator), teacher)
