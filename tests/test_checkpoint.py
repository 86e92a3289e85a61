import pickle
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from recbole.config import Config
from torch import nn

from recbole_bd import checkpoint
from recbole_bd.atomic import write_atomically
from recbole_bd.checkpoint import Snapshot, load_model, restore_snapshot, save_model, take_snapshot
from recbole_bd.data import load_split
from recbole_bd.errors import CheckpointError
from recbole_bd.roles import build_role
from tests.conftest import alone, make_config

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


def test_recboles_own_checkpoint_is_read(tmp_path, block_data, monkeypatch):
    """Written by RecBole's Trainer itself: a pickle of protocol 4 that holds its Config."""
    from recbole.data import create_dataset, data_preparation
    from recbole.model.general_recommender import BPR
    from recbole.trainer import Trainer

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["x"])
    config = Config(
        "BPR", "blocks", config_dict={"data_path": str(block_data), "epochs": 1, "topk": [5], "valid_metric": "MRR@5"}
    )
    train, valid, _ = data_preparation(config, create_dataset(config))
    trainer = Trainer(config, BPR(config, train._dataset))
    trainer.fit(train, valid, verbose=False)
    snapshot, about = load_model(trainer.saved_model_file)
    assert about == {"model": "BPR", "dataset": "blocks"}
    assert torch.equal(snapshot.state["user_embedding.weight"], trainer.model.user_embedding.weight.detach())


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("place", ["config", "state_dict", "other_parameter"])
def test_code_in_a_checkpoint_does_not_run_and_is_named(place, tmp_path):
    marker = tmp_path / "ran"
    content = {"state_dict": {"weight": torch.ones(2)}, "config": None, "other_parameter": None}
    content[place] = Evil(marker)
    torch.save(content, tmp_path / "evil.pth", pickle_protocol=4)
    with pytest.raises(CheckpointError, match=r"asks for (io|_io|builtins)\.open, which could run code"):
        load_model(tmp_path / "evil.pth")
    assert not marker.exists()


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
    with pytest.raises(CheckpointError, match=r"no file of torch\.save"):
        load_model(tmp_path / "zip.pth")


def test_a_truncated_checkpoint_is_refused_at_any_length(tmp_path):
    save_model(tmp_path / "m.pth", a_snapshot(), ABOUT)
    whole = (tmp_path / "m.pth").read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 25)):
        (tmp_path / "t.pth").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            load_model(tmp_path / "t.pth")


def test_other_sizes_and_other_models_are_refused():
    model = torch.nn.Linear(3, 2)
    model.other_parameter = dict
    with pytest.raises(CheckpointError, match=r"weight is \(4, 3\) but this run's Linear needs \(2, 3\)"):
        restore_snapshot(model, Snapshot({"weight": torch.ones(4, 3), "bias": torch.ones(2)}))
    with pytest.raises(CheckpointError, match="parameter bias is missing"):
        restore_snapshot(model, Snapshot({"weight": torch.ones(2, 3)}))
    with pytest.raises(CheckpointError, match="parameter extra is unknown"):
        restore_snapshot(model, Snapshot({"weight": torch.ones(2, 3), "bias": torch.ones(2), "extra": torch.ones(1)}))


def test_stale_caches_are_not_kept():
    cached = nn.Module()
    cached.other_parameter = lambda: {"restore_user_e": torch.ones(2), "item_similarity": np.ones(2)}
    assert list(take_snapshot(cached).other) == ["item_similarity"]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(stream):
        stream.write(b"half of the new")
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="No space left"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_newer_format_says_update(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    save_model(tmp_path / "m.pth", a_snapshot(), ABOUT)
    monkeypatch.setattr(checkpoint, "VERSION", 1)
    with pytest.raises(CheckpointError, match="update recbole-bd"):
        load_model(tmp_path / "m.pth")
