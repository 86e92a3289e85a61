"""The statistics against closed forms, enumeration and frequencies, and the records they are made of."""

import itertools
import json
import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.errors import ComparisonError
from recbole_bd.evaluator import significance
from recbole_bd.evaluator.significance import Comparison, compare, holm
from recbole_bd.runs.per_user import paired, per_user

pytestmark = pytest.mark.filterwarnings("error")


def of(differences, **options) -> Comparison:
    return compare(np.zeros(len(differences)), np.asarray(differences, dtype=float), **options)


def test_means_and_the_sign_of_everything():
    found = compare([0.1, 0.2, 0.6], [0.3, 0.7, 0.5])
    assert (found.mean_a, found.mean_b) == pytest.approx((0.3, 0.5))
    assert found.difference == pytest.approx(0.2)
    assert found.n == 3
    mirrored = compare([0.3, 0.7, 0.5], [0.1, 0.2, 0.6])
    assert (mirrored.t_p, mirrored.wilcoxon_p) == (found.t_p, found.wilcoxon_p)
    for name in ("difference", "effect_size", "rank_biserial"):
        assert getattr(mirrored, name) == pytest.approx(-getattr(found, name))
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    assert found.low < found.difference < found.high


def test_the_t_test_is_that_of_the_tables():
    """With one and two degrees of freedom Student's distribution has a closed form."""
    one = of([1, 3])  # t = 2
    assert one.t_p == pytest.approx(1 - 2 / math.pi * math.atan(2))
    assert one.effect_size == pytest.approx(math.sqrt(2))
    two = of([1, 2, 3])  # t = 2 sqrt(3)
    t = 2 * math.sqrt(3)
    assert two.t_p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert two.effect_size == pytest.approx(2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tied", [False, True])
def test_wilcoxon_is_the_share_of_signs_as_extreme(seed, tied):
    differences = np.random.default_rng(seed).normal(0.5, 1, 9)
    if tied:
        differences = np.where(differences > 0, 1, -1) * np.array([1, 1, 1, 2, 2, 3, 4, 4, 4]) / 10
    ranks = (np.abs(differences)[:, None] >= np.abs(differences)).sum(axis=1) / 2
    ranks += ((np.abs(differences)[:, None] > np.abs(differences)).sum(axis=1) + 1) / 2  # ties share their mean
    seen = abs((ranks * np.sign(differences)).sum())
    sums = [abs((ranks * signs).sum()) for signs in itertools.product((-1, 1), repeat=9)]
    # Pairs that are equal add nothing.
    found = of([*differences, 0, 0, 0])
    assert found.wilcoxon_p == pytest.approx(np.mean(np.array(sums) >= seen))
    assert found.rank_biserial == pytest.approx((ranks * np.sign(differences)).sum() / 45)
    assert found.n == 12


def test_wilcoxon_of_many_ties_is_normal():
    # 30 of 40 differ in favour of B by the same amount: W = 30 x 20.5, mean 410, variance n (n + 1) (2n + 1) / 24 less
    # (t^3 - t) / 48 for the tie of all t = 40.
    z = (30 * 20.5 - 410) / math.sqrt(40 * 41 * 81 / 24 - (40**3 - 40) / 48)
    assert of([0.2] * 30 + [-0.2] * 10).wilcoxon_p == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_rank_biserial_by_hand():
    assert of([1, -2, 3]).rank_biserial == pytest.approx((1 + 3 - 2) / 6)
    assert of([2, 2, -1, 0]).rank_biserial == pytest.approx((2.5 + 2.5 - 1) / 6)


def test_holm_by_hand():
    # Sorted: .005 x 4 = .02, .01 x 3 = .03, .03 x 2 = .06, .04 x 1 = .04, not below .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.01, None, 0.04]) == [0.02, None, 0.04]
    assert holm([]) == []
    assert holm([None]) == [None]
    for wrong in ([0.5, 1.1], [-0.1], [math.nan]):
        with pytest.raises(ComparisonError, match=r"must be in \[0, 1\]"):
            holm(wrong)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_what_the_step_down_procedure_does(p_values):
    adjusted = holm(p_values)
    assert all(value >= p for value, p in zip(adjusted, p_values, strict=True))
    level, rejected = 0.05, set()
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] * (len(p_values) - step) > level:
            break
        rejected.add(index)
    assert {index for index, value in enumerate(adjusted) if value <= level} == rejected


@pytest.mark.slow
@pytest.mark.parametrize(("n", "method", "trials"), [(5, "Student", 400), (60, "BCa", 150), (2001, "percentile", 25)])
def test_the_interval_covers_the_true_mean(n, method, trials):
    generator = np.random.default_rng(7)
    draw = generator.normal if method == "Student" else generator.exponential
    truth = 0.0 if method == "Student" else 1.0
    found = [of(draw(size=n), seed=trial) for trial in range(trials)]
    assert {one.interval for one in found} == {method}
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / trials)


def test_the_interval_is_seeded_and_widens_with_its_level():
    differences = np.random.default_rng(0).normal(size=80)
    assert of(differences) == of(differences)
    assert of(differences, seed=1).low != of(differences).low
    wide, narrow = of(differences, level=0.99), of(differences, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_hundred_thousand_users_fit():
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 100_000))
    tracemalloc.start()
    found = compare(a, b)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * 2**20
    expected = 1.96 * math.sqrt(2 / 12 / 100_000)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.1)


NOTHING = {"low": None, "high": None, "interval": "none"}


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0], {**NOTHING, "t_p": None, "wilcoxon_p": None, "effect_size": None, "n": 1}),
        ([0.3], {**NOTHING, "t_p": None, "wilcoxon_p": None, "effect_size": None, "rank_biserial": 1.0}),
        ([0, 0], {**NOTHING, "t_p": 1.0, "wilcoxon_p": 1.0, "effect_size": 0.0, "rank_biserial": 0.0}),
        ([0] * 500, {**NOTHING, "t_p": 1.0, "wilcoxon_p": 1.0, "effect_size": 0.0}),
        ([0.1] * 3, {**NOTHING, "t_p": None, "wilcoxon_p": 0.25, "effect_size": None, "difference": 0.1}),
        ([0.1] * 50, {**NOTHING, "t_p": None, "effect_size": None}),
        ([1] + [0] * 49, {"wilcoxon_p": 1.0, "interval": "BCa"}),
        ([1, 1, -1] + [0] * 20, {"wilcoxon_p": 1.0}),
        ([1e-15, -1e-15, 1e-14, 0], {"t_p": 1.0, "wilcoxon_p": 1.0}),
        ([1] + [0] * 3000, {"interval": "percentile", "low": 0.0}),
    ],
)
def test_where_there_is_nothing_to_judge_by_it_says_so(differences, expected):
    found = of(differences)
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, -0.1, 0.5, 1.0, -1.0]), min_size=1, max_size=40))
def test_nothing_is_ever_nan(differences):
    found = of(differences)
    numbers = [value for value in vars(found).values() if isinstance(value, float)]
    assert all(math.isfinite(value) for value in numbers)
    assert all(p is None or 0 <= p <= 1 for p in (found.t_p, found.wilcoxon_p))
    assert found.low is None or found.low <= found.high
    json.dumps(vars(found), allow_nan=False)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 2], [1], "shapes"),
        ([], [], "shapes"),
        ([[1]], [[2]], "shapes"),
        ([1, math.nan, 3], [1, 2, math.inf], "2 of 3 pairs have a value that is not finite"),
    ],
)
def test_what_is_no_pair_is_refused(a, b, message):
    with pytest.raises(ComparisonError, match=message):
        compare(a, b)


# --- records ----------------------------------------------------------------------------------------------------------
def leave(folder, users, fingerprint="f", **values):
    """A run folder as a run leaves it."""
    folder.mkdir()
    record = {"method": "BD", "dataset": "d", "seed": 1, "data": {"fingerprint": fingerprint}}
    (folder / "result.json").write_text(json.dumps(record))
    arrays = {f"student/distilled/{name}": np.asarray(array, dtype=float) for name, array in values.items()}
    np.savez_compressed(folder / "per_user.npz", users=np.array(users), **arrays)
    return folder


def test_users_are_matched_by_their_ids(tmp_path):
    one = leave(tmp_path / "a", ["u10", "u9", "ü"], hit=[1, 2, 3])
    other = leave(tmp_path / "b", ["ü", "u10", "u9"], hit=[30, 10, 20])
    users, a, b = paired(one, other)
    assert users.tolist() == ["u10", "u9", "ü"]
    assert a["student/distilled/hit"].tolist() == [1, 2, 3]
    assert b["student/distilled/hit"].tolist() == [10, 20, 30]
    assert [array.tolist() for array in paired(other, one)[2].values()] == [[1, 2, 3]]


def test_other_users_and_other_splits_are_refused(tmp_path):
    one = leave(tmp_path / "a", ["u1", "u2"], hit=[0, 1])
    with pytest.raises(ComparisonError, match=r"a and .*b have different data or splits \(fingerprints f and g\)"):
        paired(one, leave(tmp_path / "b", ["u1", "u2"], "g", hit=[0, 1]))
    with pytest.raises(ComparisonError, match="were tested on different users"):
        paired(one, leave(tmp_path / "c", ["u1", "u3"], hit=[0, 1]))


DAMAGE = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()], "is not a run folder"),
    "no record": (lambda f: (f / "result.json").unlink(), "is not a run folder"),
    "torn record": (lambda f: (f / "result.json").write_text('{"data": '), r"result\.json is damaged"),
    "another record": (lambda f: (f / "result.json").write_text("[1]"), "it contains a list"),
    "no seed": (lambda f: (f / "result.json").write_text('{"method": 1, "dataset": 1, "data": {}}'), "it lacks seed"),
    "none": (lambda f: (f / "per_user.npz").unlink(), r"per_user\.npz does not exist: .* earlier version"),
    "torn": (lambda f: (f / "per_user.npz").write_bytes(b"PK\x03\x04"), r"per_user\.npz is damaged"),
    "text": (lambda f: (f / "per_user.npz").write_text("users"), r"per_user\.npz is damaged"),
    "pickle": (
        lambda f: np.savez(f / "per_user.npz", users=np.array(["a", None], dtype=object)),
        r"per_user\.npz: users .* could run code",
    ),
    "lengths": (lambda f: np.savez(f / "per_user.npz", users=np.array(["a"]), x=np.zeros(2)), "is damaged"),
    "no users": (lambda f: np.savez(f / "per_user.npz", x=np.zeros(2)), "is damaged"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_record_is_named(case, tmp_path):
    folder = leave(tmp_path / "run", ["u1"], hit=[1])
    damage, message = DAMAGE[case]
    damage(folder)
    with pytest.raises(ComparisonError, match=message):
        per_user(folder)


def test_where_bca_is_degenerate_the_percentile_interval_stands_in(monkeypatch):
    bootstrap = scipy.stats.bootstrap
    methods = []

    def degenerate(*given, method, **named):
        methods.append(method)
        if method == "BCa":
            return SimpleNamespace(confidence_interval=SimpleNamespace(low=math.nan, high=math.nan))
        return bootstrap(*given, method=method, **named)

    differences = np.random.default_rng(0).random(40)
    expected = bootstrap(
        (differences.round(12),), np.mean, n_resamples=9999, confidence_level=0.9, method="percentile",
        batch=2**20 // 40, **{significance.RNG: np.random.default_rng(3)},
    ).confidence_interval  # fmt: skip
    monkeypatch.setattr(scipy.stats, "bootstrap", degenerate)
    found = compare(np.zeros(40), differences, 0.9, seed=3)
    assert methods == ["BCa", "percentile"]
    assert (found.interval, found.low, found.high) == (
        "percentile",
        pytest.approx(expected.low),
        pytest.approx(expected.high),
    )
