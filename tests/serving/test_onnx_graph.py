import json

import numpy as np
import pytest
import torch

from recbole_bd.serving.export import FORMATS
from recbole_bd.serving.onnx_graph import TopItemsGraph
from recbole_bd.serving.recommender import Recommender
from tests.helpers.serving import COUNT, run_onnx


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF", "CDAE", "MultiVAE", "SimpleX", "DMF"])
def test_an_onnx_graph_recommends_what_torch_recommends(name, student, others, tmp_path):
    pytest.importorskip("onnxscript")
    trained = student if name == "BPR" else others[name]
    path, ids = FORMATS["onnx"](trained, tmp_path, COUNT)
    recommender = Recommender(trained.role, trained.split, COUNT)
    for users in (torch.tensor([3]), torch.randint(1, 61, (17,)), torch.arange(1, 61)):  # any number, repeated too
        known = recommender.excluded_items(users)
        excluded = torch.nn.utils.rnn.pad_sequence(known, batch_first=True)
        items, scores = run_onnx(path, users, excluded)
        top = recommender.top(users)
        assert np.abs(scores - top.scores.numpy()).max() < 1e-5
        apart = np.abs(np.diff(top.scores.numpy(), axis=1)).min(axis=1) > 1e-5
        assert (items[apart] == top.items.numpy()[apart]).all()
    numbers = json.loads(ids.read_text())
    dataset = trained.split.dataset
    assert [numbers["users"][user] for user in dataset.field2id_token["user_id"][1:]] == list(range(1, 61))
    assert numbers["items"][1:] == dataset.field2id_token["item_id"][1:].tolist()


def test_a_graph_never_recommends_padding_or_what_is_excluded(student):
    graph = TopItemsGraph(student.role, student.split.n_items)
    items, scores = graph(torch.tensor([1, 2]), torch.tensor([[4, 9], [7, 0]]))
    assert torch.isneginf(scores).sum(dim=1).tolist() == [3, 2]
    assert {4, 9, 0} == set(items[0, -3:].tolist())
    assert {7, 0} == set(items[1, -2:].tolist())
