"""Trained models, loaded with their data."""

import json
from pathlib import Path

import pytest
import torch

from recbole_bd import load_data_and_model, run_bd
from recbole_bd.data.dataset import RoundedTimesDataset
from recbole_bd.data.split import load_split
from recbole_bd.errors import CheckpointError, RunFolderError
from recbole_bd.runs import prepare
from recbole_bd.runs import trained_model as trained_module
from recbole_bd.runs.trained_model import load_trained, model_files
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.settings import alone, make_config


def test_a_model_loads_as_in_recbole(finished):
    result, settings = finished
    config, model, dataset, train, valid, test = load_data_and_model(f"{result['run_folder']}/student.pth")
    assert config["model"] == "BPR"
    assert (dataset.user_num, dataset.item_num) == (61, 49)
    assert not model.training
    from recbole.trainer import Trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(settings["checkpoint_dir"])
        trainer = Trainer(config, model)
        trainer.eval_collector.data_collect(train)
        assert dict(trainer.evaluate(test, load_best_model=False)) == result["student"]["distilled"]["test"]
        assert dict(trainer.evaluate(valid, load_best_model=False)) == result["student"]["distilled"]["valid"]


def test_a_sequential_model_loads_as_in_recbole(sequential_run, tmp_path, monkeypatch):
    from recbole.trainer import Trainer

    record = json.loads((Path(sequential_run) / "result.json").read_text())
    config, model, dataset, train, valid, test = load_data_and_model(f"{sequential_run}/student.pth")
    assert (config["model"], dataset.user_num, dataset.item_num) == ("GRU4Rec", 61, 31)
    assert not model.training
    batch = next(iter(train))
    assert {"item_id_list", "item_length", "item_id"} <= set(batch.interaction)
    monkeypatch.chdir(tmp_path)
    trainer = Trainer(config, model)
    trainer.eval_collector.data_collect(train)
    for part, loader in (("test", test), ("valid", valid)):
        assert dict(trainer.evaluate(loader, load_best_model=False)) == record["student"]["distilled"][part]


def test_models_of_a_run_that_has_not_finished_are_not_served(finished, tmp_path):
    (tmp_path / "result.json").write_text(json.dumps({**finished[0], "status": "interrupted"}))
    with pytest.raises(RunFolderError, match="has not finished; resume it with recbole-bd run --resume="):
        model_files(tmp_path)
    with pytest.raises(RunFolderError, match="neither a run folder nor"):
        model_files(tmp_path / "gone")


def test_a_model_that_was_trained_on_a_gpu_is_loaded_where_there_is_none(finished, monkeypatch):
    path = model_files(finished[0]["run_folder"])["student"]
    snapshot, about = trained_module.load_model(path)
    elsewhere = {**about, "settings": {**about["settings"], "device": "cuda:3", "gpu_id": "3"}}
    monkeypatch.setattr(trained_module, "load_model", lambda _: (snapshot, elsewhere))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load_trained(path).role.device.type == "cpu"


def test_a_model_may_be_named_by_its_file(finished):
    path = Path(finished[0]["run_folder"]) / "student.pth"
    assert model_files(path) == {"student": path}
    assert model_files(path.parent) == {role: path.with_name(f"{role}.pth") for role in ("teacher", "student")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"settings": None},
            "{} is not a model file of this package; RecBole's own files cannot be loaded whole safely",
        ),
        ({"role": "model"}, "{} is damaged: its role is 'model'"),
        (
            {"fingerprint": "another"},
            "{}: the data set blocks in {} or its split is not the one this model was trained on",
        ),
    ],
)
def test_a_model_that_is_not_of_this_data_or_package_is_refused(changes, message, finished, monkeypatch):
    path = Path(finished[0]["run_folder"]) / "student.pth"
    snapshot, about = trained_module.load_model(path)
    about = {key: value for key, value in {**about, **changes}.items() if value is not None}
    monkeypatch.setattr(trained_module, "load_model", lambda _: (snapshot, about))
    with pytest.raises(CheckpointError) as error:
        load_trained(path)
    assert str(error.value) == message.format(path, f"{finished[1]['data_path']}/blocks")


@pytest.mark.slow
def test_a_run_of_a_version_that_rounded_times_is_loaded_and_resumed(quick, tmp_path, monkeypatch, caplog):
    rows = [(*pair, 1_700_000_000 + (7 * k) % 11) for k, pair in enumerate(block_pairs())]
    write_inter(tmp_path, "timed", rows, header="user_id:token\titem_id:token\ttimestamp:float")
    columns = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "dataset": "timed", "model": "BPR"}
    split = {"eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"}}
    settings = {**alone(quick), **columns, **split, "data_path": str(tmp_path)}
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "load_split", lambda config: load_split(config, RoundedTimesDataset))
        result = run_bd(config_dict=settings)
    folder = Path(result["run_folder"])
    trained = load_trained(folder / "model.pth")
    assert trained.split.fingerprint == result["data"]["fingerprint"] != load_split(make_config(settings)).fingerprint
    assert any("times rounded to float32" in message for message in caplog.messages)
    (folder / "result.json").write_text(json.dumps({**result, "status": "interrupted"}))
    resumed = run_bd(resume=folder)
    assert resumed["data"] == result["data"]
    assert resumed["model"]["separate"]["test"] == result["model"]["separate"]["test"]
