"""The sampler against plain-Python forms of the paper's formulas and scipy's ranks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recbole_bd.errors import DataError
from recbole_bd.sampler import pools
from recbole_bd.sampler.candidates import Candidates
from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.draws import draw, top_weights
from recbole_bd.sampler.ranks import BIN_TOLERANCE, Ranks
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems
from tests.helpers.references import (
    DIRECTIONS,
    N_ITEMS,
    N_USERS,
    LargestTensor,
    mask_of,
    probabilities_by_hand,
    rank_by_hand,
    seen_items,
    tables,
)
from tests.helpers.together import scores_of


def ranks(scores, excluded, method):
    return Ranks(scores, excluded, method).everywhere()


def indices_of(excluded: torch.Tensor):
    """A boolean array as the row numbers and item ids that the sampler's functions take."""
    return excluded.nonzero(as_tuple=True)


def refreshed(directions, scores, pool=4000, seed=11, **options) -> DistillationSampler:
    seen = seen_items(*next(iter(scores.values())).shape)
    sizes = torch.full((seen.n_users,), pool)
    sampler = DistillationSampler(seen, directions, sizes, seed=seed, **options)
    sampler.refresh({name: table.__getitem__ for name, table in scores.items()})
    return sampler


# --- ranks ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["exact", "binned"])
def test_exact_ranks_are_scipys_and_binned_ones_stay_within_their_bound(method):
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(2000, generator=generator) for _ in range(5)]
    rows.append(torch.cat([torch.randn(1999, generator=generator) * 1e-6, torch.tensor([1e6])]))  # an outlier
    rows.append(torch.zeros(2000))  # all equal
    rows.append(torch.randint(0, 5, (2000,), generator=generator).float())  # many ties
    rows.append(torch.randn(2000, generator=generator).exp().exp())  # a long tail
    rows.append(torch.tensor([0.0, 1e-40]).repeat(1000))  # a spread so small that dividing by it overflows
    for spread in (0.0, 1e-7):  # some items all but equal, such as those that training never met
        rows.append(torch.cat([torch.randn(1500, generator=generator), torch.randn(500, generator=generator) * spread]))
    scores = torch.stack(rows)
    excluded = torch.rand(scores.shape, generator=generator) < 0.1
    excluded[:, 0] = True
    found = ranks(scores, indices_of(excluded), method)
    for row in range(len(scores)):
        expected = rank_by_hand(scores[row].numpy(), excluded[row].numpy())
        error = np.nanmax(np.abs(found[row].numpy() - expected))
        assert error <= (0 if method == "exact" else (BIN_TOLERANCE - 1) / 2)
    if method == "binned":
        expected = np.stack([rank_by_hand(s.numpy(), e.numpy()) for s, e in zip(scores[:5], excluded[:5], strict=True)])
        assert np.nanmean(np.abs(found[:5].numpy() - expected)) < 0.5


def test_items_that_crowd_one_bin_are_ranked_exactly_whatever_they_stand_for():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 3000, generator=generator)
    scores[:, ::3] *= 1e-7
    scores[:, ::9] = 0.0
    column_weights = torch.randint(1, 4, scores.shape, generator=generator).float()
    excluded = torch.rand(scores.shape, generator=generator) < 0.1
    column_weights[excluded] = 0
    exact, binned = (
        Ranks(scores, indices_of(excluded), method, column_weights=column_weights).everywhere()
        for method in ("exact", "binned")
    )
    torch.testing.assert_close(binned[:, ::3], exact[:, ::3], rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(binned.nan_to_num(), exact.nan_to_num())  # others have their bins' means
    assert (binned - exact).nan_to_num().abs().max() <= 3 * (BIN_TOLERANCE - 1) / 2


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_ranks_of_any_scores(data):
    n = data.draw(st.integers(2, 12))
    number = st.one_of(st.floats(-5, 5, width=32), st.sampled_from([math.inf, -math.inf, 0.0, 1.0, 3e38, -3e38, 1e-40]))
    scores = torch.tensor([data.draw(st.lists(number, min_size=n, max_size=n))], dtype=torch.float32)
    excluded = torch.tensor([data.draw(st.lists(st.booleans(), min_size=n, max_size=n))])
    excluded[0, data.draw(st.integers(0, n - 1))] = False
    expected = rank_by_hand(scores[0].numpy().astype(float), excluded[0].numpy())
    np.testing.assert_allclose(
        ranks(scores, indices_of(excluded), "exact")[0].numpy()[~excluded[0]], expected[~excluded[0]]
    )
    binned = ranks(scores, indices_of(excluded), "binned")[0].numpy()[~excluded[0]]
    assert np.abs(binned - expected[~excluded[0]]).max() <= (BIN_TOLERANCE - 1) / 2


@pytest.mark.parametrize("method", ["exact", "binned"])
def test_a_score_that_is_no_number_is_refused(method):
    scores = torch.zeros(2, 5)
    scores[1, 3] = math.nan
    with pytest.raises(DataError, match="not a number"):
        ranks(scores, indices_of(torch.zeros(2, 5, dtype=torch.bool)), method)


# --- frequencies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIRECTIONS)
@pytest.mark.parametrize("learner", ["teacher", "student"])
@pytest.mark.parametrize("precision", ["exact", "binned"])
def test_frequencies_are_those_of_the_formulas(name, learner, precision):
    scores = tables()
    sampler = refreshed({learner: DIRECTIONS[name]}, scores, ranks=precision)
    guide = "teacher" if learner == "student" else "student"
    for user in range(1, N_USERS):
        users = torch.full((1,), user)
        excluded = mask_of(sampler.seen, users)[0].numpy()
        expected = probabilities_by_hand(
            scores[learner][user].numpy(), scores[guide][user].numpy(), excluded, DIRECTIONS[name]
        )
        start = int(sampler.starts[user])
        counts = np.bincount(sampler.pools[learner][start : start + 4000].numpy(), minlength=N_ITEMS)
        possible = expected > 0
        assert counts[~possible].sum() == 0
        assert stats.chisquare(counts[possible], 4000 * expected[possible]).pvalue > 1e-4


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
    searched, search = [], pools.fill_by_search

    def counted(*arguments):
        searched.append(int(arguments[-1].sum()))
        search(*arguments)

    monkeypatch.setattr(pools, "fill_by_search", counted)
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


@pytest.mark.parametrize(("order", "sign"), [("paper", 1), ("reference", -1)])
def test_the_student_gets_items_the_teacher_ranks_higher_unless_the_order_is_the_references(order, sign):
    scores = tables()
    sampler = refreshed({"student": Direction(eps=1.0, rank_order=order)}, scores, ranks="exact")
    users = torch.arange(1, N_USERS)
    excluded = sampler.seen.of(users)
    difference = ranks(scores["student"][users], excluded, "exact") - ranks(scores["teacher"][users], excluded, "exact")
    drawn = sampler.sample("student", users, 500)
    assert (sign * difference.gather(1, drawn) > 0).all()


def wide_tables(n_users=4, n_items=3001):
    """Two roles whose rankings agree in part, on a catalogue wide enough to be sampled from."""
    generator = torch.Generator().manual_seed(11)
    shared = torch.randn(n_users, n_items, generator=generator)
    noise = torch.randn(2, n_users, n_items, generator=generator)
    return {"teacher": shared + noise[0], "student": shared + noise[1]}


@pytest.mark.parametrize("sampling", ["top", "own_top"])
def test_frequencies_of_drawing_from_the_head_are_those_of_the_formulas(sampling, monkeypatch):
    """No row is weighed but those with equal scores at the top, or infinite ones; the odds are the same in all."""
    scores = wide_tables(n_users=6)
    listed = scores["teacher" if sampling == "top" else "student"]
    listed[2] = listed[2].mul(2).round()  # a head of few different scores
    listed[3] = 1.0
    listed[4, torch.randperm(3001)[:20]] = math.inf
    searched, search = [], pools.fill_by_search

    def counted(*arguments):
        searched.append(int(arguments[-1].sum()))
        search(*arguments)

    monkeypatch.setattr(pools, "fill_by_search", counted)
    direction = Direction(sampling=sampling, top_temperature=8.0)
    sampler = refreshed({"student": direction}, scores, ranks="exact")
    assert sum(searched) == 3
    for user in range(1, 6):
        excluded = mask_of(sampler.seen, torch.tensor([user]))[0].numpy()
        expected = 4000 * probabilities_by_hand(
            scores["student"][user].numpy(), scores["teacher"][user].numpy(), excluded, direction
        )
        counts = np.bincount(sampler.pools["student"][int(sampler.starts[user]) :][:4000], minlength=3001)
        assert counts[excluded].sum() == 0
        often = expected > 1
        found = np.append(counts[often], counts[~often].sum())
        wanted = np.append(expected[often], expected[~often].sum())
        assert stats.chisquare(found[wanted > 0], wanted[wanted > 0]).pvalue > 1e-4


@pytest.mark.parametrize("how", ["exact", "binned"])
@pytest.mark.parametrize("likely", ["none", "known", "known and popular"])
def test_ranks_among_sampled_items_are_unbiased_and_within_their_standard_error(likely, how):
    """Whatever is known: the best 50 of one role, and of the other 50 from anywhere; and whatever is popular."""
    n_items, ranked, user = 3001, 300, 2
    seen, tables = seen_items(4, n_items, 20), wide_tables(4, n_items)
    exact = ranks(tables["teacher"][[user]], seen.of(torch.tensor([user])), "exact")[0]
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


@pytest.mark.parametrize("how", ["binned", "sampled"])
@pytest.mark.parametrize("sampling", ["rank_discrepancy", "uniform", "own_top"])
def test_what_is_drawn_for_some_users_does_not_depend_on_others(sampling, how, monkeypatch):
    monkeypatch.setattr("recbole_bd.sampler.sampler._USERS_A_SPAN", 80)
    n_users, n_items = 200, 301
    seen, sizes = seen_items(n_users, n_items, 20), torch.full((n_users,), 50)
    tables = wide_tables(n_users, n_items)
    pools = []
    for change in (0.0, 1.0):
        changed = {name: table.clone() for name, table in tables.items()}
        for table in changed.values():
            table[-30:] = table[-30:].flip(1) * change + table[-30:] * (1 - change)
        direction = Direction(sampling=sampling, eps=0.02, top_temperature=3.0)
        sampler = DistillationSampler(seen, {"student": direction}, sizes, how, 100, seed=3, chunk_scores=10 * n_items)
        sampler.refresh({name: scores_of(table) for name, table in changed.items()})
        pools.append(sampler.pools["student"].view(n_users - 1, 50))
    assert (pools[0][:80] == pools[1][:80]).all()
    assert sampling == "uniform" or (pools[0][-30:] != pools[1][-30:]).any()


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
        drawn.append(sampler.pools[learner][sampler.starts[user] :][:40].long())
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
    """Of 3,000 items 600 are ranked at a time: most of the best ten are not among them, but were once."""
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
        counts = np.bincount(sampler.pools[learner][int(sampler.starts[user]) :][:3000], minlength=n_items)
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


def test_an_unknown_way_of_ranking_is_refused():
    with pytest.raises(ValueError, match="binned, exact, sampled"):
        DistillationSampler(seen_items(), {}, torch.ones(N_USERS), "guessed")


def test_what_is_handed_out_has_the_frequencies_of_what_was_drawn():
    sampler = refreshed({"student": Direction(sampling="uniform")}, tables(), pool=8)
    drawn = sampler.sample("student", torch.full((2000,), 3), 10).flatten()
    pool = sampler.pools["student"][int(sampler.starts[3]) :][:8].long()
    expected = np.bincount(pool.numpy(), minlength=N_ITEMS) / 8
    counts = np.bincount(drawn.numpy(), minlength=N_ITEMS)
    assert counts[expected == 0].sum() == 0
    assert stats.chisquare(counts[expected > 0], 20000 * expected[expected > 0]).pvalue > 1e-4


def test_agreeing_rankings_are_drawn_from_uniformly():
    table = tables()["teacher"]
    sampler = refreshed({"student": Direction(eps=0.1)}, {"teacher": table, "student": table * 2})
    for user in range(1, N_USERS):
        excluded = mask_of(sampler.seen, torch.tensor([user]))[0].numpy()
        counts = np.bincount(sampler.pools["student"][int(sampler.starts[user]) :][:4000].numpy(), minlength=N_ITEMS)
        assert counts[excluded].sum() == 0
        assert stats.chisquare(counts[~excluded]).pvalue > 1e-4


# --- what may never happen --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", DIRECTIONS)
def test_padding_and_training_items_are_never_drawn(name):
    scores = tables(n_users=40, n_items=12)
    for table in scores.values():  # both roles like best what may not be drawn
        table[:, 0] += 100
    sampler = refreshed({role: DIRECTIONS[name] for role in scores}, scores, pool=200)
    users = torch.arange(1, 40)
    for role in scores:
        drawn = sampler.sample(role, users, 100)
        assert not mask_of(sampler.seen, users).gather(1, drawn).any()


def test_the_only_item_left_is_always_drawn():
    users, items = torch.ones(4, dtype=torch.long), torch.tensor([1, 2, 4, 5])
    seen = SeenItems(users, items, 2, 6)
    for direction in DIRECTIONS.values():
        sampler = DistillationSampler(seen, {"student": direction}, torch.tensor([0, 50]))
        sampler.refresh({"teacher": lambda u: torch.randn(len(u), 6), "student": lambda u: torch.randn(len(u), 6)})
        assert (sampler.pools["student"] == 3).all()


def test_a_user_who_has_seen_everything_is_refused():
    with pytest.raises(DataError, match="1 user"):
        SeenItems(torch.tensor([1, 1, 1, 1, 2]), torch.tensor([1, 2, 3, 3, 1]), 3, 4)


@given(st.lists(st.sampled_from([0.0, 0.0, 1e-30, 1.0, 1e30]), min_size=2, max_size=8).filter(any), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_an_item_of_no_weight_is_never_drawn(weights, seed):
    weights = torch.tensor([weights])
    drawn = draw(
        weights, indices_of(torch.zeros_like(weights, dtype=torch.bool)), 64, torch.Generator().manual_seed(seed)
    )
    assert (weights[0, drawn[0]] > 0).all()


def test_infinite_scores_rank_at_the_ends_and_are_drawn_from():
    scores = tables()
    scores["teacher"][:, 5], scores["student"][:, 5] = math.inf, -math.inf
    sampler = refreshed({"student": Direction(eps=10.0)}, scores)
    users = torch.arange(1, N_USERS)
    free = ~mask_of(sampler.seen, users)[:, 5]
    assert (sampler.sample("student", users[free], 500) == 5).any(dim=1).all()


def test_top_weights_do_not_vanish_far_down_the_list():
    rank = torch.arange(1, 5001.0).unsqueeze(0)
    excluded = rank < 4000  # the head of the list is not to be drawn
    assert top_weights(rank, indices_of(excluded), 10.0).sum() > 1


def test_only_the_learners_asked_for_get_items_and_only_their_guides_are_asked():
    scores = tables()
    sampler = refreshed({"teacher": Direction(), "student": Direction(sampling="own_top")}, scores)
    asked = set()

    def table(role):
        return lambda users: asked.add(role) or scores[role][users]

    sampler.refresh({role: table(role) for role in scores}, learners=["student"])
    assert asked == {"student"}
    assert set(sampler.pools) == {"student"}
    with pytest.raises(RuntimeError, match="no items have been drawn for the teacher"):
        sampler.sample("teacher", torch.tensor([1]), 2)


# --- what it is made of -----------------------------------------------------------------------------------------------
def test_every_user_gets_items_by_their_own_scores_whatever_the_chunks():
    n_users, n_items = 50, 60
    best = torch.arange(n_users) % (n_items - 1) + 1
    seen = SeenItems(torch.arange(1, n_users), (best[1:] % (n_items - 1)) + 1, n_users, n_items)
    flat = torch.zeros(n_users, n_items)
    peaked = flat.clone()
    peaked[torch.arange(n_users), best] = 1.0
    top = {"student": Direction(sampling="top", top_temperature=0.01)}
    for chunk in (1, 7 * n_items, 2**20):
        sizes = torch.arange(n_users) % 5 + 3
        sampler = DistillationSampler(seen, top, sizes, chunk_scores=chunk)
        done = []
        sampler.refresh({"teacher": peaked.__getitem__, "student": flat.__getitem__}, done.append)
        users = torch.arange(1, n_users)
        assert (sampler.sample("student", users, 6) == best[1:, None]).all()
        assert done[-1] == n_users - 1


def test_a_restored_sampler_continues_bitwise_equal():
    scores = tables()
    directions = {"student": Direction(), "teacher": Direction(shape="exp", eps=0.1)}
    first = refreshed(directions, scores)
    users = torch.arange(1, N_USERS)
    first.sample("student", users, 3)
    state = first.state_dict()
    second = refreshed(directions, tables(seed=9), seed=5)
    second.load_state_dict(state)
    for sampler in (first, second):
        sampler.drawn = [sampler.sample(role, users, 4) for role in directions]
        sampler.refresh({name: table.__getitem__ for name, table in scores.items()})
        sampler.drawn += [sampler.sample(role, users, 4) for role in directions]
    assert all(torch.equal(a, b) for a, b in zip(first.drawn, second.drawn, strict=True))


def test_nothing_is_handed_out_before_a_refresh():
    sampler = DistillationSampler(seen_items(), {"student": Direction()}, torch.ones(N_USERS, dtype=torch.long))
    with pytest.raises(RuntimeError, match="refresh"):
        sampler.sample("student", torch.tensor([1]), 1)


def test_a_random_positive_is_any_training_item_and_no_other():
    seen = seen_items()
    drawn = seen.random_positive(torch.full((4000,), 2), torch.Generator().manual_seed(0))
    own = set(seen.items[int(seen.starts[2]) : int(seen.starts[3])].tolist())
    assert set(drawn.tolist()) == own
    assert stats.chisquare(np.unique(drawn.numpy(), return_counts=True)[1]).pvalue > 1e-4


@pytest.mark.parametrize("precision", ["exact", "binned"])
def test_no_array_of_users_times_items_is_made(precision):
    n_users, n_items = 8000, 2000
    seen = seen_items(n_users, n_items, per_user=2)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(n_users + n_items, 4, generator=generator)
    directions = {"student": Direction(), "teacher": Direction(shape="exp", eps=1e-4)}
    sampler = DistillationSampler(seen, directions, torch.full((n_users,), 3), ranks=precision)
    with LargestTensor() as largest:
        sampler.refresh({name: lambda u: vectors[u] @ vectors[n_users:].T for name in ("teacher", "student")})
    assert largest.size < n_users * n_items / 5


@pytest.mark.parametrize("ranks_by", ["exact", "sampled"])
@pytest.mark.parametrize("pool", [4, 300])
@pytest.mark.parametrize(
    "direction",
    [
        Direction(shape="tanh", eps=1e300),
        Direction(shape="exp", eps=1e300),
        Direction(shape="exp", eps=1e300, rank_order="reference", rank_scale="relative"),
        Direction(sampling="top", top_temperature=1e-300),
    ],
)
def test_the_steepest_directions_draw_items(direction, pool, ranks_by):
    scores = tables(n_items=300)
    table = {role: scores_of(scores[role]) for role in scores}
    seen = seen_items(N_USERS, 300)
    sampler = DistillationSampler(seen, {"student": direction}, torch.full((N_USERS,), pool), ranks_by, 100, seed=1)
    sampler.refresh(table)
    for user in range(1, N_USERS):
        drawn = sampler.sample("student", torch.tensor([user]), 50).flatten()
        assert ((drawn >= 1) & (drawn < 300)).all()
        assert not seen.of(torch.tensor([user]))[1].unsqueeze(0).eq(drawn.unsqueeze(1)).any()
