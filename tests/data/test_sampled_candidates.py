"""Candidates of sampled evaluation: frequencies, what is never drawn, and what the draws depend on."""

from itertools import product

import numpy as np
import pytest

from recbole_bd.data.key_set import KeySet
from recbole_bd.data.sampled_candidates import CandidateRule, candidate_rule, draw_candidates
from recbole_bd.errors import DataError

# Item 5 is in no interaction, item 4 in four of ten.
PAIRS = {
    "train": (np.array([1, 1, 2, 3, 3]), np.array([1, 2, 4, 4, 3])),
    "valid": (np.array([1, 2]), np.array([3, 1])),
    "test": (np.array([1, 2, 3]), np.array([4, 3, 4])),
}
SEEN = {"valid": {1: {1, 2, 3}, 2: {4, 1}, 3: {4, 3}}, "test": {1: {1, 2, 3, 4}, 2: {4, 1, 3}, 3: {4, 3}}}
COUNTS = np.array([0, 2, 1, 3, 4, 0])


def drawn_of(part: str, popularity: bool, repeatable: bool, count: int = 20000) -> np.ndarray:
    rule = candidate_rule(PAIRS, part, 6, popularity, repeatable)
    return draw_candidates(rule, *PAIRS[part], count, 7, part)


# No popular item is left for user 1 in the test part.
RULES = [case for case in product(SEEN, (False, True), (False, True)) if case != ("test", True, False)]


@pytest.mark.parametrize(("part", "popularity", "repeatable"), RULES)
def test_frequencies_are_those_of_the_items_that_may_be_candidates(part, popularity, repeatable):
    drawn = drawn_of(part, popularity, repeatable)
    for user, item, row in zip(*PAIRS[part], drawn, strict=True):
        weights = COUNTS.astype(float) if popularity else np.array([0.0, 1, 1, 1, 1, 1])
        weights[[item] if repeatable else list(SEEN[part][user])] = 0
        found = np.bincount(row, minlength=6)
        assert (found[weights == 0] == 0).all()
        expected = weights / weights.sum() * len(row)
        # Chi-squared with at most 4 degrees of freedom is above 24 once in 10,000 times.
        assert (((found - expected) ** 2)[expected > 0] / expected[expected > 0]).sum() < 24


def test_a_user_for_whom_no_candidate_is_left_is_an_error():
    with pytest.raises(DataError, match="a user has seen every item that can be a candidate of sampled evaluation"):
        drawn_of("test", True, False, count=2)


def test_a_user_who_knows_all_items_but_one_gets_that_one():
    n_items = 5000
    rule = CandidateRule(n_items, np.r_[0.0, np.ones(n_items - 1)], KeySet(n_items + np.r_[1:77, 78:n_items]))
    drawn = draw_candidates(rule, np.array([1, 2]), np.array([3, 3]), 40, 1, "test")
    assert (drawn[0] == 77).all()
    assert len(np.unique(drawn[1])) > 30


def test_draws_depend_on_seed_and_part_and_leave_the_global_state_alone():
    rule = candidate_rule(PAIRS, "valid", 6, False, True)
    users, items = PAIRS["valid"]
    before = np.random.get_state()[1].copy()
    one, same, another_part, another_seed = (
        draw_candidates(rule, users, items, 50, seed, part)
        for seed, part in ((1, "valid"), (1, "valid"), (1, "test"), (2, "valid"))
    )
    assert np.array_equal(np.random.get_state()[1], before)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, another_part)
    assert not np.array_equal(one, another_seed)
    assert one.dtype == np.int32


def test_all_interactions_are_drawn_for_in_chunks(monkeypatch):
    monkeypatch.setattr("recbole_bd.data.sampled_candidates._DRAWS_AT_ONCE", 100)
    generator = np.random.default_rng(1)
    users, items = generator.integers(1, 30, 700), generator.integers(1, 90, 700)
    pairs = {"train": (users[:500], items[:500]), "valid": (users[500:], items[500:])}
    pairs["test"] = pairs["valid"]
    rule = candidate_rule(pairs, "valid", 90, True, False)
    drawn = draw_candidates(rule, *pairs["valid"], 7, 1, "valid")
    assert drawn.shape == (200, 7)
    known = set(zip(users.tolist(), items.tolist(), strict=True))
    assert (
        not {(user, item) for user, row in zip(users[500:].tolist(), drawn.tolist(), strict=True) for item in row}
        & known
    )
    assert len(np.unique(drawn)) > 60
    assert drawn.min() > 0
    assert draw_candidates(rule, *pairs["valid"], 0, 1, "valid").shape == (200, 0)
