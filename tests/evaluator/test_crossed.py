"""Users and seeds crossed: against closed forms, an analysis of variance written from its sums, and frequencies."""

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.errors import ComparisonError
from recbole_bd.evaluator.crossed import compare_crossed, compare_crossed_pairs, crossed_test, effect_size
from recbole_bd.evaluator.significance import compare, t_test

pytestmark = pytest.mark.filterwarnings("error")


def of(differences, **options):
    differences = np.asarray(differences, dtype=float)
    return compare_crossed(np.zeros_like(differences), differences, **options)


def table(users, seeds, of_users=1.0, of_seeds=0.0, of_rest=1.0, mean=0.0, seed=0):
    generator = np.random.default_rng(seed)
    rows, columns = generator.normal(size=(users, 1)), generator.normal(size=(1, seeds))
    return mean + of_users * rows + of_seeds * columns + of_rest * generator.normal(size=(users, seeds))


def test_the_analysis_of_variance_by_its_sums():
    """Fisher's sums of squares and Satterthwaite's degrees of freedom, entry by entry."""
    values = [[1.0, 2.0, 6.0], [3.0, 5.0, 7.0], [2.0, 0.0, 4.0], [1.0, 1.0, 4.0]]
    n, k, total = 4, 3, 36.0
    correction = total**2 / (n * k)
    of_users = sum(sum(row) ** 2 for row in values) / k - correction
    of_seeds = sum(sum(row[s] for row in values) ** 2 for s in range(k)) / n - correction
    in_all = sum(value**2 for row in values for value in row) - correction
    m_u, m_s, m_e = of_users / 3, of_seeds / 2, (in_all - of_users - of_seeds) / 6
    v = m_u + m_s - m_e
    df = v**2 / (m_u**2 / 3 + m_s**2 / 2 + m_e**2 / 6)
    found = of(values)
    assert (found.users, found.seeds, found.difference) == (4, 3, 3.0)
    assert found.df == pytest.approx(df)
    error = math.sqrt(v / 12)
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(3.0 / error, df))
    assert found.users_variance == pytest.approx((m_u - m_e) / 3)
    assert found.seeds_variance == pytest.approx((m_s - m_e) / 4)
    assert found.residual_variance == pytest.approx(m_e)
    assert found.interval == "Student"
    assert found.high - 3.0 == pytest.approx(error * scipy.stats.t.ppf(0.975, df))
    assert crossed_test(np.zeros((4, 3)), np.array(values)) == found.p


def test_without_differences_between_users_it_is_the_test_over_seeds_and_the_reverse():
    by_seed, by_user = np.array([0.1, 0.3, 0.2, 0.4]), np.random.default_rng(0).normal(0.2, 1, 50)
    seeds_alone, users_alone = of(np.tile(by_seed, (50, 1))), of(np.tile(by_user[:, None], (1, 4)))
    assert (seeds_alone.p, seeds_alone.df) == pytest.approx((t_test(np.zeros(4), by_seed), 3))
    assert (users_alone.p, users_alone.df) == pytest.approx((t_test(np.zeros(50), by_user), 49))


def test_components_are_those_of_the_simulation():
    found = [of(table(300, 40, 0.7, 0.4, 1.0, seed=seed)) for seed in range(3)]
    means = [np.mean([getattr(one, f"{name}_variance") for one in found]) for name in ("users", "seeds", "residual")]
    assert means == pytest.approx([0.49, 0.16, 1.0], rel=0.3)


def test_a_component_below_zero_makes_no_standard_error_smaller():
    """Seeds that are closer together than chance would have them are no evidence."""
    differences = table(200, 3, seed=1, mean=0.1)
    differences -= differences.mean(axis=0) - differences.mean()
    assert of(differences).seeds_variance < 0
    assert of(differences).p >= t_test(np.zeros(200), differences.mean(axis=1))


def test_the_sign_of_everything():
    a, b = np.zeros((60, 3)), table(60, 3, mean=0.5)
    found, mirrored = compare_crossed(a, b), compare_crossed(b, a)
    assert (mirrored.p, mirrored.df) == pytest.approx((found.p, found.df))
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    assert mirrored.effect_size == pytest.approx(-found.effect_size)
    assert (found.ahead, mirrored.ahead) == (3, 0)
    assert found.low < found.difference < found.high


def test_the_effect_size_does_not_grow_with_the_seeds():
    few, many = (effect_size(table(4000, seeds, 0.5, 0.0, 1.0, 0.2)) for seeds in (2, 20))
    assert few == pytest.approx(0.2 / math.sqrt(1.25), rel=0.15)
    assert many == pytest.approx(few, rel=0.15)
    one = table(500, 1, mean=0.2)
    assert effect_size(one) == pytest.approx(compare(np.zeros(500), one[:, 0]).effect_size)
    by_hand = np.array([[1.0, 5.0], [3.0, 9.0]])  # variances over users: 2 and 8
    assert effect_size(by_hand) == pytest.approx(4.5 / math.sqrt(5))


def test_the_interval_holds_the_seeds_too():
    """With seeds far apart it is as wide as resampled seeds; with one seed it is that of the users."""
    apart = table(400, 5, 0.0, 1.0, 0.01)
    found = of(apart)
    assert found.interval == "hierarchical"
    means = np.array(apart.mean(axis=0))
    drawn = np.random.default_rng(5).choice(means, (20_000, 5)).mean(axis=1)
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.1)
    one = table(400, 1)
    of_users = compare(np.zeros(400), one[:, 0])
    assert (of(one).low, of(one).high) == pytest.approx((of_users.low, of_users.high), abs=0.02)
    assert (of(one).p, of(one).df, of(one).ahead) == (None, None, int(one.mean() > 0))


def test_pairs_together_are_the_pairs_one_by_one():
    shapes = [(40, 3), (5, 2), (40, 1), (30, 4), (40, 3)]
    pairs = [(np.zeros(shape), table(*shape, seed=place)) for place, shape in enumerate(shapes)]
    pairs.append((np.zeros((40, 2)), np.ones((40, 2))))
    together = compare_crossed_pairs(pairs)
    for one, pair in zip(together, pairs, strict=True):
        assert vars(one) == pytest.approx(vars(compare_crossed(*pair)))
    assert [one.interval for one in together] == ["hierarchical", "Student", *["hierarchical"] * 3, "none"]
    assert compare_crossed_pairs([]) == []


def test_the_interval_is_seeded_and_widens_with_its_level():
    differences = table(80, 3)
    assert of(differences) == of(differences)
    assert of(differences, seed=1).low != of(differences).low
    wide, narrow = of(differences, level=0.99), of(differences, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([[0.3]], {"p": None, "low": None, "effect_size": None, "ahead": 1}),
        ([[0.3, 0.1]], {"p": None, "low": None, "effect_size": None, "ahead": 2}),
        ([[0.0, 0.0], [0.0, 0.0]], {"p": 1.0, "df": None, "low": None, "effect_size": 0.0, "ahead": 0}),
        ([[0.1, 0.1]] * 3, {"p": None, "low": None, "effect_size": None, "interval": "none"}),
        ([[0.3], [0.1]], {"p": None, "low": None, "interval": "none"}),
        ([[0.1, -0.1], [-0.1, 0.1]], {"p": None, "low": None}),
        ([[1e-15, -1e-15], [0.0, 1e-14]], {"p": 1.0, "effect_size": 0.0}),
    ],
)
def test_where_there_is_nothing_to_judge_by_it_says_so(differences, expected):
    found = of(differences)
    assert {name: getattr(found, name) for name in expected} == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.data())
def test_nothing_is_ever_nan(users, seeds, data):
    values = st.lists(st.sampled_from([0.0, 0.1, -0.1, 0.5, 1.0]), min_size=users * seeds, max_size=users * seeds)
    found = of(np.reshape(data.draw(values), (users, seeds)))
    assert found.p is None or 0 <= found.p <= 1
    assert found.low is None or found.low <= found.high
    json.dumps(vars(found), allow_nan=False)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([[1, 2]], [[1], [2]], "shapes"),
        ([1, 2], [1, 2], "shapes"),
        ([[]], [[]], "shapes"),
        ([[1, math.nan]], [[1, 2]], "1 of 2 pairs have a value that is not finite"),
    ],
)
def test_what_is_no_table_is_refused(a, b, message):
    with pytest.raises(ComparisonError, match=message):
        compare_crossed(a, b)
