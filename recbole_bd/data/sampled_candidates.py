"""Candidates of sampled evaluation (`uniN`, `popN`): drawn once for a part, and shared by all models of a seed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recbole_bd.data.key_set import KeySet
from recbole_bd.errors import DataError

# Streams of random numbers, so that the parts of one seed have independent candidates.
_STREAMS = {"valid": 1, "test": 2}
# Rounds of rejection sampling. Users who know nearly every item are left after these, and drawn from their own items.
_ROUNDS = 16

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
    names = ("train", "valid") if part == "valid" else ("train", "valid", "test")
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
        seed: seed of the run.
        part: `valid` or `test`.

    Returns:
        int32 [n, N], without padding. Working memory is about 40 bytes for each candidate.

    Raises:
        DataError: no item is left for an interaction.
    """
    generator = np.random.default_rng([seed, _STREAMS[part]])
    owners = np.repeat(np.arange(len(users)), count)
    listed = np.flatnonzero(rule.weights)
    shares = None if (rule.weights[listed] == 1).all() else rule.weights[listed].cumsum() / rule.weights.sum()

    def propose(size: int) -> np.ndarray:
        if shares is None:
            return listed[generator.integers(0, len(listed), size)]
        return listed[np.minimum(np.searchsorted(shares, generator.random(size), side="right"), len(listed) - 1)]

    drawn = propose(len(owners)).astype(np.int32)
    wrong = np.arange(len(owners))
    for number in range(_ROUNDS):
        if number:
            drawn[wrong] = propose(len(wrong))
        wrong = wrong[rule.excludes(users[owners[wrong]], items[owners[wrong]], drawn[wrong].astype(np.int64))]
        if not len(wrong):
            break
    else:
        _draw_exactly(rule, users, items, owners, drawn, wrong, generator)
    return drawn.reshape(len(users), count)


def _draw_exactly(
    rule: CandidateRule,
    users: np.ndarray,
    items: np.ndarray,
    owners: np.ndarray,
    drawn: np.ndarray,
    wrong: np.ndarray,
    generator: np.random.Generator,
) -> None:
    """Draw the few entries that rejection sampling has left, each from the items of its interaction, in place."""
    all_items = np.arange(rule.n_items)
    for owner in np.unique(owners[wrong]):
        entries = wrong[owners[wrong] == owner]
        user, item = (np.full(rule.n_items, ids[owner]) for ids in (users, items))
        weights = np.where(rule.excludes(user, item, all_items), 0.0, rule.weights)
        if not weights.any():
            raise DataError(
                "a user has seen every item that can be a candidate of sampled evaluation; filter such users with "
                "user_inter_num_interval, or use eval_args: mode: full"
            )
        drawn[entries] = generator.choice(rule.n_items, len(entries), p=weights / weights.sum())
