"""RecBole's Config without its side effects."""

import copy
import os
import sys

import pytest
import torch
from recbole import utils

from recbole_bd.config.host_config import HostConfig
from tests.helpers.settings import make_config

LISTS = ("dataset_arguments", "evaluation_arguments", "general_arguments", "training_arguments")


class OnCPU(HostConfig):
    def _choose_device(self) -> torch.device:
        return torch.device("cpu")


def test_nothing_outside_is_read_or_changed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--learning_rate=9", "--nonsense"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert make_config()["learning_rate"] == 0.001
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


def test_recboles_own_lists_stay_as_they_are():
    before = {name: copy.copy(getattr(utils, name)) for name in LISTS}
    OnCPU(model="BPR", dataset="ml-100k", config_dict={"my_own_key": 1})
    assert {name: getattr(utils, name) for name in LISTS} == before


def test_values_are_taken_as_they_are():
    config = OnCPU(model="BPR", dataset="ml-100k", config_dict={"encoding": "1 + 1", "seed": 7})
    assert (config["encoding"], config["seed"]) == ("1 + 1", 7)
    assert (config["device"], config["local_rank"], config["single_spec"]) == (torch.device("cpu"), 0, True)


def test_the_device_is_for_its_heirs_to_choose():
    with pytest.raises(NotImplementedError):
        HostConfig(model="BPR", dataset="ml-100k")
