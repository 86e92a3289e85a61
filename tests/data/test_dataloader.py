"""RecBole's loaders and sampler are the reference: the same batches and negatives, bitwise."""

import pytest
import torch
from recbole.data.dataloader import NegSampleEvalDataLoader, TrainDataLoader, UserDataLoader
from recbole.utils import init_seed

from recbole_bd.backbones.build_role import build_role
from recbole_bd.data.batches import train_loader
from recbole_bd.data.evaluation_loader import ArraySampledLoader, make_evaluation_loader
from recbole_bd.data.split import load_split
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.loaders import hosts
from tests.helpers.settings import alone, make_config


def epochs_of(loader, count=3):
    init_seed(11, True)
    return [[dict(batch.interaction) for batch in loader] for _ in range(count)]


PARTS = ("train", "valid", "test")
NEGATIVES = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False}
DYNAMIC = {"sample_num": 1, "dynamic": True, "candidate_num": 4}
CASES = {
    "pairwise": ("BPR", {}),
    "three negatives": ("BPR", {"train_neg_sample_args": {**NEGATIVES, "sample_num": 3}}),
    "popular negatives": ("BPR", {"train_neg_sample_args": {**NEGATIVES, "distribution": "popularity", "alpha": 0.5}}),
    "pointwise": ("NeuMF", {}),
    "several pointwise": ("NeuMF", {"train_neg_sample_args": {**NEGATIVES, "sample_num": 2}}),
    "users": ("CDAE", {}),
    "no shuffle": ("BPR", {"shuffle": False}),
    "repeatable": ("BPR", {"repeatable": True}),
    "dynamic negatives": ("BPR", {"train_neg_sample_args": DYNAMIC}),
    "several dynamic negatives": ("BPR", {"train_neg_sample_args": {**DYNAMIC, "sample_num": 2}}),
    "pointwise dynamic negatives": ("NeuMF", {"train_neg_sample_args": DYNAMIC}),
    "one batch": ("BPR", {"train_batch_size": 10**6}),
}


@pytest.mark.parametrize("case", CASES)
def test_batches_are_recboles_bitwise(case, quick):
    name, settings = CASES[case]
    config = make_config({**alone(quick), **settings}, model=name)
    split = load_split(config)
    role = config.role("model")
    ours, theirs = train_loader(role, split), hosts(role, split)
    assert isinstance(ours, UserDataLoader if name == "CDAE" else TrainDataLoader)
    assert len(ours) == len(theirs)
    model = build_role("model", role, split.train).model
    for loader in (ours, theirs):  # as `fit` of RecBole's Trainer does it
        if role["train_neg_sample_args"]["dynamic"]:
            loader.get_model(model)
    for mine, reference in zip(epochs_of(ours), epochs_of(theirs), strict=True):
        assert len(mine) == len(reference) == len(ours)
        for batch, expected in zip(mine, reference, strict=True):
            assert batch.keys() == expected.keys()
            for field, values in expected.items():
                assert batch[field].dtype == values.dtype
                assert torch.equal(batch[field], values)


def test_features_of_items_come_with_the_batch(tmp_path, quick):
    write_inter(tmp_path, "rich", block_pairs())
    lines = ["item_id:token\tprice:float", *(f"i{item}\t{item / 2}" for item in range(48))]
    (tmp_path / "rich" / "rich.item").write_text("\n".join(lines))
    config = make_config(
        {**alone(quick), "dataset": "rich", "data_path": str(tmp_path)},
        model="BPR",
        load_col={"inter": ["user_id", "item_id"], "item": ["item_id", "price"]},
    )
    split = load_split(config)
    role = config.role("model")
    (mine,), (reference,) = epochs_of(train_loader(role, split), 1), epochs_of(hosts(role, split), 1)
    assert {"price", "neg_price"} <= mine[0].keys()
    assert all(torch.equal(a[k], b[k]) for a, b in zip(mine, reference, strict=True) for k in b)


@pytest.mark.parametrize("name", ["BPR", "CDAE"])
def test_loading_by_another_process_is_left_to_recbole(name, quick):
    config = make_config(alone(quick), model=name, worker=1)
    split = load_split(config)
    role = config.role("model")
    loaders = train_loader(role, split), hosts(role, split)
    assert [loader.num_workers for loader in loaders] == [1, 1]
    (mine,), (reference,) = (epochs_of(loader, 1) for loader in loaders)
    assert len(mine) == len(reference) == len(loaders[0])
    assert all(torch.equal(a[k], b[k]) for a, b in zip(mine, reference, strict=True) for k in b)
    assert mine[0].keys() == reference[0].keys()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_users_are_ranked_in_batches_that_fit_the_cache_of_a_cpu(device, quick):
    config = make_config(alone(quick), model="BPR", eval_batch_size=500)
    split = load_split(config)
    config["device"] = torch.device(device)
    sampler = split.valid_loader._sampler
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    loader = make_evaluation_loader(config, "valid", parts, sampler)
    assert loader.step == (2**19 // split.n_items if device == "cpu" else 500 // split.n_items)
    batches = list(loader)
    assert len(batches) == -(-60 // loader.step)
    assert torch.cat([users["user_id"] for users, *_ in batches]).tolist() == list(range(1, 61))


@pytest.mark.parametrize("at_once", [1, 40, 2**14])
@pytest.mark.parametrize("mode", ["uni7", "pop7"])
def test_sampled_evaluation_is_recboles_with_the_same_candidates(mode, at_once, tmp_path, quick, monkeypatch):
    """RecBole's loader, whose sampler gives the drawn candidates; users have several items, of which some repeat."""
    monkeypatch.setattr("recbole_bd.data.evaluation_loader._PAIRS_CACHED", at_once)
    write_inter(tmp_path, "twice", block_pairs() + block_pairs(per_user=4, seed=2))
    settings = {**alone(quick), "dataset": "twice", "data_path": str(tmp_path), "eval_batch_size": 100}
    config = make_config(settings, model="BPR", eval_args={"split": {"RS": [0.5, 0.2, 0.3]}, "mode": mode})
    ours = load_split(config).test_loader
    assert isinstance(ours, ArraySampledLoader)
    theirs = NegSampleEvalDataLoader(config, ours._dataset, ours._sampler)
    starts = {user: rows.start for user, rows in enumerate(theirs.uid2index) if rows is not None}
    monkeypatch.setattr(
        ours._sampler,
        "sample_by_user_ids",
        lambda users, items, num: ours._drawn[starts[users[0]] :][: len(users)].T.flatten().long(),
    )
    seen = [set(), set()]
    for number, loader in enumerate((theirs, ours)):
        before = 0
        for interaction, rows, positive_rows, positive_items in loader:
            users = interaction["user_id"].tolist()
            triples = zip(
                users, rows.tolist(), interaction["item_id"].tolist(), interaction["label"].tolist(), strict=True
            )
            seen[number] |= {(user, before + row, item, label) for user, row, item, label in triples}
            positives = zip(positive_rows.tolist(), positive_items.tolist(), strict=True)
            seen[number] |= {(before + row, item) for row, item in positives}
            before += int(positive_rows[-1]) + 1
        assert before == len(theirs.uid_list)
    assert seen[0] == seen[1]
    assert len(ours) == len(list(ours))
    assert (len(ours) == before) == (at_once == 1)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_of_sampled_evaluation_hold_as_many_pairs_as_are_scored_at_once(device, quick):
    config = make_config(alone(quick), model="BPR", eval_batch_size=100, eval_args={"mode": "uni9"})
    split = load_split(config)
    config["device"] = torch.device(device)
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    loader = make_evaluation_loader(config, "test", parts, split.test_loader._sampler)
    assert loader.pairs_at_once == (2**14 if device == "cpu" else 100)
    # Tables of 49 scores for each user: two users fill a batch, and sometimes a third one begins in it.
    assert len(loader) in ((1,) if device == "cpu" else (28, 29, 30))
    assert torch.equal(loader.candidates.items, split.test_loader.candidates.items)


def test_evaluation_by_another_process_has_the_same_batches(quick):
    found, expected = (
        list(load_split(make_config(alone(quick), model="BPR", worker=count)).valid_loader) for count in (1, 0)
    )
    assert len(found) == len(expected) == 1
    (users, history, *positives), (expected_users, expected_history, *expected_positives) = found[0], expected[0]
    assert torch.equal(users["user_id"], expected_users["user_id"])
    for ids, expected_ids in zip([*history, *positives], [*expected_history, *expected_positives], strict=True):
        assert torch.equal(ids, expected_ids)


def test_a_loader_without_negatives_has_no_sampler(quick):
    config = make_config(alone(quick), model="Pop")
    split = load_split(config)
    role = config.role("model")
    role["train_neg_sample_args"] = {"distribution": "none", "sample_num": "none", "dynamic": False}
    loader = train_loader(role, split)
    assert loader._sampler is None
    (batch,) = epochs_of(loader, 1)[0][:1]
    assert batch.keys() == {"user_id", "item_id"}


def test_users_have_negatives_for_a_sampled_loss(quick):
    """`sample_num` for each training item, none of them one; held-out items are spared only by the leak."""
    held_out = []
    for leaks in (False, True):
        more = {"loss_items": "sampled", "train_neg_sample_args": {"sample_num": 3}, "negatives_leak_held_out": leaks}
        config = make_config(alone(quick), model="CDAE", train_batch_size=20, **more)
        split = load_split(config)
        known = {name: {*zip(*(ids.tolist() for ids in split.pairs(name)), strict=True)} for name in PARTS}
        counts = torch.bincount(split.pairs("train")[0], minlength=split.n_users)
        loader = train_loader(config.role("model"), split)
        drawn = set()
        for batch in [*loader, *loader]:
            users, negatives = batch["user_id"], batch["neg_item_id"]
            assert torch.equal((negatives > 0).sum(dim=1), 3 * counts[users])
            rows, columns = (negatives > 0).nonzero(as_tuple=True)
            drawn |= {*zip(users[rows].tolist(), negatives[rows, columns].tolist(), strict=True)}
        assert not drawn & known["train"]
        held_out.append(len(drawn & (known["valid"] | known["test"])))
    assert held_out[0] > 0
    assert held_out[1] == 0
