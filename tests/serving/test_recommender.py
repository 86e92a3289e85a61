import numpy as np
import pytest
import torch

from recbole_bd.serving.recommender import Recommender, popular_items
from tests.helpers.serving import COUNT, reference


@pytest.mark.parametrize(
    ("exclude", "parts"),
    [
        ("measured", ["train", "valid"]),
        ("train", ["train"]),
        ("known", ["train", "valid", "test"]),
        ("nothing", []),
    ],
)
def test_the_best_items_are_those_that_sorting_gives(student, exclude, parts):
    recommender = Recommender(student.role, student.split, COUNT, exclude)
    users = torch.arange(1, student.split.n_users)
    top = recommender.top(users)
    for user, items, scores in zip(users.tolist(), top.items.tolist(), top.scores.tolist(), strict=True):
        expected = reference(student, user, COUNT, parts)
        assert scores == pytest.approx([score for score, _ in expected], rel=1e-6)
        assert items == [item for _, item in expected]


def test_a_user_with_few_items_left_gets_those(student):
    recommender = Recommender(student.role, student.split, 1000)
    assert recommender.count == student.split.n_items - 1
    top = recommender.top(torch.tensor([1]))
    left = recommender.count - len(recommender.excluded_items(torch.tensor([1]))[0])
    assert (top.items[0] > 0).sum() == left
    assert (top.items[0, left:] == 0).all()
    assert torch.isneginf(top.scores[0, left:]).all()


def test_popular_items_of_equals_begin_with_the_one_met_first(student):
    counts = np.bincount(student.split.pairs("train")[1].numpy(), minlength=student.split.n_items)
    expected = sorted(range(1, student.split.n_items), key=lambda item: (-counts[item], item))
    assert popular_items(student.split, 10).tolist() == expected[:10]


@pytest.mark.parametrize(
    ("exclude", "parts"),
    [
        ("measured", ["train", "valid"]),
        ("train", ["train"]),
        ("known", ["train", "valid", "test"]),
        ("nothing", []),
    ],
)
def test_the_excluded_items_of_a_user_are_those_of_these_parts(student, exclude, parts):
    users = torch.tensor([3, 1])
    found = Recommender(student.role, student.split, COUNT, exclude).excluded_items(users)
    assert [items.dtype for items in found] == [torch.int64] * 2
    for user, items in zip(users.tolist(), found, strict=True):
        pairs = [student.split.pairs(part) for part in parts]
        expected = {int(i) for us, its in pairs for u, i in zip(us, its, strict=True) if u == user}
        assert sorted(items.tolist()) == sorted(expected)
