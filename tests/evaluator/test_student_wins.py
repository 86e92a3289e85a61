"""Wins of the student on hand-made ranks, against counts and scipy's own intervals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recbole_bd.data.split import load_split
from recbole_bd.evaluator import student_wins
from tests.helpers.data import write_inter
from tests.helpers.settings import make_config


def hand_made(seed=1, n=400, users=90) -> dict[str, np.ndarray]:
    """A record of integer ranks with many ties."""
    generator = np.random.default_rng(seed)
    record = {f"{role}_{arm}": generator.integers(1, 6, n).astype(np.float32) for role in ("teacher", "student")
              for arm in ("separate", "distilled")}  # fmt: skip
    record["user"] = np.array([f"u{number}" for number in generator.integers(0, users, n)])
    record["item_popularity"] = generator.geometric(0.2, n) - 1
    record["user_activity"] = generator.integers(3, 40, n)
    return record


def test_shares_are_those_of_an_independent_count():
    record = hand_made()
    n = len(record["user"])
    for arm, found in student_wins.overall(record).items():
        ahead = sum(record[f"student_{arm}"][k] < record[f"teacher_{arm}"][k] for k in range(n))
        assert found.value == pytest.approx(ahead / n)
    for key in ("item_popularity", "user_activity"):
        for group in student_wins.by_count(record, key):
            inside = [k for k in range(n) if group.least <= record[key][k] <= group.most]
            assert len(inside) == group.size
            for arm, found in group.shares.items():
                ahead = sum(record[f"student_{arm}"][k] < record[f"teacher_{arm}"][k] for k in inside)
                assert found.value == pytest.approx(ahead / len(inside))
                assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_teacher_without_a_distilled_arm_is_compared_as_it_was():
    record = {"teacher_separate": np.array([3.0, 3.0]), "student_separate": np.array([4.0, 3.0]),
              "student_distilled": np.array([2.0, 3.0])}  # fmt: skip
    found = student_wins.student_wins(record)
    assert found["separate"].tolist() == [False, False]
    assert found["distilled"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("student", "teacher", "share"),
    [([1, 2, 3], [1, 3, 2], 1 / 3), ([1, 1], [1, 1], 0.0), ([1.5, 2], [2, 2.5], 1.0)],
)
def test_only_a_strictly_better_rank_is_won(student, teacher, share):
    found = student_wins.shares({"student_separate": np.array(student), "teacher_separate": np.array(teacher)})
    assert found == {"separate": pytest.approx(share), "distilled": pytest.approx(share)}


def test_shares_of_records_stay_as_they_were_computed_before():
    record = hand_made()
    for arm, found in student_wins.shares(record).items():
        ranks = (torch.from_numpy(record[f"{role}_{arm}"]) for role in ("student", "teacher"))
        assert found == float(torch.lt(*ranks).float().mean())


def test_items_that_never_occur_in_training_are_left_out():
    """The student wins on every untrained item and on no other: with them it wins on some, without on none."""
    record = hand_made()
    untrained = record["item_popularity"] == 0
    assert 0 < untrained.sum() < len(untrained)
    for arm in ("separate", "distilled"):
        record |= {f"student_{arm}": np.where(untrained, 1.0, 3.0), f"teacher_{arm}": np.full(len(untrained), 2.0)}
    assert student_wins.shares(record)["separate"] == pytest.approx(untrained.mean())
    trained = student_wins.of_trained_items(record)
    assert set(student_wins.shares(trained).values()) == {0.0}
    assert {len(array) for array in trained.values()} == {(~untrained).sum()}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_groups_hold_every_interaction_once_and_part_no_equals(counts, groups):
    counts = np.array(counts)
    numbers = student_wins.quantile_groups(counts, groups)
    assert len(numbers) == len(counts)
    present = np.unique(numbers)
    assert present.tolist() == list(range(len(present))), "an empty group"
    assert len(present) <= groups
    order = np.argsort(counts, kind="stable")
    assert (np.diff(numbers[order]) >= 0).all()
    for count in np.unique(counts):
        assert len(np.unique(numbers[counts == count])) == 1


def test_groups_of_different_counts_are_of_equal_size():
    assert np.bincount(student_wins.quantile_groups(np.random.default_rng(0).permutation(100))).tolist() == [20] * 5


def test_one_interaction_a_user_has_wilsons_interval():
    won = np.arange(50) < 17
    found = student_wins.share(won, np.arange(50))
    expected = stats.binomtest(17, 50).proportion_ci(0.95, method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((0.34, expected.low, expected.high), abs=1e-12)


def test_interactions_of_one_user_are_not_counted_as_independent():
    """Twenty interactions a user, all won or all lost together: as sure as one interaction a user."""
    user_wins = np.arange(60) % 3 == 0
    users = np.repeat(np.arange(60), 20)
    found = student_wins.share(np.repeat(user_wins, 20), users)
    alone = student_wins.share(user_wins, np.arange(60))
    assert found.value == pytest.approx(1 / 3)
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.15)
    naive = student_wins.share(np.repeat(user_wins, 20), np.arange(1200))
    assert found.high - found.low > 3 * (naive.high - naive.low)
    assert student_wins.share(np.repeat(user_wins, 20), users) == found, "not the same twice"


@pytest.mark.parametrize("numbers", [1, 500, 2**21])
def test_arms_share_their_resamples_and_no_interval_depends_on_how_many_are_made_at_once(numbers, monkeypatch):
    generator = np.random.default_rng(2)
    users = generator.integers(40, size=200)
    wins = {arm: generator.random(200) < chance for arm, chance in (("separate", 0.4), ("distilled", 0.6), ("all", 2))}
    expected = {arm: student_wins.share(won, users) for arm, won in wins.items()}
    monkeypatch.setattr(student_wins, "_BATCH_NUMBERS", numbers)
    assert student_wins.shares_by_arm(wins, users) == expected


@pytest.mark.parametrize("won", [[True] * 6, [False] * 6])
def test_all_or_nothing_is_not_certainty(won):
    found = student_wins.share(np.array(won), np.array([0, 0, 0, 1, 1, 1]))
    assert found.high - found.low > 0.2


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Users with one to six interactions and a win probability of their own, .4 on average."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(60):
        users = np.repeat(np.arange(80), generator.integers(1, 7, 80))
        chance = generator.beta(0.8, 1.2, 80)
        found = student_wins.share(generator.random(len(users)) < chance[users], users)
        covered += found.low <= 0.4 <= found.high
    assert covered >= 50  # 57 expected; a binomial of .95 is below 50 once in 10,000 times


def test_the_record_has_ids_counts_and_ranks_of_the_test_part(tmp_path, quick):
    train = [
        ("a", "x"),
        ("a", "y"),
        ("a", "y"),
        ("b", "x"),
        ("c", "z"),
        ("c", "x"),
        *(("d", f"i{k}") for k in range(6)),
    ]
    write_inter(tmp_path, "few", train, "train")
    write_inter(tmp_path, "few", [("a", "z"), ("b", "y")], "valid")
    write_inter(tmp_path, "few", [("b", "z"), ("a", "i1"), ("c", "new")], "test")
    config = make_config(quick, dataset="few", data_path=str(tmp_path), benchmark_filename=["train", "valid", "test"])
    split = load_split(config)
    ranks = {("separate", "teacher"): torch.tensor([1.0, 2.5, 3.0]), ("distilled", "student"): torch.ones(3)}
    record = student_wins.test_ranks_record(split, ranks)
    rows = zip(*(record[key].tolist() for key in ("user", "item", "item_popularity", "user_activity")), strict=True)
    assert sorted(rows) == [("a", "i1", 1, 3), ("b", "z", 1, 1), ("c", "new", 0, 2)]
    users, items = (ids.numpy() for ids in split.pairs("test"))
    assert record["user"].tolist() == split.dataset.id2token("user_id", users).tolist()
    assert record["item"].tolist() == split.dataset.id2token("item_id", items).tolist()
    assert record["teacher_separate"].tolist() == [1.0, 2.5, 3.0]
    assert "teacher_distilled" not in record
    assert all(array.dtype != object for array in record.values())
