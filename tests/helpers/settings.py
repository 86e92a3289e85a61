"""Settings of short runs."""

import json

import pytest

from recbole_bd.config.config import BDConfig
from recbole_bd.config.property_files import method_options, properties_path
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.model import METHODS

QUICK = {
    "dataset": "blocks",
    "metrics": ["Hit", "NDCG"],
    "topk": [5],
    "valid_metric": "NDCG@5",
    "learning_rate": 0.01,
    "train_batch_size": 128,
    "epochs": 3,
    "distill_epochs": 3,
    "checkpoint_seconds": 0,
    "refresh_period": 2,
    "teacher.embedding_size": 8,
    "student.embedding_size": 2,
    "device": "cpu",
    "show_progress": False,
}


# Lists by method, where the defaults are longer than the data.
SMALL = {
    "CE": {"top_items": 10},
    "RCEKD": {"top_items": 10, "sampled_items": 10, "sampled_from": 48},
    "DCD": {"list_length": 30, "corrected_items": 10},
    "HetComp": {"top_items": 10, "rest_items": 9},
    "DML": {"top_items": 10},
    "KDCL": {"top_items": 10},
}

# BD as it was published, which is not the default.
PAPER = load_yaml(properties_path("model", "BD-paper.yaml"))


def words(settings: dict) -> list[str]:
    """The settings as words of the command line."""
    return [f"--{key}={json.dumps(value)}" for key, value in settings.items()]


def alone(settings: dict) -> dict:
    """The settings without what belongs to two roles: for a baseline."""
    return {key: value for key, value in settings.items() if "." not in key and key != "refresh_period"}


def for_method(settings: dict, method: str) -> dict:
    """The settings without those of other methods, and lists that fit into the 48 items of the blocks."""
    foreign = {key for name in METHODS for key in method_options(name)} - method_options(method).keys()
    return SMALL.get(method, {}) | {key: value for key, value in settings.items() if key not in foreign}


def roughly(row: dict, rel: float) -> dict:
    """A row that compares equal where its decimal numbers differ by a relative `rel` at most."""
    return {key: pytest.approx(value, rel=rel) if isinstance(value, float) else value for key, value in row.items()}


def make_config(settings: dict | None = None, **more) -> BDConfig:
    """A BDConfig from settings."""
    return BDConfig(config_dict={**(settings or {}), **more}, methods=METHODS)
