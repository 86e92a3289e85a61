"""Ranks of listed items, and draws of what is ranked lower or higher than a list, by hand."""

import math

import pytest
import torch

from recbole_bd.errors import DataError
from recbole_bd.sampler.corrections import correction_weights, draw_corrections, listed_ranks
from recbole_bd.sampler.top_lists import top_lists
from tests.helpers.references import N_ITEMS, N_USERS, follows, generator, own_items, seen_items, tables


def test_ranks_of_listed_items_count_the_better_unseen_ones():
    seen, scores = seen_items(), tables()["student"].clone()
    scores[:, 0] = math.inf
    lists = top_lists(lambda users: tables()["teacher"][users], seen, 9, generator())
    lists[3, 7:] = 0
    done = []
    ranks = listed_ranks(lambda users: scores[users], seen, lists, done.append)
    for user in range(1, N_USERS):
        left = [float(scores[user, i]) for i in range(1, N_ITEMS) if i not in own_items(seen, user)]
        for item, rank in zip(lists[user].tolist(), ranks[user].tolist(), strict=True):
            assert item == 0 or rank == 1 + sum(score > float(scores[user, item]) for score in left)
    assert done[-1] == N_USERS - 1


def test_equal_scores_share_the_best_of_their_ranks():
    seen = seen_items()
    lists = top_lists(lambda users: tables()["teacher"][users], seen, 9, generator())
    ranks = listed_ranks(lambda users: torch.zeros(len(users), N_ITEMS), seen, lists)
    assert (ranks == 1).all()


def test_a_score_that_is_no_number_is_refused():
    seen = seen_items()
    lists = top_lists(lambda users: tables()["teacher"][users], seen, 3, generator())
    with pytest.raises(DataError, match="the student: a score is not a number"):
        listed_ranks(lambda users: torch.full((len(users), N_ITEMS), math.nan), seen, lists, whose="the student")


RANKS = [3, 1, 40, 2, 5]


def weights_by_hand(sign: int) -> list[float]:
    return [max(math.tanh(max(sign * (rank - place) / 10, 0)), 1e-5) for place, rank in enumerate(RANKS, 1)]


def test_weights_are_the_papers_with_both_signs():
    for weights, sign in zip(correction_weights(torch.tensor([RANKS]), 10.0), (1, -1), strict=True):
        assert weights[0].tolist() == pytest.approx(weights_by_hand(sign), rel=1e-5)


@pytest.mark.parametrize("kind", [0, 1])
def test_items_are_drawn_in_proportion_to_their_weights(kind):
    lists, ranks = (torch.tensor([row]).repeat(20000, 1) for row in ([11, 12, 13, 14, 15], RANKS))
    drawn = draw_corrections(lists, ranks, 1, 10.0, generator())[kind]
    weights = weights_by_hand((1, -1)[kind])
    found = [int((drawn == item).sum()) for item in range(11, 16)]
    assert follows(found, [20000 * weight / sum(weights) for weight in weights])


def test_draws_are_distinct_in_the_lists_order_and_a_short_list_is_drawn_whole():
    lists = torch.tensor([[7, 3, 9, 1, 4], [8, 2, 0, 0, 0]]).to(torch.int32)
    ranks = torch.tensor([[50, 60, 3, 90, 2], [1, 2, 1, 1, 1]])
    for _ in range(20):
        under, over = draw_corrections(lists, ranks, 3, 10.0, generator())
        assert under.dtype == lists.dtype
        assert [under[1].tolist(), over[1].tolist()] == [[8, 2, 0], [8, 2, 0]]
        assert under[0].tolist() == [7, 3, 1]  # all others have the least weight
        places = [lists[0].tolist().index(item) for item in over[0].tolist()]
        assert places == sorted(set(places))
