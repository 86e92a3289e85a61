"""Candidates of sampled evaluation (`uniN`, `popN`): drawn once for a part, and shared by all models of a split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from recbole_bd.data.key_set import KeySet
from recbole_bd.data.protocol import BEFORE
from recbole_bd.errors import DataError

# Streams of random numbers, so that the parts of one split have independent candidates.
_STREAMS = {"valid": 1, "test": 2}
# Rounds of rejection sampling; who knows nearly every item is left after these, and gets draws from the other items.
_ROUNDS = 16
_DRAWS_AT_ONCE = 2**20

Pairs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class CandidateRule:
    """Which items may be candidates of which interaction, and how often.

    Attributes:
        n_items: number of items, padding item 0 included.
        weights: float64 [n_items], relative frequency of each item; 0 for padding.
        known: keys `user * n_items + item` that are no candidates of their user. None if an interaction excludes its
            own item only (`repeatable: True`).
    """

    n_items: int
    weights: np.ndarray
    known: KeySet | None

    def excludes(self, users: np.ndarray, items: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Mark the drawn items that are no candidates of their interaction, bool [n]."""
        if self.known is None:
            return drawn == items
        return self.known.has(users * self.n_items + drawn)


def candidate_rule(
    pairs: Mapping[str, Pairs], part: str, n_items: int, popularity: bool, repeatable: bool
) -> CandidateRule:
    """Build RecBole's rule for the candidates of a part.

    A user's items of the part and of the parts before it are no candidates. Popularity counts the interactions of all
    parts. RecBole would raise it to the power `alpha` of the training negatives; here it does not depend on training.

    Args:
        pairs: users and items, int64, of `train`, `valid` and `test`.
        part: `valid` or `test`.
        n_items: number of items, padding included.
        popularity: whether items are drawn by popularity (`popN`) instead of uniformly (`uniN`).
        repeatable: RecBole's setting; an interaction then excludes its own item only.
    """
    weights = np.ones(n_items)
    if popularity:
        weights = np.bincount(np.concatenate([items for _, items in pairs.values()]), minlength=n_items).astype(float)
    weights[0] = 0.0
    if repeatable:
        return CandidateRule(n_items, weights, None)
    names = (*BEFORE[part], part)
    known = np.unique(np.concatenate([pairs[name][0] * n_items + pairs[name][1] for name in names]))
    return CandidateRule(n_items, weights, KeySet(known))


def draw_candidates(
    rule: CandidateRule, users: np.ndarray, items: np.ndarray, count: int, seed: int, part: str
) -> np.ndarray:
    """Draw the candidates of every interaction of a part, with replacement.

    The draws depend on the seed, the part, the rule and the interactions alone. The global random state stays as it is.

    Args:
        rule: which items may be drawn.
        users, items: int64 [n], the part's interactions.
        count: candidates of each interaction beside its own item, N.
        seed: seed of the split, see `seed_of_split`.
        part: `valid` or `test`.

    Returns:
        int32 [n, N], without padding. Working memory is a chunk of 2**20 draws, about 60 MB.

    Raises:
        DataError: no item is left for an interaction.
    """
    generator = np.random.default_rng([seed, _STREAMS[part]])
    listed = np.flatnonzero(rule.weights)
    shares = None if (rule.weights[listed] == 1).all() else rule.weights[listed].cumsum() / rule.weights.sum()

    def propose(size: int) -> np.ndarray:
        if shares is None:
            return listed[generator.integers(0, len(listed), size)]
        return listed[np.minimum(np.searchsorted(shares, generator.random(size), side="right"), len(listed) - 1)]

    drawn = np.empty((len(users), count), dtype=np.int32)
    step = max(1, _DRAWS_AT_ONCE // max(count, 1))
    for start in range(0, len(users), step):
        rows = slice(start, start + step)
        owners, own = np.repeat(users[rows], count), np.repeat(items[rows], count)
        drawn[rows] = _draw(rule, owners, own, propose, generator).reshape(len(users[rows]), count)
    return drawn


def _draw(
    rule: CandidateRule,
    users: np.ndarray,
    items: np.ndarray,
    propose: Callable[[int], np.ndarray],
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw one candidate for each entry by rejection sampling.

    Args:
        rule: which items may be drawn.
        users, items: int64 [n], the interaction of each entry.
        propose: draws a number of items regardless of the interactions.
        generator: random generator.

    Returns:
        int64 [n].
    """
    drawn = propose(len(users))
    wrong = np.flatnonzero(rule.excludes(users, items, drawn))
    for _ in range(_ROUNDS):
        if not len(wrong):
            return drawn
        drawn[wrong] = again = propose(len(wrong))
        wrong = wrong[rule.excludes(users[wrong], items[wrong], again)]
    # The few users who know nearly every item are left.
    owners, owner = np.unique(np.stack([users[wrong], items[wrong]]), axis=1, return_inverse=True)
    owner = owner.reshape(-1)
    for number, (user, item) in enumerate(owners.T):
        entries = wrong[owner == number]
        drawn[entries] = generator.choice(rule.n_items, len(entries), p=_shares_of(rule, user, item))
    return drawn


def _shares_of(rule: CandidateRule, user: int, item: int) -> np.ndarray:
    """Probability of each item to be drawn for an interaction, float64 [n_items]."""
    all_items = np.arange(rule.n_items)
    excluded = rule.excludes(np.full(rule.n_items, user), np.full(rule.n_items, item), all_items)
    weights = np.where(excluded, 0.0, rule.weights)
    if not weights.any():
        raise DataError(
            "a user has seen every item that can be a candidate of sampled evaluation; filter such users with "
            "user_inter_num_interval, or use eval_args: mode: full"
        )
    return weights / weights.sum()
