"""All known options: where they are declared, and what they allow."""

import pytest

from recbole_bd.config.known_options import (
    backbone_options,
    options_unknown_to_recbole,
    role_options,
    top_level_options,
)
from recbole_bd.config.property_files import package_options


def test_a_model_without_a_file_of_its_own_has_the_options_that_its_source_reads():
    assert backbone_options("Random") == {}
    assert {"n_layers", "reg_weight", "embedding_size"} <= backbone_options("LightGCN").keys()
    assert backbone_options("LightGCN")["n_layers"].default == 2


@pytest.mark.parametrize(
    ("key", "interval"),
    [
        ("embedding_size", "[1, inf)"),
        ("learning_rate", "(0, inf)"),
        ("seed", "[0, 4294967295]"),
        ("epochs", "[0, inf)"),
    ],
)
def test_options_of_recbole_have_ranges(key, interval):
    assert top_level_options("BD", ["BPR"])[key].range == f"Range: {interval}."


def test_what_each_level_takes():
    assert {"checkpoint", "learning_rate", "embedding_size"} <= role_options("BPR").keys()
    assert not {"topk", "controls", "temperature"} & role_options("BPR").keys()
    assert {"topk", "controls", "temperature", "embedding_size"} <= top_level_options("BD", ["BPR"]).keys()
    assert "temperature" not in top_level_options(None, ["BPR"])
    assert {"controls", "teacher_model"} <= options_unknown_to_recbole() <= package_options().keys()
    assert not {"model", "dataset", "seed"} & options_unknown_to_recbole()
