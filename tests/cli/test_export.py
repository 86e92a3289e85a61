"""`recbole-bd export` as a user meets it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.cli.main import main
from recbole_bd.runs import trained_model
from recbole_bd.runs.trained_model import load_trained, model_files
from recbole_bd.serving.recommender import Recommender
from tests.helpers.serving import hit_rate, lists_of, read_rows, run_onnx


@pytest.mark.slow
def test_files_and_a_card_from_a_run_folder(trained_run, tmp_path, cli):
    pytest.importorskip("onnxscript")
    pytest.importorskip("faiss")
    formats = "--format=npz,safetensors,onnx,recbole"
    code, shown, _ = cli("export", trained_run, formats, "--index=hnsw", f"--out={tmp_path}")
    assert code == 0
    assert "finds 100.0% of the exact 10 best items" in shown
    card = (tmp_path / "MODEL_CARD.md").read_text()
    for name in ("student.npz", "student.safetensors", "student.onnx", "student-recbole.pth", "student.hnsw.faiss"):
        assert str(tmp_path / name) in shown
        assert f"`{name}`" in card
    result = json.loads((Path(trained_run) / "result.json").read_text())
    for arm in ("separate", "continued", "distilled"):
        assert f"{result['student'][arm]['test']['ndcg@5']:.4f}" in card
    assert f"{result['student']['parameters']:,} parameters" in card
    assert "\n\n## How to load\n" in card


def test_neither_role_writes_over_the_others_card(trained_run):
    for role in ("teacher", "student"):
        assert main(["export", trained_run, "--format=npz", f"--role={role}"]) == 0
    for role, path in model_files(trained_run).items():
        assert f"the {role} of BD" in (path.parent / "export" / role / "MODEL_CARD.md").read_text()


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
    record = json.loads((Path(folder) / "result.json").read_text())["student"]["distilled"]["test"]["hit@10"]
    assert main(["recommend", folder, f"--out={tmp_path / 't.csv'}", "--exclude=train"]) == 0
    rates = [hit_rate(lists_of(tmp_path / name, trained.split), trained.split, 10) for name in ("r.csv", "t.csv")]
    assert round(rates[0], 6) == record
    assert abs(rates[1] - rates[0]) > 0.005
    dataset = trained.split.dataset
    user_ids, item_ids = (dataset.field2id_token[field] for field in ("user_id", "item_id"))
    users, everything = torch.arange(1, trained.split.n_users), range(1, trained.split.n_items)
    known = Recommender(trained.role, trained.split, 10).excluded_items(users)
    model = np.load(tmp_path / "student.npz")
    scores = model["user_embedding"] @ model["item_embedding"].T  # in the order of the ids
    starts, excluded = model["excluded_starts"], model["excluded_items"]
    for row, items in enumerate(known):
        assert (excluded[starts[row] : starts[row + 1]] + 1).tolist() == items.tolist()
        scores[row, items.numpy() - 1] = -np.inf
    by_npz = (-scores).argsort(axis=1, kind="stable")[:, :10]
    graph = np.load(tmp_path / "student.onnx.excluded.npz", allow_pickle=False)
    assert (graph["starts"][1:] == starts).all()
    assert (graph["items"] == excluded + 1).all()
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


def test_what_is_exported_is_on_the_cpu_with_all_that_its_model_keeps(trained_run, monkeypatch, tmp_path):
    """A model's graphs and histories are no parameters, and stay behind when it is moved."""
    devices = []

    def loaded(path, device, data_path, allow_code):
        devices.append(device)
        return load_trained(path)

    monkeypatch.setattr(trained_model, "load_trained", loaded)
    assert main(["export", trained_run, "--format=npz", f"--out={tmp_path}"]) == 0
    assert devices == ["cpu"]


def test_a_model_without_its_run_is_described_by_its_own_file(trained_run, cli, tmp_path):
    """A model file that was copied to another place: nothing of its run lies beside it."""
    shutil.copy(Path(trained_run) / "student.pth", tmp_path / "student.pth")
    assert cli("export", str(tmp_path / "student.pth"), "--format=npz", f"--out={tmp_path / 'out'}")[0] == 0
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    result = json.loads((Path(trained_run) / "result.json").read_text())
    valid = result["student"]["distilled"]["valid"]
    assert "| part | hit@5 | ndcg@5 |\n|---|---:|---:|\n" in card
    assert f"| validation | {valid['hit@5']:.4f} | {valid['ndcg@5']:.4f} |" in card
    assert "| run |" not in card
    assert "| command |" not in card


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN"], "export: --format=NAME is missing"),
        (["RUN", "--format= , "], "export: --format=NAME is missing"),
        (["RUN", "--format", "npz", "onnx"], "onnx; several values have commas between them: --format=A,B. See"),
        (["RUN", "RUN", "--format=npz"], "unrecognized arguments: "),
        (
            ["RUN", "--format=onnx", "--out=student.onnx"],
            "--out=student.onnx: name the folder of the files, such as student",
        ),
        (["RUN", "--format=npz, x,"], "export: --format=x: the formats are npz, safetensors, onnx, recbole"),
    ],
)
def test_wrong_words_are_one_line(words, message, trained_run, cli, tmp_path):
    code, out, err = cli("export", *(trained_run if word == "RUN" else word for word in words))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
