"""Test results of both roles through RecBole's full ranking, and where the student ranks better than the teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.interaction import Interaction
from recbole.evaluator import Evaluator
from recbole.evaluator.base_metric import TopkMetric

from recbole_bd.atomic import write_atomically
from recbole_bd.collector import ArrayCollector
from recbole_bd.data import Split
from recbole_bd.distributed import group
from recbole_bd.journal import Journal
from recbole_bd.ranking import SeenItems, require_numbers
from recbole_bd.role_trainer import role_trainer
from recbole_bd.roles import Role

# Scores compared at a time: 4 bytes each, and a boolean of the same shape.
_CHUNK_SCORES = 2**22


def evaluate(
    role: Role,
    split: Split,
    loader: Any,
    journal: Journal,
    stage: str,
    show_progress: bool = False,
    per_user: "PerUser | None" = None,
) -> dict[str, float]:
    """RecBole's own evaluation of a role's model as it is now.

    Args:
        role: the role.
        split: the data; item and user counts come from its training part.
        loader: `split.valid_loader` or `split.test_loader`.
        journal: receives the duration.
        stage: `separate`, `distilled` or `continued`.
        show_progress: whether to draw a progress bar.
        per_user: receives what each user contributes to the metrics, as `role/stage/metric`.

    Returns:
        Metric name, e.g. `ndcg@10`, to value, rounded to `metric_decimal_place`.

    Raises:
        TrainingError: a parameter or a score is not finite.
    """
    trainer = role_trainer(role, journal, stage)
    if per_user is not None:
        trainer.eval_collector, trainer.evaluator = _UserCollector(role.config), _UserEvaluator(role.config)
    trainer.eval_collector.data_collect(_TrainingData(split))
    result = trainer.evaluate(loader, show_progress=show_progress)
    if per_user is not None:
        per_user.add(f"{role.name}/{stage}", trainer.eval_collector.users, trainer.evaluator.values)
    return {name: float(value) for name, value in result.items()}


class _TrainingData:
    """What RecBole's collector asks of a training loader: its data set."""

    def __init__(self, split: Split):
        self.dataset = split.train


class _UserCollector(ArrayCollector):
    """Also keeps whose rows it collects: inner user ids of each batch, in the order of its rows."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.users: list[torch.Tensor] = []

    def _merge(self, held: dict[str, Any]) -> None:
        super()._merge(held)
        self.users = [users for share in group().gather(self.users) for users in share]

    def eval_batch_collect(
        self, scores_tensor: torch.Tensor, interaction: Interaction, positive_u: torch.Tensor, positive_i: torch.Tensor
    ) -> None:
        """Collect one batch; see `ArrayCollector`."""
        # Full ranking names each user once; ranking among sampled items names the user of each of them, in one run.
        self.users.append(torch.unique_consecutive(interaction[self.config["USER_ID_FIELD"]]).cpu())
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)


class _UserEvaluator(Evaluator):
    """RecBole's evaluator that keeps the values whose means are its top-k metrics."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.values: dict[str, np.ndarray] = {}
        for metric in self.metric_class.values():
            if isinstance(metric, TopkMetric):
                metric.topk_result = self._keeping(metric.topk_result)

    def _keeping(self, mean: Callable) -> Callable:
        def keep(name: str, values: np.ndarray) -> dict:
            """Take [n_users, K], the metric at every cut-off from 1 to K."""
            means = mean(name, values)
            at = {key: int(key.rpartition("@")[2]) for key in means}
            self.values |= {key: values[:, k - 1].astype(np.float64) for key, k in at.items()}
            return means

        return keep


class PerUser:
    """What each user of the test part contributes to the metrics that are means over users.

    These are RecBole's top-k metrics: recall, mrr, ndcg, hit, precision and map. Coverage, GAUC and the like are not.

    Args:
        split: the data; gives users their original ids.

    Attributes:
        users: original ids, unicode [n_users], in the order of RecBole's inner ids, that is of first appearance in the
            data; None before anything was measured.
        values: float64 [n_users] by `role/arm/metric`, not rounded.
    """

    def __init__(self, split: Split):
        self._split = split
        self.users: np.ndarray | None = None
        self.values: dict[str, np.ndarray] = {}

    def add(self, prefix: str, users: list[torch.Tensor], values: dict[str, np.ndarray]) -> None:
        """Take the values of one role in one arm.

        Args:
            prefix: `role/arm`.
            users: inner ids, int64, of the rows of the values, batch by batch.
            values: [n_users] by metric.
        """
        if not values:
            return
        ids, order = torch.cat(users).sort()
        dataset = self._split.dataset
        self.users = dataset.id2token(dataset.uid_field, ids.numpy()).astype(str)
        self.values |= {f"{prefix}/{name}": array[order.numpy()] for name, array in values.items()}

    def write(self, path: Path) -> None:
        """Write `users` and the values as plain NumPy arrays, compressed; nothing where nothing was measured."""
        if self.users is not None:
            arrays: dict[str, Any] = {"users": self.users, **self.values}
            write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))


def test_ranks(role: Role, split: Split) -> torch.Tensor:
    """Rank of every test interaction's item in the list the role would recommend to its user.

    Items of the user's training and validation interactions and the padding item are not in the list; the user's other
    test items are. Ties share the mean of their ranks, so that nothing depends on item ids.

    Args:
        role: the role whose model ranks.
        split: the data.

    Returns:
        float32 [number of test interactions], 1 is best, in the order of `split.pairs("test")`. Working memory is a
        chunk of 2**22 scores; nothing of size users x items is kept.

    Raises:
        DataError: a score is not a number; infinite ones rank at the ends.
    """
    users, items = split.pairs("test")
    listed = [split.pairs(part) for part in ("train", "valid")]
    known_users, known_items = (torch.cat(ids) for ids in zip(*listed, strict=True))
    seen = SeenItems(known_users, known_items, split.n_users, split.n_items)
    order = torch.argsort(users, stable=True)
    ranks = torch.empty(len(users))
    step = max(1, _CHUNK_SCORES // split.n_items)
    with role.scoring():
        for chunk in order.split(step):
            distinct, row = torch.unique(users[chunk], return_inverse=True)
            scores = role.all_logits(distinct.to(role.device)).float().cpu()
            require_numbers(scores.amax(dim=1), role.name)
            own = scores[row, items[chunk]].unsqueeze(1)
            scores[seen.of(distinct)] = torch.nan  # neither better than any score nor equal to one
            better = (scores[row] > own).sum(dim=1)
            # A repeated interaction whose item has left the list itself counts as its own equal.
            equal = (scores[row] == own).sum(dim=1).clamp(min=1)
            ranks[chunk] = better + (equal + 1) / 2
    return ranks


def share_of_wins(student: torch.Tensor, teacher: torch.Tensor) -> float:
    """Share of test interactions whose item the student ranks strictly higher (nearer to 1) than the teacher.

    Args:
        student, teacher: [number of test interactions], ranks in the same order, 1 is best.

    Returns:
        A number in [0, 1].
    """
    return float((student < teacher).float().mean())
