import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_bd.backbones import checkpoint
from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.checkpoint import load_model, load_warmup, save_model
from recbole_bd.backbones.snapshot import Snapshot, restore_snapshot, take_snapshot
from recbole_bd.data.split import load_split
from recbole_bd.errors import CheckpointError
from recbole_bd.system.sealed_archive import load_archive
from tests.helpers.damage import recbole_checkpoint, refused_or_right, same_state, sealed
from tests.helpers.settings import alone, make_config

ABOUT = {"model": "BPR", "dataset": "blocks", "fingerprint": "f"}


def a_snapshot() -> Snapshot:
    return Snapshot({"weight": torch.arange(6.0).view(2, 3)}, epoch=4, valid={"ndcg@5": 0.25})


def test_a_model_comes_back_as_it_was_and_is_plain_data(tmp_path):
    path = tmp_path / "deep" / "model.pth"
    snapshot = a_snapshot()
    snapshot.other = {"matrix": sp.csr_matrix(np.eye(3)), "array": np.arange(4), "dense": np.asmatrix(np.ones((2, 2)))}
    save_model(path, snapshot, ABOUT)
    assert torch.load(path, weights_only=True)["epoch"] == 4
    found, about = load_model(path)
    assert about == ABOUT
    assert (found.epoch, found.valid) == (4, {"ndcg@5": 0.25})
    assert torch.equal(found.state["weight"], snapshot.state["weight"])
    assert (found.other["matrix"] != snapshot.other["matrix"]).nnz == 0
    assert isinstance(found.other["dense"], np.matrix)
    assert found.other["array"].tolist() == [0, 1, 2, 3]


def test_earlier_states_come_back_and_a_model_without_them_has_the_file_of_before(tmp_path):
    path, snapshot = tmp_path / "model.pth", a_snapshot()
    save_model(path, snapshot, ABOUT)
    assert "earlier" not in load_archive(path)
    assert load_model(path)[0].earlier == []
    snapshot.earlier = [vars(Snapshot({"weight": torch.full((2, 3), float(epoch))}, epoch=epoch)) for epoch in (1, 3)]
    save_model(path, snapshot, ABOUT)
    found = load_model(path)[0].earlier
    assert [(state["epoch"], float(state["state"]["weight"][1, 2])) for state in found] == [(1, 1.0), (3, 3.0)]
    snapshot.earlier = [{**found[0], "state": {"weight": "text"}}]
    save_model(path, snapshot, ABOUT)
    with pytest.raises(CheckpointError, match="contains 'weight' of type str, which is not a parameter"):
        load_model(path)


@pytest.mark.parametrize("backbone", ["BPR", "LightGCN", "EASE", "ItemKNN", "Pop", "CDAE"])
def test_scores_of_a_restored_model_are_the_same(backbone, quick, tmp_path):
    config = make_config(alone(quick), model=backbone)
    split = load_split(config)
    users = torch.arange(1, 20)
    first, second = (build_role("model", config.role("model"), split.train) for _ in range(2))
    with first.scoring():
        expected = first.all_logits(users)
    save_model(tmp_path / "m.pth", take_snapshot(first.model), ABOUT)
    restore_snapshot(second.model, load_model(tmp_path / "m.pth")[0])
    with second.scoring():
        assert torch.equal(second.all_logits(users), expected)


@pytest.fixture(scope="module")
def of_recbole(tmp_path_factory, block_data):
    """A Trainer of RecBole that has saved its checkpoint: a pickle of protocol 4 that holds its Config."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("recbole"))
        trainer = recbole_checkpoint(block_data)
        trainer.saved_model_file = Path(trainer.saved_model_file).absolute()
    return trainer


def test_recboles_own_checkpoint_is_read(of_recbole):
    snapshot, about = load_model(of_recbole.saved_model_file)
    assert (about["model"], about["dataset"]) == ("BPR", "blocks")
    recorded = about["recbole"]
    assert recorded["best_valid_score"] == of_recbole.best_valid_score > 0
    config = of_recbole.config
    for key in ("seed", "eval_args", "load_col", "topk", "benchmark_filename", "user_inter_num_interval"):
        assert recorded["settings"][key] == config[key]
    assert "device" not in recorded["settings"]
    state = of_recbole.model.state_dict()
    assert snapshot.state.keys() == state.keys()
    assert all(torch.equal(snapshot.state[name], state[name]) for name in state)


def first_version(path: Path) -> Path:
    """A file as version 1 of the format had it: no checksum, and arrays written by hand."""
    csr = {"kind": "csr", "shape": [2, 2], "data": torch.ones(1), "indices": torch.tensor([1]),
           "indptr": torch.tensor([0, 1, 1])}  # fmt: skip
    other = {"csr": csr, "array": {"kind": "array", "data": torch.arange(3)}}
    content = {
        "format": checkpoint.FORMAT, "version": 1, "about": json.dumps(ABOUT), "other_parameter": other,
        "state_dict": a_snapshot().state, "epoch": 4, "valid": {"ndcg@5": 0.25},
    }  # fmt: skip
    torch.save(content, path)
    return path


def test_files_of_the_first_version_are_read(tmp_path):
    snapshot, about = load_model(first_version(tmp_path / "old.pth"))
    assert about == ABOUT
    assert (snapshot.epoch, snapshot.valid) == (4, {"ndcg@5": 0.25})
    assert torch.equal(snapshot.state["weight"], a_snapshot().state["weight"])
    assert snapshot.other["csr"].toarray().tolist() == [[0, 1], [0, 0]]
    assert snapshot.other["array"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["ours", "warm-up", "first version", "RecBole's"])
def test_damaged_checkpoints_are_refused_or_right(kind, tmp_path, of_recbole, request):
    path, read = tmp_path / "model.pth", load_model
    if kind == "RecBole's":
        path.write_bytes(of_recbole.saved_model_file.read_bytes())
    elif kind == "first version":
        first_version(path)
    elif kind == "warm-up":
        rows = [{"stage": "separate", "role": "teacher", "epoch": 0, "ndcg@5": 0.5}]
        save_model(path, a_snapshot(), {**ABOUT, "validations": rows, "warnings": []})
        read = load_warmup
    else:
        save_model(path, take_snapshot(of_recbole.model), ABOUT)
    refused_or_right(request.config, "checkpoints", path, read, same_state)


def test_a_model_without_its_checksum_is_refused(tmp_path):
    save_model(tmp_path / "m.pth", a_snapshot(), ABOUT)
    whole = (tmp_path / "m.pth").read_bytes()
    (tmp_path / "m.pth").write_bytes(whole[: whole.rindex(b"recbole-bd archive") - 2] + b"\0\0")
    with pytest.raises(CheckpointError, match="damaged: its checksum is missing"):
        load_model(tmp_path / "m.pth")


def test_only_a_kept_warm_up_is_one(tmp_path, of_recbole):
    save_model(tmp_path / "m.pth", a_snapshot(), ABOUT)
    for path in (tmp_path / "m.pth", of_recbole.saved_model_file):
        with pytest.raises(CheckpointError, match=r"is not a cached warm-up.*Delete it"):
            load_warmup(path)


@pytest.mark.parametrize(
    "changes", [{"about": "[]"}, {"about": "{}"}, {"about": 3}, {"epoch": "x"}, {"valid": [1]},
                {"state_dict": {"w": 1}}, {"other_parameter": [1]}, {"about": json.dumps({**ABOUT, "settings": 1})}],
)  # fmt: skip
def test_forged_content_is_refused_in_one_line(changes, tmp_path):
    save_model(tmp_path / "m.pth", a_snapshot(), ABOUT)
    sealed(tmp_path / "m.pth", load_archive(tmp_path / "m.pth") | changes)
    with pytest.raises(CheckpointError) as error:
        load_model(tmp_path / "m.pth")
    assert len(str(error.value).splitlines()) == 1


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match="truncated or not a torch file"):
        load_model(tmp_path / "text.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"state_dict": {}}))
    with pytest.raises(CheckpointError, match="truncated or not a torch file"):
        load_model(tmp_path / "pickle.pth")
    torch.save({"something": 1}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no state_dict"):
        load_model(tmp_path / "other.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(CheckpointError, match=r"not written by torch\.save"):
        load_model(tmp_path / "zip.pth")


def test_a_newer_format_says_update(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    save_model(tmp_path / "m.pth", a_snapshot(), ABOUT)
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    with pytest.raises(CheckpointError, match="update recbole-bd"):
        load_model(tmp_path / "m.pth")


def test_a_value_that_the_first_version_wrote_as_it_is_stays_so(tmp_path):
    path = first_version(tmp_path / "old.pth")
    content = torch.load(path, weights_only=True)
    content["other_parameter"] |= {"number": 3, "dense": {"kind": "matrix", "data": torch.ones(2, 2)}}
    torch.save(content, path)
    other = load_model(path)[0].other
    assert other["number"] == 3
    assert isinstance(other["dense"], np.matrix)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"about": json.dumps({**ABOUT, "dataset": 3})},
            ": its metadata lacks the model, the data set or the fingerprint",
        ),
        ({"about": json.dumps({**ABOUT, "settings": [1]})}, ": its settings are not a mapping"),
        ({"about": "{}"}, " is damaged: 'model'"),
        ({"state_dict": {"w": 1}}, ": its state_dict contains 'w' of type int, which is not a parameter"),
        ({"state_dict": {3: torch.ones(1)}}, ": its state_dict contains 3 of type Tensor, which is not a parameter"),
    ],
)
def test_what_is_wrong_in_a_forged_file_is_named(changes, problem, tmp_path):
    path = tmp_path / "m.pth"
    save_model(path, a_snapshot(), ABOUT)
    sealed(path, load_archive(path) | changes)
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    assert str(error.value) == f"checkpoint {path}{problem}"
