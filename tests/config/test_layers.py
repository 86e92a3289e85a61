"""Layers of settings: dotted keys, blocks of models, neighbours, and the command that gives them again."""

import shlex

import pytest

from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.config.config import BDConfig
from recbole_bd.config.layers import expand_dotted
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS
from tests.helpers.settings import make_config


def test_dotted_keys():
    assert expand_dotted({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
    assert expand_dotted({"a.b": 1, "a": {"b": 3, "c": 2}}) == {"a": {"b": 3, "c": 2}}
    assert expand_dotted({"a": {"b": 1}, "a.c": 2}) == {"a": {"b": 1, "c": 2}}
    with pytest.raises(ConfigError, match="a value as well as"):
        expand_dotted({"a": 1, "a.b": 2})


def test_the_command_gives_the_same_settings_however_they_were_given(tmp_path):
    file = tmp_path / "my settings.yaml"
    file.write_text("temperature: 3.0\nteacher: {learning_rate: 0.05}\n")
    first = BDConfig(
        "BD",
        config_file_list=[file],
        config_dict={"topk": [5, 10], "teacher": {"embedding_size": 11, "learning_rate": 1e-5}, "checkpoint": None,
                     "user_inter_num_interval": "[5,inf)", "reproducibility": False, "dataset_save_path": "1"},
        command_line={"teacher.embedding_size": 12, "student.weight_decay": 0.5},
        methods=METHODS,
    )  # fmt: skip
    program, command, *words = shlex.split(first.command)
    assert (program, command) == ("recbole-bd", "run")
    settings, files, _ = parse_arguments(words)
    second = BDConfig(config_file_list=files, command_line=settings, methods=METHODS)
    assert second.as_dict() == first.as_dict()
    assert second.role("teacher")["embedding_size"] == 12


def test_a_block_named_as_a_model_holds_for_that_model(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "temperature: 3.0\nBD: {temperature: 4.0, student: {learning_rate: 0.5}}\nLightGCN: {n_layers: 1}\n"
    )
    config = BDConfig(config_file_list=[file], methods=METHODS)
    assert config["temperature"] == 4.0
    assert config.role("student")["learning_rate"] == 0.5
    given = {"model": "LightGCN", "beside": ["BD"], "LightGCN.learning_rate": 0.25}
    config = BDConfig(config_file_list=[file], command_line=given, methods=METHODS)
    role = config.role("model")
    assert (role["n_layers"], role["learning_rate"]) == (1, 0.25)
    for settings in ({"BD": 5}, {"BD.temprature": 5}, {"BDD.temperature": 5}):
        with pytest.raises(ConfigError, match=r"expected a block|Did you mean"):
            make_config(settings)


def test_settings_of_neighbours_are_passed_over_and_the_command_gives_the_same_run(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("teacher: {embedding_size: 32}\n")
    given = {"model": "Pop", "beside": ["BD", "LightGCN"], "temperature": 3.0, "n_layers": 2, "BD.eps_t": 0.5}
    with pytest.raises(ConfigError, match="unknown setting temperature"):
        make_config({"model": "Pop", "temperature": 3.0})
    with pytest.raises(ConfigError, match="unknown setting temprature"):
        make_config({"model": "Pop", "temprature": 3.0, "beside": ["BD"]})
    config = make_config(given)
    assert config.command == "recbole-bd run --model=Pop"
    config = BDConfig(config_file_list=[file], command_line=given, methods=METHODS)
    assert '--beside=["BD", "LightGCN"]' in config.command
    assert "temperature" not in config.command
    assert "beside" not in config.as_dict()


@pytest.mark.parametrize(
    "more", [{"beside": ["SASRec"]}, {"beside": ["BD"], "teacher_model": "SASRec", "MAX_ITEM_LIST_LENGTH": 9}]
)
def test_a_general_model_beside_a_sequential_one_has_the_same_split(more):
    config = make_config({"model": "BPR", **more})
    for name in ("eval_args", "repeatable", "load_col"):
        assert config[name] == make_config({"model": "SASRec"})[name]
    assert "--beside=" in config.command  # a process of its own gets the command alone
    again = BDConfig(command_line=parse_arguments(shlex.split(config.command)[2:])[0], methods=METHODS)
    assert again.as_dict() == config.as_dict() == make_config(config.as_dict()).as_dict()
    assert not any("MAX_ITEM_LIST_LENGTH" in line for line in settings_notes(config))


@pytest.mark.parametrize(
    ("value", "message"),
    [("BD", "beside='BD': expected a list of names"), (5, "beside=5: expected a name"),
     (["BD", "../x"], "beside=['BD', '../x']: expected a name of letters, digits and _ . + -, found the "
     "character '/'")],
)  # fmt: skip
def test_neighbours_are_a_list_of_names(value, message):
    with pytest.raises(ConfigError) as error:
        make_config(beside=value)
    assert str(error.value) == message


def test_settings_on_the_command_line_of_a_model_that_is_not_run_are_refused():
    with pytest.raises(ConfigError, match=r"^--BPR.epochs: BPR is not among the models that are run, Pop, EASE;"):
        BDConfig("Pop", command_line={"beside": ["EASE"], "BPR.epochs": 1}, methods=METHODS)
    BDConfig("Pop", command_line={"BPR": {"epochs": 1}}, methods=METHODS)  # as a search passes on a shared file
    config = BDConfig("Pop", command_line={"beside": ["BPR"], "BPR.epochs": 1}, methods=METHODS)
    assert config["epochs"] != 1


@pytest.mark.parametrize(("value", "found"), [("", "an empty text"), (None, "no value")])
def test_a_name_without_letters_is_told(value, found):
    with pytest.raises(ConfigError, match=f"expected a name, found {found}"):
        BDConfig(command_line={"model": value}, methods=METHODS)
