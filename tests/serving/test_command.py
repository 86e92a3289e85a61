import json

import numpy as np
import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.cli import chosen_model
from recbole_bd.cli.main import main
from recbole_bd.errors import RunFolderError
from recbole_bd.runs import trained_model as trained_module
from recbole_bd.runs.trained_model import load_trained, model_files
from recbole_bd.serving.recommender import Recommender
from tests.helpers.serving import read_rows, run_onnx


@pytest.mark.slow
def test_the_commands_from_a_run_folder(run, tmp_path, capsys):
    out = tmp_path / "r.csv"
    assert main(["recommend", run, f"--out={out}", "-k", "3"]) == 0
    assert f"60 users, 3 items each by the student: {out}" in capsys.readouterr().out
    assert len(read_rows(out)) == 180
    (tmp_path / "users").write_text("u1\nnobody\n")
    assert main(["recommend", run, f"--out={out}", "--users", str(tmp_path / "users"), "--role=teacher"]) == 0
    assert "1 users are not in the data and were skipped: nobody" in capsys.readouterr().out
    pytest.importorskip("onnxscript")
    pytest.importorskip("faiss")
    assert main(["export", run, "--format=npz,safetensors,onnx,recbole", "--index=hnsw", f"--out={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "finds 100.0% of the exact 10 best items" in shown
    card = (tmp_path / "MODEL_CARD.md").read_text()
    for name in ("student.npz", "student.safetensors", "student.onnx", "student-recbole.pth", "student.hnsw.faiss"):
        assert str(tmp_path / name) in shown
        assert f"`{name}`" in card
    result = json.loads((model_files(run)["student"].parent / "result.json").read_text())
    for arm in ("separate", "continued", "distilled"):
        assert f"{result['student'][arm]['test']['ndcg@5']:.4f}" in card
    assert f"{result['student']['parameters']:,} parameters" in card
    assert "\n\n## How to load\n" in card
    for role in ("teacher", "student"):  # neither writes over the other's card
        assert main(["export", run, "--format=npz", f"--role={role}"]) == 0
    for role, path in model_files(run).items():
        assert f"the {role} of BD" in (path.parent / "export" / role / "MODEL_CARD.md").read_text()
    assert main(["serve-bench", run, "--requests=5", "--batch=1,8"]) == 0
    shown = capsys.readouterr().out
    assert "The student has 25.0% of the teacher's bytes" in shown


@pytest.mark.slow
def test_on_movielens_all_outputs_agree(tmp_path, capsys):
    """recommend, ONNX, npz, safetensors and the checkpoint of RecBole's form, for every user."""
    pytest.importorskip("onnxscript")
    settings = {"dataset": "ml-100k", "epochs": 4, "distill_epochs": 2, "control": False, "show_progress": False}
    settings |= {"device": "cpu", "checkpoint_dir": str(tmp_path / "saved")}
    folder = run_bd(config_dict=settings)["run_folder"]
    assert main(["recommend", folder, f"--out={tmp_path / 'r.csv'}"]) == 0
    assert main(["export", folder, "--format=npz,onnx,recbole", f"--out={tmp_path}"]) == 0
    rows = read_rows(tmp_path / "r.csv")
    trained = load_trained(model_files(folder)["student"])
    dataset = trained.split.dataset
    user_ids, item_ids = (dataset.field2id_token[field] for field in ("user_id", "item_id"))
    users, everything = torch.arange(1, trained.split.n_users), range(1, trained.split.n_items)
    known = Recommender(trained.role, trained.split, 10).excluded_items(users)
    model = np.load(tmp_path / "student.npz")
    scores = model["user_embedding"] @ model["item_embedding"].T  # in the order of the ids
    for row, items in enumerate(known):
        scores[row, items.numpy() - 1] = -np.inf
    by_npz = (-scores).argsort(axis=1, kind="stable")[:, :10]
    excluded = torch.nn.utils.rnn.pad_sequence(known, batch_first=True)
    items, logits = run_onnx(tmp_path / "student.onnx", users, excluded)
    assert len(rows) == 10 * len(users)
    assert len(everything) == len(model["item_ids"])
    for number in range(len(users)):
        mine = rows[10 * number : 10 * number + 10]
        assert {row[0] for row in mine} == {user_ids[number + 1], model["user_ids"][number]}
        found = np.array([row[3] for row in mine])
        assert np.abs(found - logits[number]).max() < 1e-5
        assert np.abs(found - scores[number, by_npz[number]]).max() < 1e-5
        if np.abs(np.diff(found)).min() > 1e-5:  # no ties
            expected = [row[1] for row in mine]
            assert [item_ids[item] for item in items[number]] == expected
            assert model["item_ids"][by_npz[number]].tolist() == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recommend", "--out=r.csv"], "recommend needs a run folder"),
        (["recommend", "RUN"], "recommend: --out=FILE is missing"),
        (
            ["recommend", "RUN", "--out=r.txt"],
            "r.txt: the file extension names the format and must be one of .csv, .jsonl, .parquet",
        ),
        (["recommend", "RUN", "--out=r.csv", "-k", "0"], "recommend: argument -k/--k: '0' is not a whole number"),
        (["recommend", "RUN", "--out=r.csv", "--unknown=x"], "recommend: argument --unknown: invalid choice"),
        (["recommend", "RUN", "--out=r.csv", "--role=model"], "has no model, only teacher, student"),
        (["recommend", "gone", "--out=r.csv"], "gone is neither a run folder nor a model file: no such"),
        (["export", "RUN"], "export: --format=NAME is missing"),
        (["export", "RUN", "--format=npz,x"], "export: --format=x: the formats are npz, safetensors, onnx, recbole"),
        (["serve-bench", "RUN", "--batch=1,x"], "serve-bench: --batch=1,x: 'x' is not a whole number"),
        (["serve-bench"], "serve-bench needs a run folder"),
    ],
)
def test_wrong_words_are_one_line(words, message, run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([run if word == "RUN" else word for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_models_of_a_run_that_has_not_finished_are_not_served(run, tmp_path):
    record = json.loads((model_files(run)["student"].parent / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**record, "status": "interrupted"}))
    with pytest.raises(RunFolderError, match="has not finished; resume it with recbole-bd run --resume="):
        model_files(tmp_path)
    with pytest.raises(RunFolderError, match="neither a run folder nor"):
        model_files(tmp_path / "gone")


def test_a_model_that_was_trained_on_a_gpu_is_loaded_where_there_is_none(run, monkeypatch):
    path = model_files(run)["student"]
    snapshot, about = trained_module.load_model(path)
    elsewhere = {**about, "settings": {**about["settings"], "device": "cuda:3", "gpu_id": "3"}}
    monkeypatch.setattr(trained_module, "load_model", lambda _: (snapshot, elsewhere))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load_trained(path).role.device.type == "cpu"


def test_what_is_exported_is_on_the_cpu_with_all_that_its_model_keeps(run, monkeypatch, tmp_path):
    """A model's graphs and histories are no parameters, and stay behind when it is moved."""
    devices = []
    monkeypatch.setattr(chosen_model, "load_trained", lambda path, device: devices.append(device) or load_trained(path))
    assert main(["export", str(run), "--format=npz", f"--out={tmp_path}"]) == 0
    assert devices == ["cpu"]
