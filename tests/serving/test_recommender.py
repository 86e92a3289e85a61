import numpy as np
import pytest
import torch

from recbole_bd.sampler import top_lists
from recbole_bd.serving.recommender import Recommender, inner_ids, popular_items
from tests.helpers.histories import items_in_time
from tests.helpers.serving import COUNT, next_items_of, reference

of_every_exclusion = pytest.mark.parametrize(
    ("exclude", "parts"),
    [
        ("measured", ["train", "valid"]),
        ("train", ["train"]),
        ("known", ["train", "valid", "test"]),
        ("nothing", []),
    ],
)


@of_every_exclusion
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


@pytest.mark.parametrize("exclude", ["measured", "nothing"])
def test_only_allowed_items_are_found(exclude, student):
    allowed = torch.zeros(student.split.n_items, dtype=torch.bool)
    allowed[torch.arange(0, student.split.n_items, 3)] = True  # padding too, which is never recommended
    recommender = Recommender(student.role, student.split, 1000, exclude, allowed)
    assert recommender.count == int(allowed.sum()) - 1
    users = torch.arange(1, student.split.n_users)
    top, popular = recommender.top(users), recommender.popular(users)
    counts = np.bincount(student.split.pairs("train")[1].numpy(), minlength=student.split.n_items)
    parts = ("train", "valid") if exclude == "measured" else ()
    for row, user in enumerate(users.tolist()):
        expected = [pair for pair in reference(student, user, 1000, parts) if allowed[pair[1]]]
        assert top.items[row, : len(expected)].tolist() == [item for _, item in expected]
        assert top.scores[row, : len(expected)].tolist() == pytest.approx(
            [score for score, _ in expected], rel=1e-6, abs=1e-7
        )
        assert (top.items[row, len(expected) :] == 0).all()
        by_count = sorted((item for _, item in expected), key=lambda item: (-counts[item], item))
        assert popular[row].tolist() == by_count + [0] * (recommender.count - len(by_count))


def test_popular_items_are_those_that_are_left_for_each_user(student, monkeypatch):
    """Users repeat, are unknown, and come in parts."""
    monkeypatch.setitem(top_lists._SCORES_AT_ONCE, "cpu", 2 * student.split.n_items)
    recommender = Recommender(student.role, student.split, 3)
    users = torch.tensor([5, 0, 9, 5, 1, 0])
    everything = popular_items(student.split, student.split.n_items).tolist()
    excluded = [set(items.tolist()) for items in recommender.excluded_items(users)]
    expected = [[item for item in everything if item not in known][:3] for known in excluded]
    assert recommender.popular(users).tolist() == expected


def test_inner_ids_are_found_by_original_ids(student):
    dataset = student.split.dataset
    names = ["u7", "nobody", "[PAD]", "u0", "u7", ""]
    expected = [dataset.field2token_id["user_id"].get(name, 0) for name in names]
    assert inner_ids(dataset, "user_id", names).tolist() == expected
    assert inner_ids(dataset, "user_id", []).tolist() == []


def test_popular_items_of_equals_begin_with_the_one_met_first(student):
    counts = np.bincount(student.split.pairs("train")[1].numpy(), minlength=student.split.n_items)
    expected = sorted(range(1, student.split.n_items), key=lambda item: (-counts[item], item))
    assert popular_items(student.split, 10).tolist() == expected[:10]


@of_every_exclusion
def test_the_excluded_items_of_a_user_are_those_of_these_parts(student, exclude, parts):
    users = torch.tensor([3, 1])
    found = Recommender(student.role, student.split, COUNT, exclude).excluded_items(users)
    assert [items.dtype for items in found] == [torch.int64] * 2
    for user, items in zip(users.tolist(), found, strict=True):
        pairs = [student.split.pairs(part) for part in parts]
        expected = {int(i) for us, its in pairs for u, i in zip(us, its, strict=True) if u == user}
        assert sorted(items.tolist()) == sorted(expected)


@pytest.mark.parametrize("name", ["SASRec", "GRU4Rec"])
@pytest.mark.parametrize("exclude", ["measured", "train", "known", "nothing"])
def test_a_sequential_model_recommends_what_comes_after_all_items_of_a_user(name, exclude, in_time):
    """Held against the rows of the data file, whose order is by no split."""
    trained = in_time[name]
    users = torch.tensor([5, 1, 5, 60])
    top = Recommender(trained.role, trained.split, COUNT, exclude).top(users)
    names = trained.split.dataset.field2id_token["user_id"][users.numpy()]
    for user, items, scores in zip(names, top.items.tolist(), top.scores.tolist(), strict=True):
        sequence = items_in_time()[user]
        left_out = {"known": sequence, "train": sequence[:-2]}.get(exclude, [])
        expected = next_items_of(trained, sequence, COUNT, left_out)
        assert items == [item for _, item in expected]
        assert scores == pytest.approx([score for score, _ in expected], rel=1e-5)
