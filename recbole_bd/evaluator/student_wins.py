"""Where the student ranks the held-out item better than the teacher: the record of a run, and shares with intervals.

The first observation of BD's paper (WWW 2021, section 1): on many test interactions the student is ahead.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats
from torch import Tensor, bincount

from recbole_bd.backbones.names import DISTILLED, SEPARATE, STUDENT, TEACHER
from recbole_bd.data.split import Split
from recbole_bd.evaluator.significance import RNG

# The arms compared: a role's state before distillation and after it.
_CONFIDENCE = 0.95
# Draws of the bootstrap, and how many numbers one batch of them may hold.
_RESAMPLES, _BATCH_NUMBERS = 2000, 2**21


def test_ranks_record(split: Split, ranks: Mapping[tuple[str, str], Tensor]) -> dict[str, np.ndarray]:
    """What `test_ranks.npz` keeps of every test interaction, in the order of `split.pairs("test")`.

    Args:
        split: the data.
        ranks: ranks of the held-out items by arm and role, 1 is best, as `evaluation.test_ranks` gives them. A role
            without a distilled arm (a frozen teacher) has none of that arm.

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
    """Whether the student ranks each held-out item strictly higher (nearer to 1) than the teacher, by arm.

    Args:
        record: see `test_ranks_record`. Where the teacher has no distilled arm its separate one stands for it.

    Returns:
        bool [number of test interactions] for `separate` and `distilled`.
    """

    def ranks(role: str, arm: str) -> np.ndarray:
        return record.get(f"{role}_{arm}", record[f"{role}_{SEPARATE}"])

    return {arm: ranks(STUDENT, arm) < ranks(TEACHER, arm) for arm in (SEPARATE, DISTILLED)}


def quantile_groups(counts: np.ndarray, groups: int = 5) -> np.ndarray:
    """Group numbers from 0, by ascending count, of as equal sizes as equal counts allow.

    Equal counts are never parted, so there may be fewer groups than asked for; none is empty.

    Args:
        counts: [n], what decides.
        groups: how many, at most.

    Returns:
        int64 [n].
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
    """Share of won interactions with a confidence interval that knows which of them are of one user.

    With one interaction per user it is Wilson's binomial interval; with several a percentile bootstrap over users,
    since interactions of one user are won and lost together. Where all or none are won Wilson's serves again.

    Args:
        won: bool [n], at least one.
        users: [n], whose interaction each is, as any ids.
    """
    value = float(won.mean())
    _, owner = np.unique(users, return_inverse=True)
    counts = np.bincount(owner)
    if counts.max() == 1 or len(counts) == 1 or value in (0, 1):
        interval = stats.binomtest(int(won.sum()), len(won)).proportion_ci(_CONFIDENCE, method="wilson")
        return Share(value, float(interval.low), float(interval.high))
    found = stats.bootstrap(
        (np.bincount(owner, weights=won), counts),
        lambda won, counts, axis: won.sum(axis=axis) / counts.sum(axis=axis),
        n_resamples=_RESAMPLES,
        batch=max(1, _BATCH_NUMBERS // len(counts)),
        vectorized=True,
        paired=True,
        confidence_level=_CONFIDENCE,
        method="percentile",
        **{RNG: np.random.default_rng(0)},
    )
    return Share(value, float(found.confidence_interval.low), float(found.confidence_interval.high))


@dataclass(frozen=True)
class InteractionGroup:
    """Test interactions of one group and the student's share of wins on them.

    Attributes:
        least, most: bounds of the group's counts, both inside.
        size: test interactions in it.
        shares: by arm, `separate` and `distilled`.
    """

    least: int
    most: int
    size: int
    shares: dict[str, Share]


def overall(record: Mapping[str, np.ndarray]) -> dict[str, Share]:
    """The student's share of wins on all test interactions, by arm."""
    return {arm: share(won, record["user"]) for arm, won in student_wins(record).items()}


def by_count(record: Mapping[str, np.ndarray], key: str, groups: int = 5) -> list[InteractionGroup]:
    """The student's share of wins in quantile groups of test interactions.

    Args:
        record: see `test_ranks_record`.
        key: what groups them, `item_popularity` or `user_activity`.
        groups: how many, at most; see `quantile_groups`.

    Returns:
        The groups, the one of the lowest counts first.
    """
    wins, counts = student_wins(record), record[key]
    numbers = quantile_groups(counts, groups)
    found = []
    for number in range(numbers.max() + 1):
        inside = numbers == number
        shares = {arm: share(won[inside], record["user"][inside]) for arm, won in wins.items()}
        found.append(InteractionGroup(int(counts[inside].min()), int(counts[inside].max()), int(inside.sum()), shares))
    return found
