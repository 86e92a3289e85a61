"""Metrics of recommended items as they are defined, where RecBole 1.2.1 computes something else.

RecBole counts padding as an item that could be recommended (`ItemCoverage`, `GiniIndex`), divides the entropy by the
number of recommended items (`ShannonEntropy`), and counts excluded items, padding among them, as recommended where a
user has fewer than K items left (all five metrics). Below, an item list is int [n_users, K], the best item first, with
0 in places beyond a user's last item.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.evaluator import Evaluator, metrics

RECBOLE = "recbole"


class ItemCoverage(metrics.ItemCoverage):
    """Share of the items that are in a list: |union of the lists| / |items|."""

    def get_coverage(self, item_matrix: np.ndarray, num_items: int) -> float:
        """Compute the share; `num_items` includes padding."""
        return len(np.unique(item_matrix[item_matrix > 0])) / (num_items - 1)


class ShannonEntropy(metrics.ShannonEntropy):
    """Entropy of the distribution of recommended items, in nats: - sum over items of p log p."""

    def get_entropy(self, item_matrix: np.ndarray) -> float:
        """Compute the entropy."""
        counts = np.unique(item_matrix[item_matrix > 0], return_counts=True)[1]
        shares = counts / counts.sum()
        return float(-(shares * np.log(shares)).sum())


class GiniIndex(metrics.GiniIndex):
    """Inequality of the items' numbers of recommendations P, in ascending order, never recommended items included.

    Gini = sum over i of (2 i - n - 1) P_(i) / (n sum over i of P_(i)), with i = 1 ... n.
    """

    def get_gini(self, item_matrix: np.ndarray, num_items: int) -> float:
        """Compute the index; `num_items` includes padding."""
        counts = np.sort(np.bincount(item_matrix[item_matrix > 0], minlength=num_items)[1:])
        n = num_items - 1
        return float(((2 * np.arange(1, n + 1) - n - 1) * counts).sum() / (n * counts.sum()))


class AveragePopularity(metrics.AveragePopularity):
    """Mean over users of the mean number of training interactions of a user's listed items."""

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Compute the metric at each cut-off."""
        items, counts = self.used_info(dataobject)
        return self.topk_result("averagepopularity", _means_of_listed(items, counts))


class TailPercentage(metrics.TailPercentage):
    """Mean over users of the share of a user's listed items that are in the long tail.

    The tail is RecBole's: the share `tail_ratio` of the items with training interactions that have the fewest, or the
    items with at most `tail_ratio` of them if it is above 1.
    """

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Compute the metric at each cut-off."""
        items, counts = self.used_info(dataobject)
        known = np.array(list(counts))
        in_tail = self.get_tail(known.reshape(1, -1), counts)[0]
        return self.topk_result("tailpercentage", _means_of_listed(items, dict(zip(known, in_tail, strict=True))))


def _means_of_listed(items: np.ndarray, values: Mapping[int, float]) -> np.ndarray:
    """Mean value of the first k items of each list, float64 [n_users, K] for k = 1 ... K.

    Items without a value count as 0. Places beyond a user's last item do not count.
    """
    table = np.zeros(max(items.max(initial=0), *values, 0) + 1, dtype=np.int64)
    table[list(values)] = list(values.values())
    table[0] = 0
    return table[items].cumsum(axis=1) / np.maximum((items > 0).cumsum(axis=1), 1)


_METRICS = (ItemCoverage, ShannonEntropy, GiniIndex, AveragePopularity, TailPercentage)
BY_NAME = {metric.__name__.lower(): metric for metric in _METRICS}


def redefined(config: Config) -> list[str]:
    """Names of the measured metrics whose values are not RecBole's; none with `metrics_as: recbole`."""
    if config["metrics_as"] == RECBOLE:
        return []
    measured = {name.lower() for name in config["metrics"]}
    return [metric.__name__ for name, metric in BY_NAME.items() if name in measured]


class DefinedEvaluator(Evaluator):
    """RecBole's evaluator with the metrics of this module, unless `metrics_as: recbole`."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.metric_class |= {name.lower(): BY_NAME[name.lower()](config) for name in redefined(config)}
