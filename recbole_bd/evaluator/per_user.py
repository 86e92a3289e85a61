"""Values of each user whose means are RecBole's top-k metrics."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.interaction import Interaction
from recbole.evaluator.base_metric import TopkMetric

from recbole_bd.data.split import Split
from recbole_bd.evaluator.collector import ArrayCollector
from recbole_bd.evaluator.diversity import DefinedEvaluator
from recbole_bd.system.atomic_write import write_atomically
from recbole_bd.system.distributed import group


class UserCollector(ArrayCollector):
    """Collector that also keeps the inner user ids of each batch, in the order of its rows."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.users: list[torch.Tensor] = []

    def _merge(self, held: dict[str, Any]) -> None:
        super()._merge(held)
        self.users = [users for share in group().all_gather(self.users) for users in share]

    def eval_batch_collect(
        self, scores_tensor: torch.Tensor, interaction: Interaction, positive_u: torch.Tensor, positive_i: torch.Tensor
    ) -> None:
        """Collect one batch; see `ArrayCollector`."""
        # Full ranking lists each user once. Ranking among sampled items lists the user once per item, consecutively.
        self.users.append(torch.unique_consecutive(interaction[self.config["USER_ID_FIELD"]]).cpu())
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)


class UserEvaluator(DefinedEvaluator):
    """Evaluator that also keeps each user's values, whose means are the top-k metrics."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.values: dict[str, np.ndarray] = {}
        for metric in self.metric_class.values():
            if isinstance(metric, TopkMetric):
                metric.topk_result = self._keeping(metric.topk_result)

    def _keeping(self, mean: Callable) -> Callable:
        def keep(name: str, values: np.ndarray) -> dict:
            """Keep the values [n_users, K] of a metric at cut-offs 1 to K, and return RecBole's means."""
            means = mean(name, values)
            at = {key: int(key.rpartition("@")[2]) for key in means}
            self.values |= {key: values[:, k - 1].astype(np.float64) for key, k in at.items()}
            return means

        return keep


class PerUser:
    """Values of each user of a part in the metrics that are means over users.

    These are RecBole's top-k metrics: recall, mrr, ndcg, hit, precision and map. Coverage, GAUC and others are no means
    over users and are left out.

    Args:
        split: the data; gives users their original ids.

    Attributes:
        users: original ids, unicode [n_users], in the order of RecBole's inner ids (first appearance in the data); None
            before the first `add`.
        values: float64 [n_users] by `role/arm/metric`, not rounded.
    """

    def __init__(self, split: Split):
        self._split = split
        self.users: np.ndarray | None = None
        self.values: dict[str, np.ndarray] = {}

    def add(self, prefix: str, users: list[torch.Tensor], values: dict[str, np.ndarray]) -> None:
        """Add the values of one role in one arm.

        Args:
            prefix: `role/arm`.
            users: inner ids of the rows of the values, int64, one tensor per batch.
            values: [n_users] by metric.
        """
        if not values:
            return
        ids, order = torch.cat(users).sort()
        dataset = self._split.dataset
        self.users = dataset.id2token(dataset.uid_field, ids.numpy()).astype(str)
        self.values |= {f"{prefix}/{name}": array[order.numpy()] for name, array in values.items()}

    def copy(self, known: str, prefix: str) -> None:
        """Give the values under one `role/arm` to another one, whose state is the same."""
        of_known = {key.rpartition("/")[2]: array for key, array in self.values.items() if key.startswith(f"{known}/")}
        self.values |= {f"{prefix}/{metric}": array for metric, array in of_known.items()}

    def keep(self, metric: str) -> None:
        """Drop the values of all other metrics.

        Args:
            metric: e.g. `ndcg@10`.
        """
        self.values = {key: values for key, values in self.values.items() if key.endswith(f"/{metric}")}

    def write(self, path: Path) -> None:
        """Write `users` and the values as plain compressed NumPy arrays; write no file if there are no values."""
        if self.values:
            arrays: dict[str, Any] = {"users": self.users, **self.values}
            write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))
