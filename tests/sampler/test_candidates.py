"""Ranks and draws among sampled candidates against those of all items."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from recbole_bd.sampler.candidates import Candidates, Chunk
from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems
from tests.helpers.references import N_ITEMS, N_USERS, mask_of, probabilities_by_hand, ranks_of, seen_items, wide_tables
from tests.helpers.together import scores_of


@pytest.mark.parametrize("how", ["exact", "binned"])
@pytest.mark.parametrize("likely", ["none", "known", "known and popular"])
def test_ranks_among_sampled_items_are_unbiased_and_within_their_standard_error(likely, how):
    """Whatever is known: the best 50 of one role, and of the other 50 from anywhere; and whatever is popular."""
    n_items, ranked, user = 3001, 300, 2
    seen, tables = seen_items(4, n_items, 20), wide_tables(4, n_items)
    exact = ranks_of(tables["teacher"][[user]], seen.of(torch.tensor([user])), "exact")[0]
    candidates = Candidates(seen, ranked)
    are_known = likely != "none"
    if are_known:
        order = exact.nan_to_num(nan=1e9).argsort()
        for role, best in (("teacher", order[:50]), ("student", order[20:2000][::40])):
            candidates.known[role] = torch.zeros(4, 256, dtype=torch.int32)
            candidates.known[role][user, : len(best)] = best.to(torch.int32)
    if likely == "known and popular":  # of which some are known and some are seen
        candidates.popular = torch.cat([order[30:60], order[:2000:50], seen.of(torch.tensor([user]))[1][1:9]]).unique()
    likely_items = {int(i) for of in candidates.known.values() for i in of[user]} | set(candidates.popular.tolist())
    own_seen = set(seen.of(torch.tensor([user]))[1].tolist())
    m = n_items - 1 - 20 - len(likely_items - own_seen)
    errors = []
    for seed in range(120):
        generator = torch.Generator().manual_seed(seed)
        scores = {role: scores_of(table) for role, table in tables.items()}
        chunk = candidates.chunk(torch.arange(1, 4), scores, how, generator)
        found = chunk.ranks("teacher").everywhere()[user - 1]
        columns = (~torch.isnan(found)).nonzero().squeeze(1)
        items = chunk.items(columns.repeat(3, 1))[user - 1].long()
        assert len(items.unique()) == len(items)
        assert not torch.isnan(exact[items]).any()
        assert len(items) > 0.8 * ranked
        assert likely_items - own_seen <= set(items.tolist())
        assert torch.isclose(chunk.column_weights[user - 1].sum(), torch.tensor(n_items - 1.0 - 20))
        if are_known:
            assert (found[columns] - exact[items])[exact[items] <= 50].abs().max() <= (0 if how == "exact" else 1)
        share = exact[items] / n_items
        deviation = m * (share * (1 - share) / ranked).sqrt()
        errors.append(torch.stack([found[columns] - exact[items], deviation]))
    errors, deviations = torch.cat(errors, dim=1)
    middle = deviations > deviations.max() / 2
    standardised = errors[middle] / deviations[middle]
    assert abs(float(standardised.mean())) < 0.3  # errors of one draw of items go together: 120 draws of their own
    assert 0.7 < float(standardised.std()) < 1.15


@pytest.mark.parametrize("shape", ["tanh", "exp"])
@pytest.mark.parametrize("sampling", ["rank_discrepancy", "uniform", "top", "logarithmic"])
def test_drawing_among_sampled_items_follows_the_formulas_on_average(sampling, shape):
    """Shares of items by tenths of the true probability, over many refreshes."""
    n_items, learner = 3001, "student"
    if sampling == "logarithmic":
        direction = Direction(shape=shape, eps=0.5, rank_scale="logarithmic")
    else:
        direction = Direction(sampling=sampling, shape=shape, eps=2e-3, top_temperature=300.0)
    seen, tables, user = seen_items(4, n_items, 20), wide_tables(4, n_items), 3
    sizes = torch.full((4,), 40)
    sampler = DistillationSampler(seen, {learner: direction}, sizes, "sampled", 600, seed=5)
    drawn = []
    for _ in range(150):
        sampler.refresh({role: scores_of(table) for role, table in tables.items()})
        drawn.append(sampler.pools[learner][sampler.starts[learner][user] :][:40].long())
    drawn = torch.cat(drawn)
    excluded = mask_of(seen, torch.tensor([user]))[0]
    assert not excluded[drawn].any()
    expected = probabilities_by_hand(
        tables[learner][user].numpy(), tables["teacher"][user].numpy(), excluded.numpy(), direction
    )
    order = np.argsort(expected, kind="stable")
    cumulative = expected[order].cumsum()
    tenth = np.empty(n_items, dtype=int)
    tenth[order] = np.minimum((cumulative * 10).astype(int), 9)
    found = np.bincount(tenth[drawn.numpy()], minlength=10) / len(drawn)
    wanted = np.bincount(tenth, weights=expected, minlength=10)
    assert np.abs(found - wanted).max() < 0.025


def test_the_top_of_both_lists_is_known_after_a_few_refreshes_and_drawn_as_from_exact_ranks():
    """A refresh ranks 600 of 3,000 items, so most of the best ten are known from earlier refreshes only."""
    n_items, learner = 3001, "student"
    direction = Direction(sampling="own_top", top_temperature=3.0)
    seen, tables = seen_items(4, n_items, 20), wide_tables(4, n_items)
    tables["student"][2, 77], tables["teacher"][2, 78] = math.inf, -math.inf
    sizes = torch.full((4,), 3000)
    sampler = DistillationSampler(seen, {learner: direction}, sizes, "sampled", 600, seed=5)
    for _ in range(60):
        sampler.refresh({role: scores_of(table) for role, table in tables.items()})
    assert set(sampler.candidates.known) == {learner}  # the other's ranks are not asked for
    for user in range(1, 4):
        excluded = mask_of(seen, torch.tensor([user]))[0]
        best = tables[learner][user].masked_fill(excluded, -torch.inf).argsort(descending=True)[:256]
        assert sampler.candidates.known[learner][user].tolist() == best.tolist()
        counts = np.bincount(sampler.pools[learner][int(sampler.starts[learner][user]) :][:3000], minlength=n_items)
        expected = 3000 * probabilities_by_hand(
            tables[learner][user].numpy(), tables["teacher"][user].numpy(), excluded.numpy(), direction
        )
        often = expected > 1
        found = np.append(counts[often], counts[~often].sum())
        assert stats.chisquare(found, np.append(expected[often], expected[~often].sum())).pvalue > 1e-4


def test_a_restored_sampler_knows_the_best_items_of_the_first():
    tables, seen = wide_tables(4, 3001), seen_items(4, 3001, 20)
    scores = {role: scores_of(table) for role, table in tables.items()}
    directions = {"student": Direction(eps=1e-3), "teacher": Direction(sampling="own_top")}
    first, second = (
        DistillationSampler(seen, directions, torch.full((4,), 20), "sampled", 300, seed=seed) for seed in (1, 2)
    )
    first.refresh(scores)
    second.load_state_dict(first.state_dict())
    for sampler in (first, second):
        sampler.refresh(scores)
        sampler.refresh(scores, users=torch.tensor([2]))
    assert all(torch.equal(first.pools[role], second.pools[role]) for role in directions)
    assert all(torch.equal(first.candidates.known[role], second.candidates.known[role]) for role in directions)


def test_sampled_ranks_of_a_small_catalogue_are_those_of_all_items():
    tables = {
        role: torch.randn(N_USERS, N_ITEMS, generator=torch.Generator().manual_seed(1))
        for role in ("teacher", "student")
    }
    pools = []
    for method, more in (("exact", {}), ("sampled", {"ranked_items": N_ITEMS})):
        sampler = DistillationSampler(
            seen_items(), {"student": Direction()}, torch.full((N_USERS,), 50), method, **more
        )
        sampler.refresh({role: scores_of(table) for role, table in tables.items()})
        pools.append(sampler.pools["student"])
    assert torch.equal(*pools)


def test_a_user_who_has_seen_all_sampled_items_still_gets_others():
    pairs = [(1, item) for item in range(1, 198)] + [(2, 1)]  # leaves items 198 and 199 to user 1
    users, items = (torch.tensor(ids) for ids in zip(*pairs, strict=True))
    seen = SeenItems(users, items, 3, 200)
    sampler = DistillationSampler(seen, {"student": Direction(sampling="uniform")}, torch.full((3,), 30), "sampled", 8)
    sampler.refresh({role: scores_of(torch.randn(3, 200)) for role in ("teacher", "student")})
    assert set(sampler.pools["student"][:30].tolist()) <= {198, 199}


@pytest.mark.parametrize("n_items", [300, 9000])
def test_ranks_of_some_rows_are_those_among_all_rows(n_items):
    scores = torch.randn(6, n_items, generator=torch.Generator().manual_seed(2))
    seen = SeenItems(torch.arange(1, 7), torch.arange(11, 17), n_users=7, n_items=n_items)
    users, rows = torch.arange(1, 7), torch.tensor([False, True, False, False, True, True])

    def chunk():
        return Chunk(users, lambda role: scores, n_items, seen.of(users), "binned", torch.Generator())

    expected = chunk().ranks("teacher").everywhere()[rows]
    assert torch.equal(chunk().ranks_of_rows("teacher", rows).nan_to_num(-1.0), expected.nan_to_num(-1.0))
    assert expected.isnan().sum() == 6  # padding and the training item of each


def test_a_list_is_the_head_of_an_order_that_is_at_hand():
    scores = torch.randn(3, 9000, generator=torch.Generator().manual_seed(4))
    seen = SeenItems(torch.arange(1, 4), torch.arange(11, 14), n_users=4, n_items=9000)
    users = torch.arange(1, 4)
    chunk = Chunk(users, lambda role: scores, 9000, seen.of(users), "binned", torch.Generator())
    alone = chunk.order("teacher", 40).columns
    whole = chunk.order("teacher", 9000)
    assert torch.equal(chunk.order("teacher", 40).columns, alone)
    assert torch.equal(whole.first(40).at(torch.tensor([0, 41])), alone.view(-1)[[0, 41]].long())
