import shlex

import pytest

from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.config.config import BDConfig
from recbole_bd.config.layers import expand_dotted
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS


def test_dotted_keys():
    assert expand_dotted({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
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
