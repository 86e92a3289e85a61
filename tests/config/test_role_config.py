"""Settings of one role, and checkpoints that hold them."""

import pytest
import torch

from recbole_bd.backbones.recbole_pickle import load_recbole_pickle
from recbole_bd.config.role_config import RoleConfig
from tests.helpers.settings import make_config


@pytest.mark.parametrize("module", [RoleConfig.__module__, "recbole_bd.config.config", "recbole_bd.config"])
def test_checkpoints_that_hold_settings_of_a_role_are_read_whatever_module_they_name(module, tmp_path, monkeypatch):
    config = make_config().role("teacher")
    monkeypatch.setattr(RoleConfig, "__module__", module)
    monkeypatch.setattr(f"{module}.RoleConfig", RoleConfig, raising=False)
    torch.save({"config": config, "state_dict": {"weight": torch.ones(2)}}, tmp_path / "model.pth")
    content = load_recbole_pickle(tmp_path / "model.pth")
    assert content["state_dict"]["weight"].tolist() == [1, 1]
