"""Roles are built with the faster layers and graphs, or refused in one line."""

import pytest
import torch
from torch import nn

from recbole_bd.backbones import build_role as module
from recbole_bd.backbones.acceleration.embedding_gradients import GatheredEmbedding
from recbole_bd.backbones.acceleration.sparse_graphs import CompressedGraph
from recbole_bd.backbones.acceleration.sparse_histories import HistoryDropout, HistoryLinear
from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.extra_state import changed_attributes
from recbole_bd.backbones.stored import stored_bytes
from recbole_bd.errors import CheckpointError, RoleError
from recbole_bd.runs.prepare import prepare
from tests.helpers.histories import CHAINS, write_chains
from tests.helpers.settings import make_config


@pytest.mark.parametrize(("learner", "kind"), [("adam", GatheredEmbedding), ("sparse_adam", nn.Embedding)])
def test_embeddings_gather_their_gradients_but_for_an_optimizer_of_sparse_ones(learner, kind, data):
    config, loader = data("BPR", learner=learner)
    role = build_role("student", config, loader.dataset)
    assert (role.name, role.config) == ("student", config)
    assert type(role.model.user_embedding) is type(role.model.item_embedding) is kind


def test_graphs_and_histories_are_read_sparsely(data):
    config, loader = data("LightGCN")
    assert isinstance(build_role("teacher", config, loader.dataset).model.norm_adj_matrix, CompressedGraph)
    config, loader = data("CDAE")
    layers = [type(layer) for layer in build_role("teacher", config, loader.dataset).model.modules()]
    assert layers.count(HistoryLinear) == layers.count(HistoryDropout) == 1


def test_what_training_changes_is_told_from_what_was_built(data):
    config, loader = data("MultiVAE")
    model = build_role("student", config, loader.dataset).model
    assert changed_attributes(model) == {}
    model.update = 5
    assert changed_attributes(model) == {"update": 5}


@pytest.mark.parametrize("kind", [ValueError, TypeError, NotImplementedError, AssertionError, RuntimeError])
def test_a_model_that_refuses_its_settings_is_one_line(kind, data, monkeypatch):
    def refuse(config, dataset):
        raise kind("no  such\nsize")

    monkeypatch.setattr(module, "recommender_class", lambda name: refuse)
    config, loader = data("BPR")
    with pytest.raises(RoleError) as error:
        build_role("student", config, loader.dataset)
    assert str(error.value) == "student: BPR cannot be built with these settings: no such size"


def test_a_size_that_cannot_be_is_refused_by_the_model_itself(data):
    config, loader = data("BPR", embedding_size=-1)
    with pytest.raises(RoleError, match=r"^teacher: BPR cannot be built with these settings: .*negative dimension -1"):
        build_role("teacher", config, loader.dataset)


def test_a_package_that_is_missing_is_named(data, monkeypatch):
    def need(config, dataset):
        raise ImportError("No module named 'faiss'", name="faiss")

    monkeypatch.setattr(module, "recommender_class", lambda name: need)
    config, loader = data("BPR")
    with pytest.raises(RoleError) as error:
        build_role("model", config, loader.dataset)
    assert str(error.value) == "model: BPR needs the package faiss. Run: pip install faiss"


def test_a_pretrained_file_that_is_missing_is_an_error_of_the_file(data, tmp_path):
    path = tmp_path / "none.pth"
    config, loader = data("NeuMF", use_pretrain=True, mf_pretrain_path=str(path), mlp_pretrain_path=str(path))
    with pytest.raises(CheckpointError) as error:
        build_role("teacher", config, loader.dataset)
    assert str(error.value) == f"file {path} does not exist"
    assert torch.load.__module__ == "torch.serialization"


def test_clusters_are_not_more_than_users_or_items(data):
    config, loader = data("NCL")
    points = min(loader.dataset.user_num, loader.dataset.item_num)
    config["num_clusters"] = points
    build_role("model", config, loader.dataset)
    config["num_clusters"] = points + 1
    with pytest.raises(RoleError, match=rf"^model: NCL: num_clusters={points + 1}: must be at most {points},"):
        build_role("model", config, loader.dataset)


def test_a_model_without_training_has_the_numbers_it_stores(data):
    for name in ("Pop", "Random"):
        config, loader = data(name)
        role = build_role("model", config, loader.dataset)
        assert role.parameter_count == (role.n_items if name == "Pop" else 0)
        assert stored_bytes(role.model) == (8 * role.n_items if name == "Pop" else 0)


def test_sparse_weights_are_counted_by_their_entries(data):
    config, loader = data("EASE")
    role = build_role("model", config, loader.dataset)
    rows, items = role.model.interaction_matrix, role.model.item_similarity
    assert role.parameter_count == rows.nnz + items.size
    assert stored_bytes(role.model) == 8 * rows.nnz + 4 * (rows.shape[0] + 1) + items.nbytes


INTER = {"inter": ["user_id", "item_id", "timestamp"]}
ALL = {"load_col": {**INTER, "item": ["item_id", "class", "price"]}}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "the column class of chains.item is not loaded; write item: [item_id, class]"),
        (
            {"load_col": {**INTER, "item": ["item_id", "price"]}},
            "the column class of chains.item is not loaded; choose among price, or write item: [item_id, price, class]",
        ),
        ({**ALL, "selected_features": []}, "selected_features=[]: must name columns of chains.item"),
        ({**ALL, "selected_features": ["price"]}, "price is a column of numbers; name it in numerical_features"),
    ],
)
def test_features_of_items_that_a_model_lacks_are_named_in_one_line(settings, words, tmp_path):
    sizes = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1}
    folder = str(write_chains(tmp_path))
    with pytest.raises(RoleError) as error:
        prepare(make_config({**CHAINS, "model": "SASRecF", "data_path": folder, **sizes, **settings}))
    assert str(error.value).startswith("model: SASRecF: selected_features=")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_of_items_is_named(tmp_path):
    folder = write_chains(tmp_path)
    (folder / "chains" / "chains.item").unlink()
    for loaded in (ALL, {}):
        with pytest.raises(RoleError, match=r"data file .*chains\.item does not exist; .* such as SASRec or GRU4Rec"):
            prepare(make_config({**CHAINS, "model": "FDSA", "data_path": str(folder), **loaded}))


@pytest.mark.parametrize(
    ("name", "settings", "words", "fitting"),
    [
        (
            "BERT4Rec",
            {"MAX_ITEM_LIST_LENGTH": 3, "mask_ratio": 0.3},
            "mask_ratio=0.3: .* use mask_ratio=0.334 or more",
            {"MAX_ITEM_LIST_LENGTH": 3, "mask_ratio": 0.334},
        ),
        (
            "SASRecCPR",
            {"reranker_CAN_NUM": "31"},
            "reranker_CAN_NUM=31: must be at most 30, the number of items",
            {"reranker_CAN_NUM": "30"},
        ),
        ("GRU4Rec", {"loss_type": "XX"}, "loss_type='XX': must be one of BPR, CE$", {"loss_type": "BPR"}),
        ("CORE", {"loss_type": "BPR"}, "loss_type='BPR': must be one of CE$", {"loss_type": "CE"}),
        ("GRU4RecCPR", {}, "reranker_CAN_NUM=100: must be at most 30", {"reranker_CAN_NUM": "30"}),
    ],
)
def test_sizes_that_only_a_batch_would_refuse_are_refused_early(name, settings, words, fitting, tmp_path):
    given = {**CHAINS, "data_path": str(write_chains(tmp_path)), "model": name}
    with pytest.raises(RoleError, match=f"^model: {name}: {words}"):
        prepare(make_config({**given, **settings}))
    prepare(make_config({**given, **fitting}))
