"""Any data set: each interaction is in exactly one part, or one line says why not; what follows holds on it."""

from collections import Counter
from contextlib import nullcontext
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from recbole_bd.data.batches import train_loader
from recbole_bd.data.split import load_split
from recbole_bd.errors import BDError, DataError
from recbole_bd.evaluator.held_out_ranks import test_ranks as ranks_of_test_items
from recbole_bd.sampler.seen_items import SeenItems
from tests.helpers.bounds import tried
from tests.helpers.bpr_settings import BPRSettings
from tests.helpers.counts import tally
from tests.helpers.references import rank_by_hand
from tests.helpers.settings import QUICK, make_config

ODD_IDS = [
    *(
        "NA",
        "nan",
        "null",
        "None",
        "0",
        "007",
        "7",
        "7.0",
        " ",
        " a",
        "a ",
        '"',
        '"a',
        "'",
        "a,b",
        "a;b",
        "#",
        "\\",
        "é",
    ),
    *("e\u0301", "\u2028", "\x0b", "\x85", "\u00a0", "[PAD", "-inf", "1e5", "x" * 1000, "\U0001f469\u200d\U0001f467"),
    *("é", "日本", "True", "::", "\ufeff"),
]
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1, max_size=6)
ids = st.sampled_from(ODD_IDS) | text.filter(lambda name: name != "[PAD]")

SPLITS = [
    {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "order": "RO", "mode": "full"},
    {"split": {"RS": [0.6, 0.2, 0.2]}, "group_by": "none", "order": "RO", "mode": "full"},
    {"split": {"RS": [0.5, 0.3, 0.2]}, "group_by": "user", "order": "TO", "mode": "full"},
    {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "RO", "mode": "full"},
    {"split": {"LS": "valid_only"}, "group_by": "user", "order": "RO", "mode": "full"},
    {"split": {"RS": [0.8, 0.0, 0.2]}, "group_by": "user", "order": "RO", "mode": "full"},
    {"split": {"RS": [1, 0, 0]}, "group_by": "user", "order": "RO", "mode": "full"},
    {"split": {"RS": [0, 1, 1]}, "group_by": "none", "order": "RO", "mode": "full"},
]


@st.composite
def interactions(draw) -> list[tuple[str, str]]:
    """Users of one to many items, some of them again and again; now and then one user has almost all of it."""
    users = draw(st.lists(ids, min_size=draw(st.sampled_from([4, 1, 4])), max_size=8, unique=True))
    items = draw(st.lists(ids, min_size=draw(st.sampled_from([25, 15, 30, 2, 1])), max_size=40, unique=True))
    sizes = draw(st.lists(st.integers(1, 12), min_size=len(users), max_size=len(users)))
    if draw(st.booleans()):
        sizes[0] = draw(st.integers(0, 300))  # a long tail
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    rows = [
        (user, items[k])
        for user, size in zip(users, sizes, strict=True)
        for k in generator.integers(0, max(1, len(items) - 2 * (size > 12)), size)
    ]
    rows += [rows[0]] * draw(st.integers(0, 2)) if rows else [(users[0], items[-1])]
    generator.shuffle(rows)
    return [(str(user), str(item)) for user, item in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


@cache
def config_of(folder, number: int):
    columns = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "topk": [1], "valid_metric": "NDCG@1"}
    more = {"dataset": "any", "data_path": str(folder), "eval_args": SPLITS[number], "train_batch_size": 64}
    return make_config({**QUICK, **columns, **more})


def write(folder, rows):
    path = folder / "any" / "any.inter"
    path.parent.mkdir(exist_ok=True)
    lines = [f"{user}\t{item}\t{(7 * k) % 11}\n" for k, (user, item) in enumerate(rows)]
    path.write_bytes(("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(lines)).encode())


def tokens(split, part) -> list[tuple[str, str]]:
    columns = zip(("user_id", "item_id"), split.pairs(part), strict=True)
    return list(zip(*(map(str, split.dataset.id2token(field, ids.numpy())) for field, ids in columns), strict=True))


@pytest.mark.slow
@tried(150)
@given(interactions(), st.sampled_from([0, 0, 1, 2, 3, 4, 4, 5, 6, 7]))
@example([("u", f"i{k}") for k in range(50)] + [(f"v{k}", f"i{k % 3}") for k in range(40)], 0)
def test_a_split_loses_nothing_or_says_why(folder, pytestconfig, rows, number):
    write(folder, rows)
    config = config_of(folder, number)
    try:
        split = load_split(config)
    except BDError as error:
        refused = str(error)
    else:
        tally(pytestconfig, "any data: splits made")
        hold(config, split, rows)
        return
    tally(pytestconfig, "any data: splits refused")
    assert refused
    assert len(refused.splitlines()) == 1


def hold(config, split, rows):
    """Assert what is true of every split."""
    parts = {part: tokens(split, part) for part in ("train", "valid", "test")}
    assert Counter(pair for part in parts.values() for pair in part) == Counter(rows)
    assert all(parts.values())
    assert split.n_users == len({user for user, _ in rows}) + 1
    train = set(zip(*(ids.tolist() for ids in split.pairs("train")), strict=True))

    try:
        seen = SeenItems(*split.pairs("train"), split.n_users, split.n_items)
    except DataError as error:
        refused = str(error)
        most = max(Counter(user for user, _ in train).values())
        assert most == split.n_items - 1
        assert "seen every item" in refused
        with pytest.raises(ValueError, match="all items"):
            train_loader(config.role("teacher"), split)
        return
    owners = torch.repeat_interleave(torch.arange(split.n_users), seen.counts)
    assert set(zip(owners.tolist(), seen.items.tolist(), strict=True)) == train

    positives = Counter()
    for batch in train_loader(config.role("teacher"), split):
        users = batch["user_id"].tolist()
        positives.update(zip(users, batch["item_id"].tolist(), strict=True))
        negatives = batch["neg_item_id"]
        assert not set(zip(users, negatives.tolist(), strict=True)) & train
        assert ((negatives > 0) & (negatives < split.n_items)).all()
    assert positives == Counter(zip(*(ids.tolist() for ids in split.pairs("train")), strict=True))

    for part, loader in (("valid", split.valid_loader), ("test", split.test_loader)):
        found = set()
        for batch, _, rows_of, items in loader:
            found |= set(zip(batch["user_id"][rows_of].tolist(), items.tolist(), strict=True))
        assert found == set(zip(*(ids.tolist() for ids in split.pairs(part)), strict=True))
    check_test_ranks(split)


def check_test_ranks(split):
    """Ranks of test items, against SciPy's, for scores with many ties and infinite ones."""
    generator = np.random.default_rng(0)
    choice = np.array([-np.inf, -1, 0, 0, 2.5, np.inf], dtype=np.float32)
    scores = torch.from_numpy(generator.choice(choice, (split.n_users, split.n_items)))
    role = SimpleNamespace(
        name="student",
        device="cpu",
        config=BPRSettings(model="BPR"),
        scoring=nullcontext,
        at=nullcontext,
        all_logits=lambda users: scores[users].clone(),
    )
    known = set()
    for part in ("train", "valid"):
        known |= set(zip(*(ids.tolist() for ids in split.pairs(part)), strict=True))
    known -= set(zip(*(ids.tolist() for ids in split.pairs("test")), strict=True))
    found = ranks_of_test_items(role, split)
    for user, item, rank in zip(*(ids.tolist() for ids in split.pairs("test")), found.tolist(), strict=True):
        unlisted = np.array([other == 0 or (user, other) in known for other in range(split.n_items)])
        expected = rank_by_hand(scores[user].numpy(), unlisted)[item]
        assert rank == pytest.approx(expected) or (user, item) in known


@pytest.mark.parametrize("number", [5, 6, 7])
def test_an_empty_part_is_named(folder, number):
    write(folder, [(f"u{k % 7}", f"i{k % 23}") for k in range(60)])
    part = ["validation", "validation|test", "training"][number - 5]
    with pytest.raises(DataError, match=f"the ({part}) part is empty; change eval_args"):
        load_split(config_of(folder, number))
