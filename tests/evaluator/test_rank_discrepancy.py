"""Histograms of rank differences against plain counts, and draws against the samplers' formulas."""

import numpy as np
import pytest
import torch
from scipy import stats

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.data.split import load_split
from recbole_bd.evaluator import rank_discrepancy
from recbole_bd.evaluator.rank_discrepancy import bin_edges, count_discrepancies, formula, histogram
from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.sampler import DistillationSampler
from tests.helpers.settings import make_config


class Scorer:
    """A role whose scores are a table."""

    def __init__(self, table):
        self.table, self.device = table, torch.device("cpu")

    def all_logits(self, users):
        return self.table[users]

    def scoring(self):
        from contextlib import nullcontext

        return nullcontext(self)


@pytest.fixture
def scene(quick):
    """The block data, and two roles that rank at random."""
    split = load_split(make_config(quick))
    generator = torch.Generator().manual_seed(7)
    roles = {
        name: Scorer(torch.randn(split.n_users, split.n_items, generator=generator)) for name in (TEACHER, STUDENT)
    }
    return split, roles


def sampler_of(split, **directions) -> DistillationSampler:
    from recbole_bd.sampler.seen_items import SeenItems

    seen = SeenItems(*split.pairs("train"), split.n_users, split.n_items)
    return DistillationSampler(seen, directions, (seen.counts * 5).clamp(min=1), ranks="exact", seed=1)


def differences(split, roles) -> dict[int, np.ndarray]:
    """rank_student - rank_teacher of each user's unseen items, by scipy."""
    seen = {}
    for user, item in zip(*(ids.tolist() for ids in split.pairs("train")), strict=True):
        seen.setdefault(user, set()).add(item)
    found = {}
    for user, items in seen.items():
        unseen = [item for item in range(1, split.n_items) if item not in items]
        ranks = {name: stats.rankdata(-role.table[user, unseen].numpy()) for name, role in roles.items()}
        found[user] = ranks[STUDENT] - ranks[TEACHER]
    return found


@pytest.mark.parametrize("n_items", [3, 49, 1683, 25188, 1_300_000])
def test_bins_are_symmetric_reach_everything_and_never_mix_signs(n_items):
    edges = bin_edges(n_items)
    assert (edges.diff() > 0).all()
    assert torch.equal(edges, -edges.flip(0))
    assert edges[-1] >= n_items
    middle = len(edges) // 2
    assert edges[middle - 1 : middle + 1].tolist() == [-0.25, 0.25]
    assert 20 < len(edges) < 110 or n_items < 1000


def test_a_histogram_is_numpys():
    edges = bin_edges(100)
    values = torch.randint(-190, 190, (40, 30), generator=torch.Generator().manual_seed(0)) / 2
    expected, _ = np.histogram(values.numpy(), edges.numpy())
    assert histogram(values, edges).tolist() == expected.tolist()
    assert histogram(torch.tensor([torch.nan, 0.0, 0.5, -0.5, 1e9]), edges).sum() == 3


@pytest.mark.parametrize("chunk", [1, 150, 2**20])
def test_counts_are_those_of_every_pair_of_user_and_unseen_item(scene, chunk, monkeypatch):
    monkeypatch.setattr(rank_discrepancy, "_CHUNK_SCORES", chunk)
    split, roles = scene
    record = count_discrepancies(roles, split, sampler_of(split), seed=3)
    expected = differences(split, roles)
    counts, _ = np.histogram(np.concatenate(list(expected.values())), record["edges"])
    assert record["unseen"].tolist() == counts.tolist()
    assert record["unseen"].sum() == record["unseen_items"].sum() == sum(map(len, expected.values()))
    assert len(record["user"]) == len(expected)


def test_users_are_a_seeded_sample_of_bounded_size(scene, monkeypatch):
    split, roles = scene
    first, again, other = (count_discrepancies(roles, split, None, seed, n_users=12) for seed in (1, 1, 2))
    assert len(first["user"]) == 12
    assert first["user"].tolist() == again["user"].tolist() != other["user"].tolist()
    assert first["unseen"].tolist() == again["unseen"].tolist()
    assert first["unseen"].sum() == first["unseen_items"].sum()
    monkeypatch.setattr(rank_discrepancy, "_PAIRS", 3 * split.n_items)
    assert len(count_discrepancies(roles, split, None, 1)["user"]) == 3


def test_draws_lie_where_the_formulas_say(scene):
    """tanh in the paper's order: only what the guide ranks higher; the public code's order: the opposite."""
    split, roles = scene
    for order, sign in (("paper", 1), ("reference", -1)):
        directions = {name: Direction(shape="tanh", eps=0.05, rank_order=order) for name in (STUDENT, TEACHER)}
        sampler = sampler_of(split, **directions)
        record = count_discrepancies(roles, split, sampler, seed=3)
        upper, lower = record["edges"][1:], record["edges"][:-1]
        positive, negative = lower >= 0.25, upper <= -0.25
        into_student, into_teacher = record["drawn_teacher_to_student"], record["drawn_student_to_teacher"]
        assert into_student.sum() == into_teacher.sum() == int(sampler.sizes[STUDENT].sum())
        assert into_student[positive if sign > 0 else negative].sum() == into_student.sum()
        assert into_teacher[negative if sign > 0 else positive].sum() == into_teacher.sum()


@pytest.mark.parametrize(
    ("direction", "weight"),
    [
        (Direction(shape="tanh", eps=0.05), lambda d: np.tanh(np.maximum(0.05 * d, 0))),
        (Direction(shape="exp", eps=0.05), lambda d: np.exp(0.05 * d)),
        (Direction(sampling="uniform"), np.ones_like),
    ],
)
def test_draws_have_the_frequencies_of_the_formulas(direction, weight, scene):
    split, roles = scene
    sampler = sampler_of(split, student=direction)
    sampler.sizes[STUDENT] *= 40
    record = count_discrepancies(roles, split, sampler, seed=3)
    expected = np.zeros(len(record["unseen"]))
    for user, values in differences(split, roles).items():
        share = weight(values) / weight(values).sum() * int(sampler.sizes[STUDENT][user])
        expected += np.histogram(values, record["edges"], weights=share)[0]
    drawn = record["drawn_teacher_to_student"]
    many = expected > 20
    assert drawn[expected == 0].sum() == 0
    distance = ((drawn - expected)[many] ** 2 / expected[many]).sum()
    assert distance < stats.chi2.ppf(1 - 1e-6, many.sum())
    assert "drawn_student_to_teacher" not in record


def test_the_runs_sampler_is_left_as_it_was(scene):
    split, roles = scene
    sampler = sampler_of(split, student=Direction())
    sampler.refresh({name: role.all_logits for name, role in roles.items()})
    before, pool = sampler.generator.get_state(), sampler.pools["student"].clone()
    stream = torch.get_rng_state()
    count_discrepancies(roles, split, sampler, seed=1)
    assert torch.equal(sampler.generator.get_state(), before)
    assert torch.equal(sampler.pools["student"], pool)
    assert torch.equal(torch.get_rng_state(), stream)


def test_equal_rankings_are_all_in_the_middle_bin(scene):
    split, roles = scene
    sampler = sampler_of(split, student=Direction())
    record = count_discrepancies({TEACHER: roles[TEACHER], STUDENT: roles[TEACHER]}, split, sampler, seed=1)
    middle = len(record["unseen"]) // 2
    assert record["unseen"][middle] == record["unseen"].sum() > 0
    assert record["drawn_teacher_to_student"][middle] == record["drawn_teacher_to_student"].sum() > 0


def test_formulas_are_said_in_words():
    assert formula(Direction()) == "tanh, eps 0.01, paper order"
    assert formula(Direction(shape="exp", rank_scale="relative", eps=3.0, rank_order="reference")) == (
        "exp, eps 3 of the catalogue, reference order"
    )
    assert formula(Direction(eps=1.0, rank_scale="logarithmic")) == "tanh, eps 1 of logarithms, paper order"
    assert formula(Direction(guide_top=9)) == "tanh, eps 0.01, paper order, of the guide's first 9"
    assert formula(Direction(sampling="uniform")) == "uniform"
    assert formula(Direction(sampling="top", top_temperature=5.0)) == "top, temperature 5"
