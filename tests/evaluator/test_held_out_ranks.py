"""Ranks of held-out items by hand."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from recbole_bd.data.protocol import UserItems
from recbole_bd.errors import DataError
from recbole_bd.evaluator import held_out_ranks
from recbole_bd.evaluator.held_out_ranks import test_ranks as ranks_of_test_items
from tests.helpers.bpr_settings import BPRSettings

PARTS = {"train": [(1, 1), (2, 5)], "valid": [(1, 2)], "test": [(2, 1), (1, 3), (1, 5), (2, 1), (3, 4), (2, 5)]}
SAMPLED = {1: [2, 3, 4, 5], 2: [1, 3, 5], 3: [1, 4]}  # candidates of each user, own test items among them
CANDIDATES = UserItems.from_keys(torch.tensor([u * 6 + i for u, items in SAMPLED.items() for i in items]), 4, 6)


def split(repeatable: bool = False, sampled: UserItems | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        n_users=4,
        n_items=6,
        pairs=lambda part: tuple(torch.tensor(ids) for ids in zip(*PARTS[part], strict=True)),
        repeatable=repeatable,
        test_loader=SimpleNamespace(candidates=sampled),
    )


SCORES = torch.tensor(
    [
        [0.0, 0, 0, 0, 0, 0],
        [99.0, 50, 50, 3, 4, 2],  # padding, a training item and a validation item are above all; 4 is better than 3
        [99.0, 7, 7, 7, 1, 50],  # a tie of items 1 to 3
        [99.0, float("inf"), 0, 0, float("-inf"), 0],
    ]
)


def role(scores: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(
        name="student",
        device="cpu",
        config=BPRSettings(model="BPR"),
        scoring=nullcontext,
        at=nullcontext,
        all_logits=lambda users: scores[users].clone(),
    )


@pytest.mark.parametrize("at_once", [1, 12, 2**22])
@pytest.mark.parametrize(
    ("protocol", "ranks"),
    [
        # The last test item was trained on too: as one of the measured part, it is listed.
        (split(), [3, 2, 3, 3, 5, 1]),
        # Items of training and validation are listed too.
        (split(repeatable=True), [3, 4, 5, 3, 5, 1]),
        # Items 2 and 4 of user 1 are above the test items 3 and 5.
        (split(sampled=CANDIDATES), [2.5, 3, 4, 2.5, 2, 1]),
    ],
    ids=["full", "repeatable", "sampled"],
)
def test_ranks_are_those_counted_by_hand(protocol, ranks, at_once, monkeypatch):
    monkeypatch.setattr(held_out_ranks, "_CHUNK_SCORES", at_once)
    assert ranks_of_test_items(role(SCORES), protocol).tolist() == ranks


def test_scores_that_are_no_numbers_have_no_test_ranks():
    scores = SCORES.clone()
    scores[3, 2] = torch.nan
    with pytest.raises(DataError, match="student: a score is not a number"):
        ranks_of_test_items(role(scores), split())


def test_many_ties_and_infinite_scores_are_ranked_as_by_counting():
    """Three users with unequal numbers of test items, few distinct scores, and items that are left out."""
    generator = torch.Generator().manual_seed(5)
    scores = torch.randint(-2, 3, (4, 40), generator=generator).float()
    scores[scores == -2], scores[scores == 2] = -torch.inf, torch.inf
    pairs = {"train": [], "valid": [], "test": []}
    for user in (1, 2, 3):
        items = (torch.randperm(39, generator=generator) + 1).tolist()
        for part, some in zip(pairs, (items[:9], items[9:12], items[12 : 13 + 5 * user]), strict=True):
            pairs[part] += [(user, item) for item in some]
    whole = split()
    whole.n_items, whole.pairs = 40, lambda part: tuple(torch.tensor(ids) for ids in zip(*pairs[part], strict=True))
    found = ranks_of_test_items(role(scores), whole).tolist()
    for (user, item), rank in zip(pairs["test"], found, strict=True):
        out = {other for part in ("train", "valid") for owner, other in pairs[part] if owner == user}
        listed = [float(scores[user, other]) for other in range(1, 40) if other not in out]
        own = float(scores[user, item])
        assert rank == sum(one > own for one in listed) + (listed.count(own) + 1) / 2
