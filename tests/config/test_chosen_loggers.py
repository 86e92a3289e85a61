"""Which loggers a run writes to, and what is refused before it trains."""

import pytest

from recbole_bd.config import chosen_loggers as module
from recbole_bd.config.chosen_loggers import chosen_loggers, require_loggers
from recbole_bd.errors import ConfigError, InstallationError
from tests.helpers.settings import make_config


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["tensorboard"]),
        ({"loggers": []}, []),
        ({"log_wandb": True}, ["tensorboard", "wandb"]),
        ({"log_wandb": True, "loggers": ["wandb", "mlflow", "wandb"]}, ["wandb", "mlflow"]),
    ],
)
def test_each_logger_is_chosen_once_and_by_recboles_setting_too(settings, names):
    assert chosen_loggers(make_config(settings)) == names


def test_an_unknown_logger_is_refused():
    with pytest.raises(ConfigError, match=r"loggers=\['wand'\]: must be a list of tensorboard, wandb, mlflow, or \[\]"):
        make_config(loggers=["wand"])


@pytest.mark.parametrize(
    ("settings", "setting", "name"),
    [
        ({"log_wandb": True}, "log_wandb=True", "wandb"),
        ({"loggers": ["wandb"], "log_wandb": True}, "loggers=['wandb']", "wandb"),
        ({"loggers": ["tensorboard", "mlflow"]}, "loggers=['tensorboard', 'mlflow']", "mlflow"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_command(settings, setting, name, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InstallationError) as error:
        require_loggers(make_config(settings))
    assert str(error.value) == f'{setting} needs {name}, which is not installed: pip install "recbole-bd[{name}]"'


def test_a_folder_of_the_tools_name_is_no_package(tmp_path, monkeypatch):
    for name, is_package in (("wandb", False), ("mlflow", True)):
        (tmp_path / name).mkdir()
        if is_package:
            (tmp_path / name / "__init__.py").write_text("")
    monkeypatch.setattr(module.importlib.util.sys, "path", [str(tmp_path)])
    assert (module._is_installed("wandb"), module._is_installed("mlflow")) == (False, True)
