"""The device of a run, and of each of several processes."""

import pytest
import torch

from recbole_bd.errors import ConfigError
from recbole_bd.system.distributed import Group
from tests.helpers.settings import make_config


def test_device_follows_use_gpu_and_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert make_config(use_gpu=False)["device"] == torch.device("cpu")
    assert make_config()["device"] == torch.device("cuda")
    assert make_config(gpu_id=1)["device"] == torch.device("cuda:1")
    assert make_config(device="cuda:1").role("student")["device"] == torch.device("cuda:1")
    with pytest.raises(ConfigError, match=r"2 GPU"):
        make_config(device="cuda:2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert make_config(gpu_id=1)["device"] == torch.device("cuda")


def test_each_of_several_processes_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("recbole_bd.config.device.group", lambda: Group(1, 2))
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for settings in ({}, {"device": "cuda"}, {"gpu_id": 0}):
        config = make_config(settings)
        assert config["device"] == config.role("teacher")["device"] == torch.device("cuda:1")
    assert make_config(device="cpu")["device"] == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"cuda:0.*each process needs its own: use --device=cuda with"):
        make_config(device="cuda:0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"'cuda': this machine runs 4 processes and has 2 GPU\(s\)"):
        make_config()
    assert make_config(device="cpu")["device"] == torch.device("cpu")
