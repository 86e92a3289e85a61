import pytest

from recbole_bd.config import evaluation_settings
from recbole_bd.errors import ConfigError
from tests.helpers.settings import make_config


def test_wandb_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(evaluation_settings.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="log_wandb=True: wandb is not installed"):
        make_config(log_wandb=True)


def test_intervals_as_recbole_writes_them():
    config = make_config(user_inter_num_interval="(0,1];[3,inf)", val_interval={"rating": "[3,inf)", "user_id": ["a"]})
    assert config["user_inter_num_interval"] == "(0,1];[3,inf)"
