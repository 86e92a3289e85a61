"""Test interactions on which the student ranks the held-out item better than the teacher: shares with intervals.

Source: BD, WWW 2021, section 1, whose first observation is that the student wins on many test interactions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from torch import Tensor, bincount

from recbole_bd.backbones.names import DISTILLED, SEPARATE, STUDENT, TEACHER
from recbole_bd.data.split import Split

_CONFIDENCE = 0.95
# Resamples of the bootstrap, and the most numbers in one batch of them.
_RESAMPLES, _BATCH_NUMBERS = 2000, 2**17


def test_ranks_record(split: Split, ranks: Mapping[tuple[str, str], Tensor]) -> dict[str, np.ndarray]:
    """Build the content of `test_ranks.npz`: one entry per test interaction, in the order of `split.pairs("test")`.

    Args:
        split: the data.
        ranks: ranks of the held-out items by arm and role, 1 is best, see `held_out_ranks.test_ranks`. A role that does
            not learn (a frozen teacher) has no distilled arm.

    Returns:
        Arrays [number of test interactions]: `user` and `item`, original ids as unicode; `item_popularity` and
        `user_activity`, int64, training interactions of the item and of the user; `<role>_<arm>`, float32, ranks.
    """
    dataset = split.dataset
    users, items = split.pairs("test")
    trained_users, trained_items = split.pairs("train")
    return {
        "user": dataset.id2token(dataset.uid_field, users).astype(str),
        "item": dataset.id2token(dataset.iid_field, items).astype(str),
        "item_popularity": bincount(trained_items, minlength=split.n_items)[items].numpy(),
        "user_activity": bincount(trained_users, minlength=split.n_users)[users].numpy(),
        **{f"{role}_{arm}": values.numpy() for (arm, role), values in ranks.items()},
    }


def student_wins(record: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mark the held-out items that the student ranks strictly higher (nearer to 1) than the teacher, by arm.

    Args:
        record: see `test_ranks_record`. A role without a distilled arm is compared by its separate arm.

    Returns:
        bool [number of test interactions] for `separate` and `distilled`.
    """

    def ranks(role: str, arm: str) -> np.ndarray:
        return record.get(f"{role}_{arm}", record[f"{role}_{SEPARATE}"])

    return {arm: ranks(STUDENT, arm) < ranks(TEACHER, arm) for arm in (SEPARATE, DISTILLED)}


def shares(record: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Compute the student's share of wins on all test interactions, by arm, without intervals.

    Args:
        record: see `test_ranks_record`; it has one interaction at least.

    Returns:
        Numbers in [0, 1] for `separate` and `distilled`, rounded to float32 as in records of all versions.
    """
    return {arm: float(np.float32(won.sum()) / np.float32(len(won))) for arm, won in student_wins(record).items()}


def of_trained_items(record: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Select the test interactions whose item has a training interaction.

    No model has learned anything of the other items, so who ranks them higher is chance, or a habit of the model.

    Args:
        record: see `test_ranks_record`.

    Returns:
        The same arrays, with these interactions alone; there may be none.
    """
    trained = record["item_popularity"] > 0
    return {name: array[trained] for name, array in record.items()}


def quantile_groups(counts: np.ndarray, groups: int = 5) -> np.ndarray:
    """Number quantile groups of ascending counts, from 0.

    Equal counts share a group, so group sizes may differ and there may be fewer groups. No group is empty.

    Args:
        counts: [n].
        groups: largest number of groups.

    Returns:
        int64 [n], the group of each count.
    """
    most = np.quantile(counts, np.arange(1, groups + 1) / groups, method="inverted_cdf")
    return np.searchsorted(np.unique(most), counts, side="left")


@dataclass(frozen=True)
class Share:
    """A share of test interactions and its 95 % confidence interval, all in [0, 1]."""

    value: float
    low: float
    high: float


def share(won: np.ndarray, users: np.ndarray) -> Share:
    """Compute the share of won interactions of one arm; see `shares_by_arm`."""
    return shares_by_arm({"": won}, users)[""]


def shares_by_arm(wins: Mapping[str, np.ndarray], users: np.ndarray) -> dict[str, Share]:
    """Compute shares of won interactions, with confidence intervals that respect clusters by user.

    With one interaction per user this is Wilson's binomial interval. Otherwise it is a percentile bootstrap over users,
    because a user's interactions are correlated. If all or none are won, or there is one user, Wilson's is used again.

    Args:
        wins: bool [n] by arm, n at least 1.
        users: [n], user id of each interaction, of any type.
    """
    _, owner = np.unique(users, return_inverse=True)
    counts = np.bincount(owner)
    values = {arm: float(won.mean()) for arm, won in wins.items()}
    intervals = {arm: _wilson(value, len(users)) for arm, value in values.items()}
    if counts.max() > 1 and len(counts) > 1:
        by_user = {arm: np.bincount(owner, weights=wins[arm]) for arm, value in values.items() if value not in (0, 1)}
        intervals |= _bootstrap(by_user, counts)
    return {arm: Share(value, *intervals[arm]) for arm, value in values.items()}


def _wilson(value: float, size: int) -> tuple[float, float]:
    """Wilson's interval of a binomial share.

    (p + z^2/2n -+ z * sqrt(p * (1 - p) / n + z^2/4n^2)) / (1 + z^2/n)

    Args:
        value: the share p.
        size: number of interactions n.
    """
    z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    middle, square = value + z * z / (2 * size), z * z / size
    width = z * math.sqrt(value * (1 - value) / size + square / (4 * size))
    low, high = ((middle + sign * width) / (1 + square) for sign in (-1, 1))
    return (0.0 if value == 0 else low), (1.0 if value == 1 else high)


def _bootstrap(won: Mapping[str, np.ndarray], counts: np.ndarray) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap over users of sum(won) / sum(counts), with the same resamples for every arm.

    scipy's would add .4 s to the start of every run.

    Args:
        won: [users] by arm, interactions won by each user.
        counts: [users], interactions of each user.
    """
    generator, users = np.random.default_rng(0), len(counts)
    found: dict[str, list[np.ndarray]] = {arm: [] for arm in won}
    batch = max(1, _BATCH_NUMBERS // users)
    for begin in range(0, _RESAMPLES if won else 0, batch):
        drawn = generator.integers(users, size=(min(batch, _RESAMPLES - begin), users))
        of_drawn = counts[drawn].sum(axis=1)
        for arm, of_user in won.items():
            found[arm].append(of_user[drawn].sum(axis=1) / of_drawn)
    ends = [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2]
    bounds = {arm: np.quantile(np.concatenate(parts), ends) for arm, parts in found.items()}
    return {arm: (float(low), float(high)) for arm, (low, high) in bounds.items()}


@dataclass(frozen=True)
class InteractionGroup:
    """Group of test interactions, and the student's share of wins on them.

    Attributes:
        least, most: smallest and largest count in the group.
        size: number of test interactions.
        shares: by arm, `separate` and `distilled`.
    """

    least: int
    most: int
    size: int
    shares: dict[str, Share]


def overall(record: Mapping[str, np.ndarray]) -> dict[str, Share]:
    """Compute the student's share of wins on all test interactions, by arm."""
    return shares_by_arm(student_wins(record), record["user"])


def by_count(record: Mapping[str, np.ndarray], key: str, groups: int = 5) -> list[InteractionGroup]:
    """Compute the student's share of wins in quantile groups of test interactions.

    Args:
        record: see `test_ranks_record`.
        key: count that groups them, `item_popularity` or `user_activity`.
        groups: largest number of groups, see `quantile_groups`.

    Returns:
        The groups, lowest counts first.
    """
    wins, counts = student_wins(record), record[key]
    numbers = quantile_groups(counts, groups)
    found = []
    for number in range(numbers.max() + 1):
        inside = numbers == number
        shares = shares_by_arm({arm: won[inside] for arm, won in wins.items()}, record["user"][inside])
        found.append(InteractionGroup(int(counts[inside].min()), int(counts[inside].max()), int(inside.sum()), shares))
    return found
