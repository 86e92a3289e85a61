"""What a ranking leaves out: by hand, and as RecBole's evaluation leaves it out."""

import pytest
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.utils import create_samplers

from recbole_bd.data.protocol import UserItems, left_out, left_out_of
from recbole_bd.data.split import load_split
from tests.helpers.data import write_inter
from tests.helpers.settings import alone, make_config

PARTS = {"train": [(1, 1), (1, 2), (2, 5), (1, 1)], "valid": [(1, 3), (2, 5)], "test": [(1, 2), (1, 4), (3, 1)]}
PAIRS = {part: tuple(torch.tensor(ids) for ids in zip(*pairs, strict=True)) for part, pairs in PARTS.items()}


def by_user(found: UserItems, n_users: int) -> dict[int, list[int]]:
    rows, items = found.of(torch.arange(n_users))
    return {user: items[rows == user].tolist() for user in range(n_users) if (rows == user).any()}


@pytest.mark.parametrize(
    ("part", "repeatable", "expected"),
    [
        ("test", False, {1: [1, 3], 2: [5]}),  # item 2 of user 1 is measured
        ("valid", False, {1: [1, 2]}),  # item 5 of user 2 is measured
        ("test", True, {}),
        ("valid", True, {}),
    ],
)
def test_items_of_earlier_parts_are_left_out_unless_they_are_measured(part, repeatable, expected):
    assert by_user(left_out_of(PAIRS, part, 4, 6, repeatable), 4) == expected


def test_rows_follow_the_order_of_the_users():
    found = UserItems(torch.tensor([0, 0, 2, 2, 3]), torch.tensor([4, 7, 9]))
    rows, items = found.of(torch.tensor([3, 2, 1, 3]))
    assert (rows.tolist(), items.tolist()) == ([0, 2, 2, 3], [9, 4, 7, 9])


@pytest.mark.parametrize("repeatable", [False, True])
def test_it_is_what_recboles_evaluation_leaves_out(repeatable, tmp_path, quick):
    """Interactions repeat within and over the parts; one user is in no test part."""
    generator = torch.Generator().manual_seed(3)
    for part, count in (("train", 300), ("valid", 60), ("test", 60)):
        pairs = torch.randint(1, 20, (count, 2), generator=generator).tolist()
        write_inter(tmp_path, "twice", [(f"u{u}", f"i{i}") for u, i in pairs] + [("u1", "i1")], part)
    settings = {**alone(quick), "dataset": "twice", "data_path": str(tmp_path), "repeatable": repeatable}
    split = load_split(make_config(settings, model="BPR", benchmark_filename=["train", "valid", "test"]))
    config, parts = split.dataset.config, [split.train, split.valid, split.test]
    samplers = create_samplers(config, split.dataset, parts)
    loaders = (split.valid_loader, split.test_loader)
    for part, dataset, sampler, own in zip(("valid", "test"), parts[1:], samplers[1:], loaders, strict=True):
        found = by_user(left_out(split, part), split.n_users)
        assert bool(found) != repeatable
        loader = FullSortEvalDataLoader(config, dataset, sampler)
        hosts = {user: sorted(loader.uid2history_item[user].tolist()) for user in loader.uid_list.tolist()}
        assert {user: found.get(user, []) for user in hosts} == hosts
        for name in ("uid2history_item", "uid2positive_item"):  # as RecBole's `case_study` reads them
            theirs, ours = (
                [None if items is None else sorted(items.tolist()) for items in getattr(one, name)]
                for one in (loader, own)
            )
            assert ours == theirs
        assert own.uid2items_num.tolist() == loader.uid2items_num.tolist()
