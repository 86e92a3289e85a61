"""Roles around freshly built models of RecBole."""

import sys

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_bd.backbones.names import STUDENT
from recbole_bd.backbones.registry import recommender_class
from recbole_bd.backbones.role import Role
from tests.helpers.backbones import (
    CLOSED_FORM,
    SETTINGS,
    SMALL,
    WITHOUT_NEGATIVES,
    spread,
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """40 users and 60 items in two blocks: users of a block take 8 to 14 of its 30 items, 6 or more in training."""
    generator = np.random.default_rng(7)
    lines = ["user_id:token\titem_id:token"]
    for user in range(40):
        for item in generator.choice(30, size=generator.integers(8, 15), replace=False) + 30 * (user % 2):
            lines.append(f"u{user}\ti{item}")
    path = tmp_path_factory.mktemp("data")
    (path / "blocks").mkdir()
    (path / "blocks" / "blocks.inter").write_text("\n".join(lines))
    return path


@pytest.fixture(scope="session")
def data(folder):
    """Config and training loader of a model by its name, made once."""
    made = {}

    def get(name, **settings):
        key = (name, str(settings))
        if key not in made:
            negatives = {"train_neg_sample_args": None} if name in WITHOUT_NEGATIVES else {}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["x"])
                config = Config(
                    model=recommender_class(name),  # RecBole knows MF only by its class
                    dataset="blocks",
                    config_dict={
                        **{"data_path": str(folder), "seed": 3, "reproducibility": True, "use_gpu": False},
                        **{"load_col": {"inter": ["user_id", "item_id"]}, "train_batch_size": 128},
                        **{"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "order": "RO"}},
                        **{"gpu_id": "", "state": "WARNING", "show_progress": False},
                        **SMALL,
                        **negatives,
                        **SETTINGS.get(name, {}),
                        **settings,
                    },
                )
            config["device"] = torch.device("cpu")
            init_seed(config["seed"], True)
            made[key] = config, data_preparation(config, create_dataset(config))[0]
        return made[key]

    return get


@pytest.fixture
def build(data):
    """A role around a freshly built model, its parameters spread; and its training loader."""

    def make(name, model_class=None, **settings):
        config, loader = data(name, **settings)
        init_seed(3, True)
        model = (model_class or recommender_class(name))(config, loader.dataset)
        if name == "Pop":
            for batch in loader:
                model.calculate_loss(batch)
        if name not in CLOSED_FORM:
            spread(model)
        return Role(STUDENT, model, config), loader

    return make
