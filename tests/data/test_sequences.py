"""Sequences of a split, held against RecBole's own augmentation."""

import re

import numpy as np
import pytest
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset.sequential_dataset import SequentialDataset

from recbole_bd.config.config import BDConfig
from recbole_bd.data.batches import train_loader
from recbole_bd.data.sequences import PLACE, Sequences, training_rows
from recbole_bd.data.split import load_split
from recbole_bd.errors import BDError, DataError
from recbole_bd.model import METHODS
from recbole_bd.runs.prepare import prepare
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.histories import CHAINS, write_chains


@pytest.fixture(scope="module")
def chains(tmp_path_factory) -> dict:
    """Settings with a data path that holds `chains`."""
    return {**CHAINS, "data_path": str(write_chains(tmp_path_factory.mktemp("chains"))), "MAX_ITEM_LIST_LENGTH": 5}


def config_of(settings: dict, **more) -> BDConfig:
    return BDConfig(config_dict={"model": "SASRec", **settings, **more}, methods=METHODS)


def host_parts(config):
    """RecBole's own parts, with every history written out."""
    return SequentialDataset(config).build()


def test_training_rows_are_those_of_recbole_in_its_order(chains):
    config = config_of(chains)
    split = load_split(config)
    train = host_parts(config)[0].inter_feat
    rows = training_rows(split.train).inter_feat
    histories = split.train.sequences.of_rows(rows["user_id"], rows[PLACE])
    for name, own in {**rows.interaction, **histories.interaction}.items():
        if name != PLACE:
            assert torch.equal(own, train[name]), name
    assert (train["item_length"] == 5).any()  # histories longer than the limit are cut
    assert (train["item_length"] == 1).any()


@pytest.mark.parametrize(("part", "number"), [("valid", 1), ("test", 2)])
def test_users_are_ranked_after_the_history_that_recbole_gives_them(part, number, chains):
    config = config_of(chains)
    split = load_split(config)
    host = host_parts(config)[number].inter_feat
    batches = [batch[0] for batch in getattr(split, f"{part}_loader")]
    users = torch.cat([batch["user_id"] for batch in batches])
    order = torch.argsort(host["user_id"])
    assert torch.equal(users, host["user_id"][order])
    for name in ("item_id_list", "item_length"):
        assert torch.equal(torch.cat([batch[name] for batch in batches]), host[name][order])
    users, items = split.pairs(part)
    assert dict(zip(users.tolist(), items.tolist(), strict=True)) == dict(
        zip(host["user_id"].tolist(), host["item_id"].tolist(), strict=True)
    )


def test_batches_of_an_epoch_are_those_of_recbole(chains):
    config = config_of(chains, train_batch_size=32)
    split = load_split(config)
    host = TrainDataLoader(config, host_parts(config)[0], None, shuffle=True)
    own = train_loader(config, split)
    host.generator.manual_seed(3)
    own.generator.manual_seed(3)
    for mine, theirs in zip(own, host, strict=True):
        for name in ("user_id", "item_id", "item_id_list", "item_length"):
            assert torch.equal(mine[name], theirs[name])


def test_known_histories():
    items = torch.tensor([5, 6, 7, 8, 9, 4])
    starts, ends = torch.tensor([0, 0, 5, 6]), torch.tensor([0, 5, 6, 6])
    sequences = Sequences(items, starts, {"train": ends - torch.tensor([0, 2, 0, 0]), "all": ends}, 4, ("list", "n"))
    whole, trained = (sequences.of_users(torch.tensor([1, 2, 3]), point) for point in ("all", "train"))
    assert whole["list"].tolist() == [[6, 7, 8, 9], [4, 0, 0, 0], [0, 0, 0, 0]]
    assert whole["n"].tolist() == [4, 1, 1]  # an empty history is one padding item
    assert trained["list"].tolist() == [[5, 6, 7, 0], [4, 0, 0, 0], [0, 0, 0, 0]]
    assert sequences.of_rows(torch.tensor([1]), torch.tensor([1]))["list"].tolist() == [[5, 0, 0, 0]]


def test_general_models_share_the_split_and_see_no_histories(chains):
    in_time = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    settings = {**chains, "load_col": columns, "repeatable": True, "eval_args": in_time}
    general, sequential = (load_split(config_of({**settings, "model": model})) for model in ("BPR", "SASRec"))
    assert general.fingerprint == sequential.fingerprint
    assert general.train.sequences is None
    assert "item_id_list" not in next(iter(general.valid_loader))[0]


IN_TIME = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}
COLUMNS = {"inter": ["user_id", "item_id", "timestamp", "label"]}
LABELED = {"metrics": ["AUC"], "valid_metric": "AUC", "load_col": COLUMNS}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "mode": "full"}}, "SASRec is sequential"),
        ({"eval_args": {"split": {"LS": "valid_and_test"}, "order": "RO", "mode": "full"}}, "order=RO: SASRec is"),
        (
            {"eval_args": {"mode": "uni10"}},
            "eval_args: no order: SASRec is sequential and learns from what came before; use "
            "{split: {LS: valid_and_test}, group_by: user, order: TO, mode: uni10}",
        ),
        (
            {"eval_args": {**IN_TIME, "mode": {"valid": "uni5", "test": "labeled"}}, **LABELED},
            "eval_args: mode: labeled: SASRec is sequential and ranks next items, which have no labels; use uniN or",
        ),
        ({"eval_args": {"mode": "labeled"}, **LABELED}, "use uniN or popN, or full with metrics of ranked items"),
        ({"model": "BERT4Rec", "mask_ratio": 2}, "mask_ratio=2: must be in (0, 1]"),
        ({"model": "BERT4Rec", "ft_ratio": 1.5}, "ft_ratio=1.5: must be in [0, 1]"),
        ({"hidden_dropout_prob": 1}, "hidden_dropout_prob=1: must be in [0, 1)"),
        ({"model": "CORE", "temperature": 0}, "temperature=0: must be in (0, inf)"),
        ({"repeatable": False}, "repeatable=False: SASRec is sequential"),
        ({"MAX_ITEM_LIST_LENGTH": 1}, "MAX_ITEM_LIST_LENGTH=1: must be a whole number of at least 2"),
        ({"LIST_SUFFIX": ""}, "LIST_SUFFIX='': must name"),
        ({"load_col": {"inter": ["user_id", "item_id"]}, "TIME_FIELD": "when"}, "when"),
        ({"benchmark_filename": ["train", "valid", "test"]}, "leave it out"),
        ({"embedding_size": 16}, "The name of the size here is hidden_size. Of the methods and models, only"),
        ({"own_loss": "softmax"}, "own_loss=softmax: SASRec has a softmax of its own"),
        ({"model": "FEARec"}, "FEARec cannot take a role: its loss reads"),
        ({"model": "DIN"}, "DIN cannot take a role"),
        ({"model": "SASRecF", "selected_features": ["class"]}, "SASRecF"),
    ],
)
def test_bad_input_is_one_line(more, words, chains):
    def start() -> None:
        prepare(config_of(chains, **more))

    with pytest.raises(BDError) as caught:
        start()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("model", ["SASRec", "BPR"])
def test_sequences_too_short_for_three_parts_are_one_line(length, model, chains, tmp_path):
    rows = [(f"u{user}", f"i{(user + place) % 9}", place) for user in range(12) for place in range(length)]
    write_inter(tmp_path, "chains", rows, header="user_id:token\titem_id:token\ttimestamp:float")
    split = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    with pytest.raises(DataError) as caught:
        prepare(
            config_of(chains, data_path=str(tmp_path), model=model, repeatable=True, eval_args=split, load_col=columns)
        )
    message = "the validation part is empty; split {LS: valid_and_test} needs users with three interactions or more"
    assert message in str(caught.value)
    assert ("another split" in str(caught.value)) == (model == "BPR")


def test_data_without_times_are_refused(tmp_path):
    write_inter(tmp_path, "chains", block_pairs())
    words = (
        "has no column timestamp; it has user_id, item_id (name the column of times in TIME_FIELD; without one leave "
        "out sequential models and order: TO)"
    )
    with pytest.raises(BDError, match=re.escape(words)):
        load_split(config_of({**CHAINS, "data_path": str(tmp_path)}))


def test_users_with_one_or_two_interactions(tmp_path):
    rows = [("a", "x", 1), ("b", "x", 1), ("b", "y", 2), *(("c", name, time) for time, name in enumerate("xyzw"))]
    write_inter(tmp_path, "chains", rows, header="user_id:token\titem_id:token\ttimestamp:float")
    split = load_split(config_of({**CHAINS, "data_path": str(tmp_path), "topk": [2], "valid_metric": "NDCG@2"}))
    assert {part: len(getattr(split, part)) for part in ("train", "valid", "test")} == {
        "train": 4,
        "valid": 1,
        "test": 2,
    }
    names = split.dataset.field2id_token["item_id"]
    loaded = next(iter(split.test_loader))[0]
    histories = [[names[item] for item in row if item] for row in loaded["item_id_list"].tolist()]
    assert histories == [["x"], ["x", "y", "z"]]
    rows = training_rows(split.train).inter_feat
    assert names[rows["item_id"].numpy()].tolist() == ["y"]  # of c, whose first item has no history
    assert np.array_equal(rows["user_id"].numpy(), [3])


def test_without_a_user_of_two_training_interactions_no_sequential_model_learns(tmp_path):
    rows = [(f"u{user}", f"i{(user + place) % 9}", place) for user in range(12) for place in range(3)]
    write_inter(tmp_path, "chains", rows, header="user_id:token\titem_id:token\ttimestamp:float")
    split = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}}
    with pytest.raises(DataError, match="no user has two training interactions, so that a sequential model has no row"):
        load_split(config_of({**CHAINS, "data_path": str(tmp_path), **split}))
