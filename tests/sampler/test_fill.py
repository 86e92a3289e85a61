"""The ways of drawing: frequencies against the formulas where not every item is weighed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from recbole_bd.sampler import fill as filling
from recbole_bd.sampler.candidates import Chunk
from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.pool import Pool, Workspace
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems
from tests.helpers.references import (
    DIRECTIONS,
    follows,
    mask_of,
    probabilities_by_hand,
    refreshed,
    wide_tables,
)


@pytest.mark.parametrize("name", [name for name in DIRECTIONS if name.startswith(("tanh", "exp"))])
@pytest.mark.parametrize("precision", ["exact", "binned"])
def test_frequencies_of_drawing_by_rejection_are_those_of_the_formulas(name, precision, monkeypatch):
    """Many users of equal scores need few items each, so no row of weights is made; together they show the odds."""
    n_users, n_items, pool = 1001, 600, 10
    moderate = {"tanh relative": 2.0, "exp relative": 2.0, "tanh logarithmic": 1.5, "exp logarithmic": 0.2}
    direction = replace(DIRECTIONS[name], eps=min(DIRECTIONS[name].eps, moderate.get(name, 0.004)))
    generator = torch.Generator().manual_seed(5)
    own, guide = (torch.randn(n_items, generator=generator) for _ in range(2))
    users, items = torch.arange(1, n_users).repeat_interleave(3), torch.tensor([4, 9, 200]).repeat(n_users - 1)
    seen = SeenItems(users, items, n_users, n_items)
    sampler = DistillationSampler(
        seen, {"student": direction}, torch.full((n_users,), pool), seed=7, ranks=precision, chunk_scores=20 * n_items
    )
    searched, search = [], filling.fill_by_search

    def counted(*arguments):
        searched.append(int(arguments[-1].sum()))
        search(*arguments)

    monkeypatch.setattr(filling, "fill_by_search", counted)
    rows = {"student": own, "teacher": guide}
    sampler.refresh({role: lambda u, row=row: row.repeat(len(u), 1) for role, row in rows.items()})
    assert sum(searched) < n_users / 5
    excluded = mask_of(seen, torch.tensor([1]))[0].numpy()
    expected = (n_users - 1) * pool * probabilities_by_hand(own.numpy(), guide.numpy(), excluded, direction)
    counts = np.bincount(sampler.pools["student"].numpy(), minlength=n_items)
    assert counts.sum() == (n_users - 1) * pool
    assert counts[excluded].sum() == 0
    often = expected > 5
    found = np.append(counts[often], counts[~often].sum())
    wanted = np.append(expected[often], expected[~often].sum())
    assert stats.chisquare(found[wanted > 0], wanted[wanted > 0]).pvalue > 1e-4


@pytest.mark.parametrize(
    ("power", "order", "at_once"),
    [
        (0.4, "paper", 2**21),
        (0.4, "reference", 1),
        (1.0, "paper", 2**21),
        (1.0, "reference", 2**21),
        (1.5, "paper", 2**21),
        (1.5, "reference", 2**21),
        (1.5, "reference", 2 * 6002),
    ],
)
def test_frequencies_of_drawing_by_powers_of_ranks_are_those_of_the_formulas(power, order, at_once, monkeypatch):
    """No row is weighed but those with many equal scores; the odds are the same in all, however many rows propose at a
    time."""
    scores = wide_tables(n_users=5)
    scores["student"][2, 100:103] = scores["student"][2].median()  # below the head
    for table in scores.values():
        table[3] = table[3].mul(2).round()
    searched, search = [], filling.fill_by_search

    def counted(*arguments):
        searched.append(int(arguments[-1].sum()))
        search(*arguments)

    monkeypatch.setattr(filling, "fill_by_search", counted)
    direction = Direction(shape="exp", eps=power, rank_order=order, rank_scale="logarithmic")
    n_draws = 20000
    monkeypatch.setattr(filling.Rule, "proposals", lambda rule, wanted: 6002)
    monkeypatch.setattr(filling, "_ROUNDS", 99)
    monkeypatch.setattr(filling, "_PROPOSALS_AT_ONCE", at_once)
    sampler = refreshed({"teacher": direction}, scores, n_draws, ranks="exact")
    assert sum(searched) == 1
    for user in range(1, 5):
        excluded = mask_of(sampler.seen, torch.tensor([user]))[0].numpy()
        expected = n_draws * probabilities_by_hand(
            scores["teacher"][user].numpy(), scores["student"][user].numpy(), excluded, direction
        )
        counts = np.bincount(sampler.pools["teacher"][int(sampler.starts["teacher"][user]) :][:n_draws], minlength=3001)
        assert counts[excluded].sum() == 0
        assert follows(counts, expected)


def test_the_two_equal_best_share_their_rank_in_the_list_of_a_power():
    """With power 1 equal scores in the list that accepts need no search: each has the mean rank."""
    scores = wide_tables(n_users=2)
    scores["student"][1, 7:1507] = scores["student"][1].max() + 1  # the guide's rank accepts in the reference's order
    direction = Direction(shape="exp", eps=1.0, rank_order="reference", rank_scale="logarithmic")
    sampler = refreshed({"teacher": direction}, scores, 4000, ranks="exact")
    excluded = mask_of(sampler.seen, torch.tensor([1]))[0].numpy()
    rows = (scores[role][1].numpy() for role in ("teacher", "student"))
    counts = np.bincount(sampler.pools["teacher"][:4000], minlength=3001)
    assert follows(counts, 4000 * probabilities_by_hand(*rows, excluded, direction))


@pytest.mark.parametrize("sampling", ["top", "own_top"])
def test_frequencies_of_drawing_from_the_head_are_those_of_the_formulas(sampling, monkeypatch):
    """No row is weighed but those with equal scores at the top, or infinite ones; the odds are the same in all."""
    scores = wide_tables(n_users=6)
    listed = scores["teacher" if sampling == "top" else "student"]
    listed[2] = listed[2].mul(2).round()  # a head of few different scores
    listed[3] = 1.0
    listed[4, torch.randperm(3001)[:20]] = math.inf
    searched, search = [], filling.fill_by_search

    def counted(*arguments):
        searched.append(int(arguments[-1].sum()))
        search(*arguments)

    monkeypatch.setattr(filling, "fill_by_search", counted)
    direction = Direction(sampling=sampling, top_temperature=8.0)
    sampler = refreshed({"student": direction}, scores, ranks="exact")
    assert sum(searched) == 3
    for user in range(1, 6):
        excluded = mask_of(sampler.seen, torch.tensor([user]))[0].numpy()
        expected = 4000 * probabilities_by_hand(
            scores["student"][user].numpy(), scores["teacher"][user].numpy(), excluded, direction
        )
        counts = np.bincount(sampler.pools["student"][int(sampler.starts["student"][user]) :][:4000], minlength=3001)
        assert counts[excluded].sum() == 0
        often = expected > 1
        found = np.append(counts[often], counts[~often].sum())
        wanted = np.append(expected[often], expected[~often].sum())
        assert stats.chisquare(found[wanted > 0], wanted[wanted > 0]).pvalue > 1e-4


def test_a_row_that_accepts_a_tenth_of_the_others_is_filled_without_a_search():
    """Later rounds propose what such a row needs; with as many as the others need it would lack some."""
    seen = SeenItems(torch.tensor([1, 2]), torch.tensor([1, 1]), n_users=3, n_items=4000)
    zeros = torch.zeros(2, 4000)
    excluded = seen.of(torch.tensor([1, 2]))
    chunk = Chunk(torch.tensor([1, 2]), lambda role: zeros, 4000, excluded, "binned", torch.Generator().manual_seed(1))
    sizes = torch.tensor([0, 100, 100])
    pool = Pool(torch.zeros(200, dtype=torch.int32), sizes, sizes.cumsum(0) - sizes, Workspace(zeros.device))
    rule = filling.Rule("student", "teacher", Direction(), 4000)
    often = torch.tensor([0.5, 0.04])

    def propose_some(rows, count):
        accepted = torch.rand(len(rows), count, generator=chunk.generator) < often[rows].unsqueeze(1)
        return (10 + rows).unsqueeze(1).expand(-1, count), accepted

    left = filling._fill_by_proposals(chunk, rule, pool, torch.tensor([True, True]), propose_some)
    assert not left.any()
    assert pool.items.tolist() == [10] * 100 + [11] * 100
