"""Words of the command line: text options as typed, lists by commas, everything else as YAML."""

import pytest

from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.config.config import BDConfig
from recbole_bd.config.text_options import read_word
from recbole_bd.config.yaml_text import write_value
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS
from tests.helpers.settings import make_config


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        *(("field_separator", text, text) for text in (" ", "|", "#", "::", "~", ",", "\t", "1", "- ", "[")),
        ("field_separator", '" "', " "),
        ("field_separator", "'\t'", "\t"),
        ("seq_separator", "~", "~"),
        ("dataset", "two words", "two words"),
        ("dataset", "2020-01-01", "2020-01-01"),
        ("data_path", "123", "123"),
        ("label", "1e5", "1e5"),
        ("label", "yes", "yes"),
        ("label", "BD: mine # 2", "BD: mine # 2"),
        ("label", '"quoted', '"quoted'),
        *(("label", text, None) for text in ("~", "None", "null", "")),
        ("checkpoint", "~", None),
        ("teacher.checkpoint", "7", "7"),
        ("student.learner", "adam", "adam"),
        ("BD.label", "1", "1"),
        ("user_inter_num_interval", "[5,10]", "[5,10]"),
        ("rm_dup_inter", "first", "first"),
        ("mf_pretrain_path", "5", "5"),  # of NeuMF
        # Lists
        ("controls", "continued,placebo", ["continued", "placebo"]),
        ("controls", "placebo", ["placebo"]),
        ("controls", "[]", []),
        ("topk", "5,10", [5, 10]),
        ("topk", "5", 5),
        ("metrics", "Recall, NDCG", ["Recall", "NDCG"]),
        ("metrics", "NDCG", "NDCG"),
        ("benchmark_filename", "train,valid,test", ["train", "valid", "test"]),
        ("benchmark_filename", "~", None),
        ("teacher.mlp_hidden_size", "64", [64]),
        ("student.mlp_hidden_size", "64,32", [64, 32]),
        ("loggers", "True", True),
        # Neither text nor lists
        ("seed", "5", 5),
        ("topk", "[5,10]", [5, 10]),
        ("metrics", "[Hit]", ["Hit"]),
        ("gpu_id", "1", 1),
        ("train_neg_sample_args", "~", None),
        ("val_interval.label", "['a']", ["a"]),
        ("eval_args.order", "TO", "TO"),
        ("unheard_of", "1e5", 1e5),
    ],
)
def test_a_word_is_read_as_its_option_declares(key, text, value):
    assert read_word(key, text) == value
    assert parse_arguments([f"--{key}={text}"])[0] == {key: value}
    assert parse_arguments([f"--{key}", text])[0] == {key: value}


@pytest.mark.parametrize("value", [" ", "|", "#", "::", "~", "null", "1e5", '"a"', "it's", "a: b", "2020-01-01", None])
def test_a_text_in_the_command_of_a_run_is_read_back(value):
    assert read_word("label", write_value(value)) == value
    config = make_config({"label": value, "field_separator": value})
    words = [f"--{key}={write_value(config[key])}" for key in ("label", "field_separator")]
    again = BDConfig(command_line=parse_arguments(words)[0], methods=METHODS)
    assert (again["label"], again["field_separator"]) == (value, value)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("two words", " of letters, digits and _ . + -, found the character ' '"),
        ("a/b", " of letters, digits and _ . + -, found the character '/'"),
        ("a\tb", " of letters, digits and _ . + -, found the character '\\t'"),
        (".hidden", ", which cannot begin with a dot"),
        ("", ", found an empty text"),
        (5, ""),
    ],
)
def test_a_wrong_name_says_which_character_is_wrong(name, found):
    with pytest.raises(ConfigError) as error:
        make_config({"dataset": name})
    assert str(error.value) == f"dataset={name!r}: expected a name{found}"
