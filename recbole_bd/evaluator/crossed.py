"""Comparison of two methods by users and seeds, both random: test, effect size and hierarchical bootstrap.

A paired test over users holds the trained seeds fixed: it speaks of these trained models. Here the seeds are a sample
as well, so the test speaks of the methods. This module imports neither torch nor RecBole.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from recbole_bd.errors import ComparisonError

# Decimals of the rounded differences. Smaller differences are rounding errors of sums.
_DECIMALS = 12
# Fewest users for a bootstrap, which is far too narrow below.
_FEWEST_RESAMPLED = 10
_MOST_RESAMPLES, _LEAST_RESAMPLES = 4999, 1000
# Users drawn in all, and in one array.
_DRAWS, _DRAWS_AT_ONCE = 10**7, 2**20


@dataclass(frozen=True)
class _Test:
    """Two-way analysis of a table of users and seeds.

    Attributes:
        p: two-sided p value of the mean difference.
        df: degrees of freedom.
        standard_error: of the mean difference.
        components: variance components of users, seeds and rest.
    """

    p: float
    df: float
    standard_error: float
    components: tuple[float, float, float]


@dataclass(frozen=True)
class Crossed:
    """Comparison of the means of two methods over users and seeds; None where there is too little for a value.

    Attributes:
        mean_a, mean_b: means over users and seeds.
        difference: mean_b - mean_a; above 0 where B is higher.
        low, high: confidence interval of the difference; None where there is none.
        interval: its kind: `hierarchical` (bootstrap of users and of seeds), `Student` (fewer than 10 users, from the
            test's standard error), or `none`.
        p: two-sided p value with users and seeds crossed, see `crossed_test`; 1 where no pair differs; None with one
            seed or one user, or where all pairs differ by the same amount.
        df: its degrees of freedom; None where the test was not possible.
        users_variance, seeds_variance, residual_variance: variance components of the differences, by the method of
            moments, which may be below 0; None likewise.
        effect_size: the difference over the standard deviation of one seed's differences between users, see
            `effect_size`; None with one user, or where users do not differ.
        ahead: number of seeds at which B's mean is higher.
        users, seeds: numbers of each.
    """

    mean_a: float
    mean_b: float
    difference: float
    low: float | None
    high: float | None
    interval: str
    p: float | None
    df: float | None
    users_variance: float | None
    seeds_variance: float | None
    residual_variance: float | None
    effect_size: float | None
    ahead: int
    users: int
    seeds: int


def seeds_ahead(differences: np.ndarray) -> int:
    """Count the seeds at which the mean difference is above 0.

    Args:
        differences: [n_users, n_seeds].
    """
    return int((differences.mean(axis=0).round(_DECIMALS) > 0).sum())


def compare_crossed(a: np.ndarray, b: np.ndarray, level: float = 0.95, seed: int = 0) -> Crossed:
    """Compare two methods by the values of the same users under the same seeds.

    Args:
        a, b: [n_users, n_seeds] values, paired.
        level: confidence of the interval, in (0, 1).
        seed: seed of the bootstrap.

    Returns:
        The comparison. With one seed it has no p value, and its interval resamples users alone.

    Raises:
        ComparisonError: there are no values, the shapes differ, or a value is not finite.
    """
    return compare_crossed_pairs([(a, b)], level, seed)[0]


def compare_crossed_pairs(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], level: float = 0.95, seed: int = 0
) -> list[Crossed]:
    """Compare several pairs of methods, in less time than one by one: their bootstraps draw the same users.

    Args:
        pairs: `a` and `b` of `compare_crossed`.
        level, seed: likewise.

    Returns:
        A comparison for each pair, as `compare_crossed` makes it.

    Raises:
        ComparisonError: see `compare_crossed`.
    """
    tables = [_checked(a, b) for a, b in pairs]
    differences = [(of_b - of_a).round(_DECIMALS) for of_a, of_b in tables]
    tests = [_two_way(one) for one in differences]
    resampled = _resampled_means([one for one in differences if _is_resampled(one)], seed)
    rows = zip(tables, differences, tests, strict=True)
    return [
        _comparison(*sides, table, test, next(resampled) if _is_resampled(table) else None, level)
        for sides, table, test in rows
    ]


def _comparison(
    of_a: np.ndarray, of_b: np.ndarray, table: np.ndarray, test: _Test | None, means: np.ndarray | None, level: float
) -> Crossed:
    """Put together what is known of two sides, their differences, the test of these and their resampled means."""
    low, high, interval = _interval(table, test, means, level)
    components = (None, None, None) if test is None else test.components
    return Crossed(
        mean_a=float(of_a.mean()), mean_b=float(of_b.mean()), difference=float(of_b.mean() - of_a.mean()),
        low=low, high=high, interval=interval, p=_p_of(table, test), df=None if test is None else test.df,
        users_variance=components[0], seeds_variance=components[1], residual_variance=components[2],
        effect_size=effect_size(table), ahead=seeds_ahead(table),
        users=len(table), seeds=table.shape[1],
    )  # fmt: skip


def _checked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two tables of one shape [n_users, n_seeds] with finite values only."""
    of_a, of_b = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if of_a.shape != of_b.shape or of_a.ndim != 2 or not of_a.size:
        raise ComparisonError(f"expected values of users by seeds, found arrays of shapes {of_a.shape}, {of_b.shape}")
    unknown = int((~(np.isfinite(of_a) & np.isfinite(of_b))).sum())
    if unknown:
        raise ComparisonError(f"{unknown} of {of_a.size} pairs have a value that is not finite")
    return of_a, of_b


def crossed_test(a: np.ndarray, b: np.ndarray) -> float | None:
    """Compute the test of `compare_crossed` alone.

    The difference of user u under seed s has the mean m, and an effect of the user, of the seed, and a rest:

        d(u, s) = m + U(u) + S(s) + E(u, s)

    U, S and E are random. With n users, k seeds and the mean squares M_U, M_S and M_E of this two-way table, the
    variance of the mean difference is estimated by

        V / (n k),     V = M_U + M_S - M_E

    and Student's t has the degrees of freedom

        V^2 / (M_U^2 / (n - 1) + M_S^2 / (k - 1) + M_E^2 / ((n - 1) (k - 1)))

    V is at least the larger of M_U and M_S, since a component below 0 is an error of its estimate. At the level of 5 %
    the test rejects 4 to 6 % with five seeds, up to 7 % with three and up to 12 % with two
    (`benchmarks/seed_simulation.py`).

    Source: Satterthwaite, Biometrics Bulletin 2 (1946), 110-114.

    Args:
        a, b: [n_users, n_seeds] finite values, paired.

    Returns:
        `Crossed.p`.
    """
    differences = (np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)).round(_DECIMALS)
    return _p_of(differences, _two_way(differences))


def effect_size(differences: np.ndarray) -> float | None:
    """Compute the mean difference in units of what users differ by under one seed.

        d = mean(d(u, s)) / sqrt(mean over seeds of the variance over users of d(u, s))

    With one seed this is Cohen's d_z. Unlike d_z of averages over seeds, it does not grow with their number, so boards
    of three and of five seeds are comparable.

    Args:
        differences: [n_users, n_seeds].

    Returns:
        The effect size; 0 where no pair differs; None with one user, or where users do not differ.
    """
    if len(differences) < 2:
        return None
    if not differences.any():
        return 0.0
    within = float(differences.var(axis=0, ddof=1).mean())
    if within <= 1e-18 * float(np.abs(differences).max()) ** 2:
        return None
    return float(differences.mean()) / within**0.5


def _two_way(differences: np.ndarray) -> _Test | None:
    """Analyse a table [n_users, n_seeds]; None with one row or column, or without variance."""
    n, k = differences.shape
    if min(n, k) < 2 or _constant(differences):
        return None
    mean = float(differences.mean())
    of_users, of_seeds = differences.mean(axis=1), differences.mean(axis=0)
    rest = differences - of_users[:, None] - of_seeds + mean
    users = k * float(np.square(of_users - mean).sum()) / (n - 1)
    seeds = n * float(np.square(of_seeds - mean).sum()) / (k - 1)
    residual = float(np.square(rest).sum()) / ((n - 1) * (k - 1))
    total = max(users + seeds - residual, users, seeds)
    if total <= 1e-18 * n * k * float(np.square(differences).max()):  # what users and seeds add cancels out
        return None
    df = total**2 / (users**2 / (n - 1) + seeds**2 / (k - 1) + residual**2 / ((n - 1) * (k - 1)))
    error = (total / (n * k)) ** 0.5
    p = float(2 * scipy.stats.t.sf(abs(mean) / error, df))
    return _Test(p, df, error, ((users - residual) / k, (seeds - residual) / n, residual))


def _p_of(differences: np.ndarray, test: _Test | None) -> float | None:
    if min(differences.shape) > 1 and not differences.any():
        return 1.0
    return None if test is None else test.p


def _constant(differences: np.ndarray) -> bool:
    return bool(np.ptp(differences) <= 1e-9 * np.abs(differences).max())


def _is_resampled(differences: np.ndarray) -> bool:
    return len(differences) >= _FEWEST_RESAMPLED and not _constant(differences)


def _interval(
    differences: np.ndarray, test: _Test | None, means: np.ndarray | None, level: float
) -> tuple[float | None, float | None, str]:
    """Compute the confidence interval of the mean difference, and name its kind.

    Args:
        differences: [n_users, n_seeds].
        test: of these.
        means: mean differences of resamples; None where there are none.
        level: confidence.
    """
    if means is not None:
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high), "hierarchical"
    if test is None:
        return None, None, "none"
    half = test.standard_error * float(scipy.stats.t.isf((1 - level) / 2, test.df))
    mean = float(differences.mean())
    return mean - half, mean + half, "Student"


def _resampled_means(tables: Sequence[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """Draw users and, independently, seeds with replacement, and compute the mean difference of each resample.

    Resamples are counts: how often each user was drawn, times how often each seed was. Tables of as many users share
    the counts of the users, so that one matrix product serves all of them.

    Args:
        tables: differences, [n_users, n_seeds] each.
        seed: of the draws.

    Yields:
        [n_resamples] means of each table, in order.
    """
    by_users: dict[int, Iterator[np.ndarray]] = {}
    for n in dict.fromkeys(len(table) for table in tables):
        alike = [table for table in tables if len(table) == n]
        sums = _sums_of_resamples(np.concatenate(alike, axis=1), seed)
        ends = np.cumsum([table.shape[1] for table in alike])
        by_users[n] = iter(np.split(sums, ends[:-1], axis=1))
    for table in tables:
        n, k = table.shape
        sums = next(by_users[n])
        of_seeds = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), size=len(sums))
        yield (sums * of_seeds).sum(axis=1) / (n * k)


def _sums_of_resamples(columns: np.ndarray, seed: int) -> np.ndarray:
    """Sum columns [n_users, n_columns] over the users of each resample, [n_resamples, n_columns]."""
    n = len(columns)
    resamples = int(np.clip(_DRAWS // n, _LEAST_RESAMPLES, _MOST_RESAMPLES))
    rows = max(1, min(resamples, _DRAWS_AT_ONCE // n))
    starts = range(0, resamples, rows)
    counts = (_counts(n, min(rows, resamples - start), seed, start).astype(np.float64) for start in starts)
    return np.concatenate([of_rows @ columns for of_rows in counts])


@functools.lru_cache(maxsize=12)  # of at most 1 MiB each: 2,000 resamples of 6,000 users
def _counts(n: int, rows: int, seed: int, start: int) -> np.ndarray:
    """Count how often each of n users was drawn in some resamples, [rows, n]."""
    drawn = np.random.default_rng((seed, start)).integers(0, n, size=(rows, n))
    drawn += np.arange(rows)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.uint8)
