import json
import logging
import sys
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from recbole_bd.errors import ExportError, InstallationError
from recbole_bd.runs.prepare import prepare
from recbole_bd.serving import onnx_graph
from recbole_bd.serving.export import FORMATS
from recbole_bd.serving.onnx_graph import TopItemsGraph, onnx_bytes
from recbole_bd.serving.recommender import Recommender
from tests.helpers.bounds import LONG
from tests.helpers.histories import CHAINS, items_in_time, write_chains
from tests.helpers.serving import COUNT, next_items_of, run_onnx
from tests.helpers.settings import make_config


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF", "CDAE", "MultiVAE", "SimpleX", "DMF"])
def test_an_onnx_graph_recommends_what_torch_recommends(name, student, others, tmp_path):
    pytest.importorskip("onnxscript")
    trained = student if name == "BPR" else others[name]
    path, ids, excluded_file = FORMATS["onnx"](trained, tmp_path, COUNT)
    recommender = Recommender(trained.role, trained.split, COUNT)
    none = torch.zeros(2, 0, dtype=torch.int64)
    items, scores = run_onnx(path, torch.tensor([3, 4]), none)
    unrestricted = Recommender(trained.role, trained.split, COUNT, "nothing").top(torch.tensor([3, 4]))
    assert np.abs(scores - unrestricted.scores.numpy()).max() < 1e-5
    for users in (torch.tensor([3]), torch.randint(1, 61, (17,)), torch.arange(1, 61)):  # any number, repeated too
        known = recommender.excluded_items(users)
        excluded = torch.nn.utils.rnn.pad_sequence(known, batch_first=True)
        items, scores = run_onnx(path, users, excluded)
        top = recommender.top(users)
        assert np.abs(scores - top.scores.numpy()).max() < 1e-5
        apart = np.abs(np.diff(top.scores.numpy(), axis=1)).min(axis=1) > 1e-5
        assert (items[apart] == top.items.numpy()[apart]).all()
    with np.load(excluded_file, allow_pickle=False) as arrays:
        lists = [arrays["items"][start:end].tolist() for start, end in pairwise(arrays["starts"])]
    assert lists == [[], *(items.tolist() for items in recommender.excluded_items(torch.arange(1, 61)))]
    numbers = json.loads(ids.read_text())
    dataset = trained.split.dataset
    assert [numbers["users"][user] for user in dataset.field2id_token["user_id"][1:]] == list(range(1, 61))
    assert numbers["items"][1:] == dataset.field2id_token["item_id"][1:].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SASRec", "GRU4Rec"] if LONG else ["SASRec"])
def test_an_onnx_graph_of_sequences_recommends_what_torch_recommends(name, in_time, tmp_path):
    pytest.importorskip("onnxscript")
    session_of = pytest.importorskip("onnxruntime").InferenceSession
    trained = in_time[name]
    path, ids, lists = FORMATS["onnx"](trained, tmp_path, COUNT)
    numbers, session = json.loads(ids.read_text()), session_of(path)
    assert [one.name for one in session.get_inputs()] == ["sequences", "lengths", "excluded"]
    with np.load(lists, allow_pickle=False) as arrays:
        starts, items = arrays["starts"], arrays["items"]
    expected = items_in_time()
    for count in (1, 7):  # sequences at a time
        users = list(expected)[:count]
        rows = [items[starts[row] : starts[row + 1]].tolist() for row in map(numbers["users"].get, users)]
        assert [[numbers["items"][item] for item in row] for row in rows] == [expected[user] for user in users]
        last = [row[-6:] for row in rows]
        given = {
            "sequences": np.array([row + [0] * (6 - len(row)) for row in last]),
            "lengths": np.array([len(row) for row in last]),
            "excluded": np.array([row[:1] for row in last]),
        }
        best, scores = session.run(None, given)
        for row, user in enumerate(users):
            own = next_items_of(trained, expected[user], COUNT, [numbers["items"][last[row][0]]])
            assert best[row].tolist() == [item for _, item in own]
            assert scores[row] == pytest.approx([score for score, _ in own], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["HRM", "SRGNN"] if LONG else ["HRM"])
def test_a_sequential_model_that_reads_numbers_in_python_is_refused_in_one_line(name, tmp_path, capfd):
    pytest.importorskip("onnxscript")
    settings = {**CHAINS, "data_path": str(write_chains(tmp_path)), "model": name, "embedding_size": 8}
    config = make_config(settings)
    role = prepare(config)[1]["model"]
    capfd.readouterr()
    with pytest.raises(ExportError, match=f"^{name} cannot be written as an ONNX graph .*; use --format=recbole$"):
        onnx_bytes(role, COUNT, [torch.tensor([1]), torch.tensor([2])])
    assert capfd.readouterr() == ("", ""), "the exporter shows none of its steps"


def test_a_graph_never_recommends_padding_or_what_is_excluded(student):
    graph = TopItemsGraph(student.role, student.split.n_items)
    items, scores = graph(torch.tensor([1, 2]), torch.tensor([[4, 9], [7, 0]]))
    assert torch.isneginf(scores).sum(dim=1).tolist() == [3, 2]
    assert {4, 9, 0} == set(items[0, -3:].tolist())
    assert {7, 0} == set(items[1, -2:].tolist())


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_a_package_that_is_missing_is_named(name, student, monkeypatch):
    for module in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, module, None if module == name else ModuleType(module))
    with pytest.raises(InstallationError) as error:
        onnx_bytes(student.role, COUNT, [torch.tensor([1])])
    assert str(error.value) == f'--format=onnx needs {name}: pip install "recbole-bd[export]"'


@pytest.fixture
def exporting(student, monkeypatch):
    """Let a function stand for torch's exporter, and another for the scores of ONNX Runtime."""

    def run(export, scores=None):
        session = SimpleNamespace(run=lambda names, given: [scores(given)])
        runtime = SimpleNamespace(InferenceSession=lambda content, providers: session)
        monkeypatch.setattr(onnx_graph, "_onnxruntime", lambda: runtime)
        monkeypatch.setattr(torch.onnx, "export", export)
        return onnx_bytes(student.role, COUNT, [torch.tensor([2, 3]), torch.tensor([4])])

    return run


@pytest.mark.parametrize(
    ("cause", "shown"), [(None, "the step failed"), (ValueError("no operator x\nof version 18"), "no operator x")]
)
def test_what_cannot_be_exported_is_named_by_its_cause(cause, shown, exporting):
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]

    def export(*_, **__):
        assert {logger.level for logger in loggers} == {logging.CRITICAL}, "the exporter is silent"
        raise RuntimeError("the step failed\nin line 3") from cause

    with pytest.raises(ExportError) as error:
        exporting(export)
    assert str(error.value) == (f"BPR cannot be written as an ONNX graph (RuntimeError: {shown}); use --format=recbole")
    assert [logger.level for logger in loggers] == levels


def test_a_graph_that_cannot_be_run_is_refused_in_one_line(exporting):
    """Pop reads no user, so that its graph has the number of users of the example."""

    def scores(given):
        raise ValueError("wrong dimensions\nfor users")

    with pytest.raises(ExportError) as error:
        exporting(lambda model, given, path, **_: path.write_bytes(b"a graph"), scores)
    assert str(error.value) == (
        "BPR cannot be written as an ONNX graph (ValueError: wrong dimensions); use --format=recbole"
    )


def test_a_model_that_recbole_lacks_is_not_sent_to_its_form(exporting, student, monkeypatch):
    monkeypatch.setitem(student.role.config.final_config_dict, "model", "MF")

    def export(*_, **__):
        raise RuntimeError("the step failed")

    with pytest.raises(ExportError, match=r"^MF cannot be written .*; use recbole-bd recommend$"):
        exporting(export)


@pytest.mark.parametrize("error", [0.0, 1e-3])
def test_a_graph_with_other_scores_is_refused(error, exporting, student):
    graph = onnx_graph.TopItemsGraph(student.role, COUNT)

    def scores(given):
        users, excluded = (torch.from_numpy(given[name]) for name in ("users", "excluded"))
        return graph(users, excluded)[1].numpy() + error

    def export(model, given, path, **_):
        path.write_bytes(b"a graph")

    if not error:
        assert exporting(export, scores) == b"a graph"
        return
    with pytest.raises(ExportError) as refused:
        exporting(export, scores)
    assert str(refused.value) == ("BPR gives different scores as an ONNX graph and in torch; use --format=recbole")
