"""A finished run that the tests of runs share."""

import pytest

from recbole_bd import run_bd
from tests.helpers.settings import QUICK


@pytest.fixture(scope="session")
def finished(tmp_path_factory, block_data):
    """One finished run and its settings."""
    folder = tmp_path_factory.mktemp("run")
    settings = {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(folder / "saved"), "epochs": 25}
    settings["learning_rate"] = 0.05
    return run_bd(config_dict=settings), settings
