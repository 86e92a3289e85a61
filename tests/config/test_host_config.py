"""RecBole's Config without its side effects."""

import os
import sys

import pytest
import torch
import yaml
from recbole.config import Config

from recbole_bd.config import host_config
from recbole_bd.config.host_config import HostConfig
from tests.helpers.settings import make_config


class OnCPU(HostConfig):
    def _choose_device(self) -> torch.device:
        return torch.device("cpu")


def test_nothing_outside_is_read_or_changed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--learning_rate=9", "--nonsense"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert make_config()["learning_rate"] == 0.001
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


@pytest.mark.parametrize("name", [f"{kind}_arguments" for kind in ("dataset", "evaluation", "general", "training")])
def test_recboles_own_lists_stay_as_they_are(name, monkeypatch):
    """RecBole appends what the file of a data set adds to them, such as `kg_reverse_r` of ml-100k."""
    own = ["seed"]
    monkeypatch.setattr(host_config, name, own)
    config = OnCPU(model="BPR", dataset="ml-100k")
    assert own == ["seed"]
    assert all(listed is not own for listed in config.parameters.values())


def test_values_are_taken_as_they_are():
    config = OnCPU(model="BPR", dataset="ml-100k", config_dict={"encoding": "1 + 1", "seed": 7})
    assert (config["encoding"], config["seed"]) == ("1 + 1", 7)
    assert (config["device"], config["local_rank"], config["single_spec"]) == (torch.device("cpu"), 0, True)


def test_the_device_is_for_its_heirs_to_choose():
    with pytest.raises(NotImplementedError):
        HostConfig(model="BPR", dataset="ml-100k")


@pytest.mark.parametrize(("backbone", "dataset"), [("BPR", "ml-100k"), ("CDAE", "blocks"), ("NeuMF", "ml-1m")])
def test_the_files_of_recbole_give_what_recbole_reads(backbone, dataset):
    ours = make_config({"model": backbone, "dataset": dataset, "device": "cpu"})
    host = object.__new__(Config)
    host.parameters = {"Dataset": []}
    host.yaml_loader = Config._build_yaml_loader(host)
    host._load_internal_config_dict(backbone, ours.model_class, dataset)
    assert ours.internal_config_dict == host.internal_config_dict


def test_a_configuration_does_not_change_what_the_next_one_reads():
    first = make_config({"model": "BPR", "dataset": "ml-100k", "device": "cpu"})
    first.internal_config_dict["eval_args"]["split"]["RS"].append(7)
    first.internal_config_dict["load_col"]["inter"].clear()
    second = make_config({"model": "BPR", "dataset": "ml-100k", "device": "cpu"})
    assert second.internal_config_dict["eval_args"]["split"]["RS"] == [0.8, 0.1, 0.1]
    assert "user_id" in second.internal_config_dict["load_col"]["inter"]


def test_configurations_do_not_slow_the_reading_of_yaml():
    """RecBole adds a pattern to PyYAML's own loader with each configuration; here only the first does."""
    make_config({"model": "BPR", "dataset": "ml-100k", "device": "cpu"})
    before = len(yaml.FullLoader.yaml_implicit_resolvers["1"])
    make_config({"model": "BPR", "dataset": "ml-100k", "device": "cpu"})
    assert len(yaml.FullLoader.yaml_implicit_resolvers["1"]) == before
