"""Settings of RecBole 0.x and 1.0 are answered by today's."""

import pytest

from recbole_bd.config.known_options import recbole_options
from recbole_bd.config.renamed_keys import RENAMED
from recbole_bd.config.yaml_text import parse_yaml
from recbole_bd.errors import ConfigError
from tests.helpers.settings import make_config


@pytest.mark.parametrize("key", RENAMED)
def test_a_renamed_key_is_answered_by_todays(key):
    with pytest.raises(ConfigError) as error:
        make_config({key: 1})
    assert str(error.value) == f"{key} (config_dict) is not a setting of today's RecBole; write {RENAMED[key]}"
    assert key not in recbole_options()


@pytest.mark.parametrize("key", RENAMED)
def test_what_is_to_be_written_is_a_valid_setting(key):
    if RENAMED[key].partition(":")[0] not in recbole_options() or " or " in RENAMED[key] or key.startswith("draw"):
        return  # prose
    make_config({**parse_yaml(RENAMED[key]), "load_col": {"inter": ["user_id", "item_id", "rating"]}})


def test_a_renamed_key_of_a_role_is_answered_too():
    with pytest.raises(ConfigError, match=r"student.neg_sampling .config_dict. is not .*; write train_neg_sample_args"):
        make_config({"student.neg_sampling": {"uniform": 1}})


@pytest.mark.parametrize(
    ("block", "write"),
    [
        ({"uniform": 3}, "{distribution: uniform, sample_num: 3}"),
        ({"popularity": 1}, "{distribution: popularity, sample_num: 1}"),
        ({"by": 2, "distribution": "uniform"}, "{distribution: uniform, sample_num: 2}"),
        ({"strategy": "by"}, "{distribution: uniform, sample_num: 1}"),
    ],
)
def test_the_old_form_of_negatives_is_answered_by_todays(block, write):
    with pytest.raises(ConfigError) as error:
        make_config({"train_neg_sample_args": block})
    assert str(error.value).endswith(f"is not a setting of today's RecBole; write {write}")
