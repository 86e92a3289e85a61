"""Paired significance tests and confidence intervals over users or over seeds.

The tests are SciPy's. This module imports neither torch nor RecBole.
"""

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from recbole_bd.errors import ComparisonError

Values = Sequence[float] | np.ndarray

# Decimals of the rounded differences. Smaller differences are rounding errors of sums and would break ties.
_DECIMALS = 12
# Fewest pairs for a bootstrap. Below this its interval is far too narrow, and Student's is used.
_FEWEST_RESAMPLED = 10
# Most pairs for BCa. Its jackknife costs the square of their number, and its correction vanishes for many pairs.
_MOST_CORRECTED = 2000
_MOST_RESAMPLES, _LEAST_RESAMPLES = 9999, 1000
_MOST_ENUMERATED = 13
_DRAWS, _DRAWS_AT_ONCE = 2 * 10**7, 2**20
# Name of the generator's argument of `scipy.stats.bootstrap`, which SciPy 1.15 renamed.
RNG = "rng" if "rng" in inspect.signature(scipy.stats.bootstrap).parameters else "random_state"


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of the means of two samples; None where there are too few pairs for a value.

    Attributes:
        mean_a, mean_b: means of the samples.
        difference: mean_b - mean_a; above 0 where B is higher.
        low, high: confidence interval of the difference; None with one pair, or where all pairs differ equally.
        interval: its kind: `BCa` or `percentile` (bootstrap), `Student` (fewer than 10 pairs), or `none`.
        t_p: two-sided p value of the paired t test; 1 where no pair differs; None with one pair, or where all pairs
            differ by the same amount and the variance is 0.
        wilcoxon_p: two-sided p value of Wilcoxon's signed-rank test over the pairs that differ; 1 where no pair
            differs; None with one pair.
        effect_size: Cohen's d_z, the mean of the differences over their standard deviation; 0 where no pair differs;
            None where t_p is.
        rank_biserial: share of the ranks of absolute differences in favour of B minus the share in favour of A,
            in [-1, 1].
        n: number of pairs.
    """

    mean_a: float
    mean_b: float
    difference: float
    low: float | None
    high: float | None
    interval: str
    t_p: float | None
    wilcoxon_p: float | None
    effect_size: float | None
    rank_biserial: float
    n: int


def compare(a: Values, b: Values, level: float = 0.95, seed: int = 0) -> Comparison:
    """Compare two paired samples: the values of the same users, or of the same seeds, in the same order.

    Args:
        a, b: [n] values.
        level: confidence of the interval, in (0, 1).
        seed: seed of the bootstrap.

    Returns:
        The comparison. The bootstrap draws 9,999 resamples. Many pairs lower this to 20 million values in all, but at
        least 1,000 resamples. 100,000 pairs take about a second and 20 MB.

    Raises:
        ComparisonError: there are no values, the lengths differ, or a value is not finite.
    """
    of_a, of_b = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if of_a.shape != of_b.shape or of_a.ndim != 1 or not len(of_a):
        raise ComparisonError(f"expected pairs of values, found arrays of shapes {of_a.shape} and {of_b.shape}")
    unknown = int((~(np.isfinite(of_a) & np.isfinite(of_b))).sum())
    if unknown:
        raise ComparisonError(f"{unknown} of {len(of_a)} pairs have a value that is not finite")
    differences = (of_b - of_a).round(_DECIMALS)
    low, high, interval = _interval(differences, level, seed)
    t_p, effect_size = _t_test(differences)
    wilcoxon_p, rank_biserial = _wilcoxon(differences)
    mean_a, mean_b = float(of_a.mean()), float(of_b.mean())
    return Comparison(
        mean_a, mean_b, mean_b - mean_a, low, high, interval, t_p, wilcoxon_p, effect_size, rank_biserial, len(of_a)
    )


def t_test(a: Values, b: Values) -> float | None:
    """Compute the paired t test of `compare` alone, without the bootstrap.

    Args:
        a, b: [n] finite values, paired.

    Returns:
        `Comparison.t_p`.
    """
    differences = (np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)).round(_DECIMALS)
    return _t_test(differences)[0]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust the p values of a family of m tests by Holm's method, which controls the family-wise error rate.

    With p_(1) <= ... <= p_(m):

        adjusted_(i) = min(1, max over j <= i of (m - j + 1) p_(j))

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.

    Args:
        p_values: p values of the family. None (no test was possible) stays None and does not count in m.

    Returns:
        The adjusted values, in the same order.

    Raises:
        ComparisonError: a value outside [0, 1].
    """
    known = [index for index, p in enumerate(p_values) if p is not None]
    values = np.array([p_values[index] for index in known], dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ComparisonError(f"p values must be in [0, 1], found {values.tolist()}")
    order = np.argsort(values, kind="stable")
    adjusted: list[float | None] = [None] * len(p_values)
    raised = np.maximum.accumulate(values[order] * np.arange(len(known), 0, -1)).clip(max=1)
    for place, value in zip(order, raised, strict=True):
        adjusted[known[place]] = float(value)
    return adjusted


def _constant(differences: np.ndarray) -> bool:
    return bool(np.ptp(differences) <= 1e-9 * np.abs(differences).max())


def _t_test(differences: np.ndarray) -> tuple[float | None, float | None]:
    """Compute the p value of the paired t test, and Cohen's d_z."""
    if len(differences) < 2:
        return None, None
    if not differences.any():
        return 1.0, 0.0
    if _constant(differences):
        return None, None
    p = scipy.stats.ttest_1samp(differences, 0.0).pvalue
    return float(p), float(differences.mean() / differences.std(ddof=1))


def _wilcoxon(differences: np.ndarray) -> tuple[float | None, float]:
    """Compute the p value of the signed-rank test and the rank-biserial correlation, both without equal pairs."""
    unequal = differences[differences != 0]
    if not len(unequal):
        return (1.0 if len(differences) > 1 else None), 0.0
    signed = scipy.stats.rankdata(np.abs(unequal)) * np.sign(unequal)
    favour = float(signed.sum() / np.abs(signed).sum())
    if len(differences) < 2:
        return None, favour
    tied = len(np.unique(np.abs(unequal))) < len(unequal)
    if tied and len(unequal) <= _MOST_ENUMERATED:
        # SciPy before 1.15 ignores ties in its exact test. So few pairs can be enumerated instead.
        test = scipy.stats.permutation_test(
            (signed,), np.sum, permutation_type="samples", vectorized=True, n_resamples=np.inf
        )
    else:
        test = scipy.stats.wilcoxon(unequal, method="approx" if tied else "auto")
    return float(test.pvalue), favour


def _interval(differences: np.ndarray, level: float, seed: int) -> tuple[float | None, float | None, str]:
    """Compute the confidence interval of the mean difference, and name its kind."""
    n = len(differences)
    if n < 2 or _constant(differences):
        return None, None, "none"
    if n < _FEWEST_RESAMPLED:
        bounds = scipy.stats.ttest_1samp(differences, 0.0).confidence_interval(level)
        return float(bounds.low), float(bounds.high), "Student"
    method = "BCa" if n <= _MOST_CORRECTED else "percentile"
    low, high = _bootstrap(differences, level, seed, method)
    if not np.isfinite((low, high)).all():  # BCa can be degenerate; the percentile interval cannot
        method = "percentile"
        low, high = _bootstrap(differences, level, seed, method)
    return low, high, method


def _bootstrap(differences: np.ndarray, level: float, seed: int, method: str) -> tuple[float, float]:
    """Compute a bootstrap interval of the mean; NaN where BCa is degenerate."""
    n = len(differences)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
        bounds = scipy.stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=int(np.clip(_DRAWS // n, _LEAST_RESAMPLES, _MOST_RESAMPLES)),
            batch=max(1, _DRAWS_AT_ONCE // n),
            confidence_level=level,
            method=method,
            **{RNG: np.random.default_rng(seed)},
        ).confidence_interval
    return float(bounds.low), float(bounds.high)
