"""How much two models of the same users could learn from each other, from the values of each user.

This module imports neither torch nor RecBole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Values = Sequence[float] | np.ndarray

# Relative spread below which values count as equal, since their correlation would be that of rounding errors.
_EQUAL = 1e-9


@dataclass(frozen=True)
class Complementarity:
    """Two models compared user by user in one metric; None where a value is not defined.

    Attributes:
        correlation: Pearson's, over users, in [-1, 1]; None where the values of a model do not vary.
        ratio: mean of the second model divided by that of the first; None where that is 0.
        headroom: relative gain of whoever knew the better model for each user over the better model, at least 0; None
            where the better model's mean is 0.
    """

    correlation: float | None
    ratio: float | None
    headroom: float | None


def complementarity(first: Values, second: Values, less_is_better: bool = False) -> Complementarity:
    """Compare two models by the values of the same users.

    With the values a_u and b_u, and max for min where less is better:

        headroom = | mean over u of max(a_u, b_u) / max(mean a, mean b) - 1 |

    Args:
        first, second: [n_users] finite values of a metric, in the same order of users; one user at least.
        less_is_better: whether lower values are better.
    """
    of_first, of_second = (np.asarray(values, dtype=np.float64) for values in (first, second))
    means = float(of_first.mean()), float(of_second.mean())
    best, best_of_each = (min, np.minimum) if less_is_better else (max, np.maximum)
    better = best(means)
    headroom = abs(float(best_of_each(of_first, of_second).mean()) / better - 1) if better else None
    return Complementarity(_correlation(of_first, of_second), ratio(*means), headroom)


def ratio(first: float, second: float) -> float | None:
    """Divide the second by the first; None where that is 0."""
    return second / first if first else None


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    if any(np.ptp(values) <= _EQUAL * np.abs(values).max() for values in (first, second)):
        return None
    return float(np.corrcoef(first, second)[0, 1].clip(-1, 1))
