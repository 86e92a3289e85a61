import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from recbole_bd.data.sequences import MEASURED
from recbole_bd.errors import ExportError, InstallationError
from recbole_bd.serving.export import FORMATS, export_index, vectors_of
from recbole_bd.serving.names import EXPORT_FORMATS
from tests.helpers.histories import items_in_time
from tests.helpers.serving import COUNT, STOCK_RECBOLE, next_items_of


def test_vectors_in_both_forms_give_the_logits(student, tmp_path):
    (npz,) = FORMATS["npz"](student, tmp_path, COUNT)
    model = np.load(npz, allow_pickle=False)
    with student.role.scoring():
        logits = student.role.all_logits(torch.arange(1, 61))[:, 1:].numpy()
    dataset = student.split.dataset
    assert model["user_ids"].tolist() == dataset.field2id_token["user_id"][1:].tolist()
    assert model["item_ids"].tolist() == dataset.field2id_token["item_id"][1:].tolist()
    assert np.allclose(model["user_embedding"] @ model["item_embedding"].T, logits, atol=1e-6)
    numpy_of = pytest.importorskip("safetensors.numpy")
    path, ids = FORMATS["safetensors"](student, tmp_path, COUNT)
    tensors, names = numpy_of.load_file(path), json.loads(ids.read_text())
    assert tensors.keys() == set(model.files) - {"user_ids", "item_ids"}
    assert all((tensors[name] == model[name]).all() for name in tensors)
    assert (names["users"], names["items"]) == (model["user_ids"].tolist(), model["item_ids"].tolist())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LightGCN", "SimpleX", "DMF"])
def test_what_makes_vectors_is_folded_in(name, others):
    vectors, role = vectors_of(others[name]), others[name].role
    with role.scoring():
        logits = role.all_logits(torch.arange(1, 61))[:, 1:].numpy()
    assert np.allclose(vectors.users @ vectors.items.T, logits, atol=1e-5)


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_models_without_vectors_say_what_to_do(form, others, tmp_path):
    pytest.importorskip("safetensors")
    with pytest.raises(ExportError, match="NeuMF is not an inner product of user and item vectors: use --format=onnx"):
        FORMATS[form](others["NeuMF"], tmp_path, COUNT)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("BERT4Rec", "--format=recbole"),
        ("EASE", "--format=recbole"),
        ("CDAE", "--format=onnx or --format=recbole"),
        ("Lists", "--format=onnx"),
    ],
)
def test_models_without_vectors_are_sent_to_formats_that_they_have(name, others, student, monkeypatch, tmp_path):
    monkeypatch.setattr(student.role, "embeddings", lambda: None)
    trained = replace(student, about={**student.about, "model": name})
    with pytest.raises(ExportError) as error:
        FORMATS["npz"](trained, tmp_path, COUNT)
    assert str(error.value) == f"{name} is not an inner product of user and item vectors: use {others}"


@pytest.mark.parametrize("name", ["MF", "Lists", "tests.helpers.own_classes:LouderBPR"])
def test_models_that_recbole_lacks_are_not_written_in_its_form(name, student, tmp_path):
    trained = replace(student, about={**student.about, "model": name})
    with pytest.raises(ExportError) as error:
        FORMATS["recbole"](trained, tmp_path, COUNT)
    assert str(error.value) == f"{name} is not a model of RecBole: use another format than recbole"
    assert list(tmp_path.iterdir()) == []


STOCK = (
    STOCK_RECBOLE
    + """
from recbole.quick_start import load_data_and_model
from recbole.data.interaction import Interaction
for path in sys.argv[1:]:
    config, model, dataset, train_data, valid_data, test_data = load_data_and_model(path)
    users = torch.arange(1, dataset.user_num)
    given = Interaction({dataset.uid_field: users})
    if "item_id_list" in test_data.dataset.inter_feat:
        rows = test_data.dataset.inter_feat
        given = rows[rows[dataset.uid_field].argsort()]
    model.eval()
    with torch.no_grad():
        scores = model.full_sort_predict(given).view(len(users), -1)
    numpy.save(f"{path}.npy", scores.numpy())
assert not any(name.startswith("recbole_bd") for name in sys.modules), "this package was needed"
"""
)


def stock_scores(models, folder) -> dict:
    """Scores of all users by RecBole alone, from the files of the models, by name."""
    paths = {}
    for name, trained in models.items():
        (folder / name).mkdir()
        (paths[name],) = FORMATS["recbole"](trained, folder / name, COUNT)
    done = subprocess.run(
        [sys.executable, "-c", STOCK, *map(str, paths.values())],
        capture_output=True, text=True, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: np.load(f"{path}.npy") for name, path in paths.items()}


@pytest.mark.slow
def test_stock_recbole_reads_its_form(student, others, tmp_path):
    models = {"BPR": student, "LightGCN": others["LightGCN"], "CDAE": others["CDAE"]}
    scores = stock_scores(models, tmp_path)
    for name, trained in models.items():
        found = scores[name]
        with trained.role.scoring():
            logits = trained.role.all_logits(torch.arange(1, 61))
        expected = torch.sigmoid(logits) if name == "CDAE" else logits
        assert np.allclose(found[:, 1:], expected[:, 1:].numpy(), atol=1e-5)


@pytest.mark.slow
def test_stock_recbole_reads_its_form_of_sequential_models(in_time, tmp_path):
    """It scores after the training and validation items, as its own test does."""
    scores = stock_scores(in_time, tmp_path)
    for name, trained in in_time.items():
        with trained.role.scoring(), trained.role.at(MEASURED):
            logits = trained.role.all_logits(torch.arange(1, 61))
        assert np.allclose(scores[name][:, 1:], logits[:, 1:].numpy(), atol=1e-5)


def test_the_vectors_of_a_sequential_model_are_those_of_whole_sequences(in_time):
    for trained in in_time.values():
        vectors = vectors_of(trained)
        for row, user in enumerate(vectors.user_ids[:5]):
            best = (vectors.users[row] @ vectors.items.T).argsort()[::-1][:COUNT]
            expected = next_items_of(trained, items_in_time()[user], COUNT)
            assert (best + 1).tolist() == [item for _, item in expected]


def test_an_index_finds_the_best_items(student, tmp_path):
    faiss = pytest.importorskip("faiss")
    path, recall = export_index(student, tmp_path, COUNT)
    index, vectors = faiss.read_index(str(path)), vectors_of(student)
    found = index.search(vectors.users, COUNT)[1]
    exact = (-(vectors.users @ vectors.items.T)).argsort(axis=1)[:, :COUNT]
    share = np.mean([len(set(one) & set(other)) / COUNT for one, other in zip(found, exact, strict=True)])
    assert recall == pytest.approx(share)
    assert recall > 0.95


@pytest.mark.parametrize(
    ("module", "write", "message"),
    [
        (
            "safetensors.numpy",
            FORMATS["safetensors"],
            '--format=safetensors needs safetensors: pip install "recbole-bd[export]"',
        ),
        ("faiss", export_index, '--index=hnsw needs faiss: pip install "recbole-bd[export]"'),
    ],
)
def test_a_package_that_is_missing_is_named(module, write, message, student, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InstallationError) as error:
        write(student, tmp_path, COUNT)
    assert str(error.value) == message
    assert list(tmp_path.iterdir()) == []


def test_the_command_knows_the_names_of_the_formats():
    assert tuple(FORMATS) == EXPORT_FORMATS
