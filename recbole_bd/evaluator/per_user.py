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

from recbole_bd.data.split import Split
from recbole_bd.evaluator.collector import ArrayCollector
from recbole_bd.system.atomic_write import write_atomically
from recbole_bd.system.distributed import group


class UserCollector(ArrayCollector):
    """Also keeps whose rows it collects: inner user ids of each batch, in the order of its rows."""

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
        # Full ranking names each user once; ranking among sampled items names the user of each of them, in one run.
        self.users.append(torch.unique_consecutive(interaction[self.config["USER_ID_FIELD"]]).cpu())
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)


class UserEvaluator(Evaluator):
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
