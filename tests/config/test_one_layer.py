"""Several layers of settings as one: a command and a file of the fold give the run that the layers give."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.config.config import BDConfig
from recbole_bd.config.layers import Layer
from recbole_bd.config.one_layer import in_one_layer
from recbole_bd.config.yaml_text import to_yaml
from recbole_bd.model import METHODS
from recbole_bd.runs.hashes import run_hashes
from tests.helpers.bounds import tried

PAIR = {"teacher": "BPR", "student": "BPR"}
VALUES = {
    ("learning_rate", "student.learning_rate", "teacher.learning_rate"): (0.5, 0.25, 0.125),
    ("BD.learning_rate", "BD.student.learning_rate"): (0.375, 0.625),
    ("backbones.BPR.student.learning_rate", "backbones.LightGCN.teacher.learning_rate"): (0.75, 1.0),
    ("student_model", "teacher_model"): ("BPR", "LightGCN"),
    ("embedding_size",): (8, 16),
    ("stopping_step", "student.stopping_step"): (3, 7),
    ("stopping_epochs", "student.stopping_epochs"): (20, 30, None),
    ("temperature", "BD.temperature", "temperature_student_to_teacher"): (2.0, 4.0),
    ("exchange", "exchange_student_to_teacher"): ("listwise", "pointwise"),
}
OF_KEY = {key: values for keys, values in VALUES.items() for key in keys}
layer = st.lists(st.sampled_from(sorted(OF_KEY)), max_size=5, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: st.sampled_from(OF_KEY[key]) for key in keys})
)


def fold(*layers, method="BD", backbones=PAIR):
    return in_one_layer([Layer("command line", values) for values in layers], method, backbones)


@pytest.mark.parametrize(
    ("layers", "folded"),
    [
        ([{"student": {"embedding_size": 8}}, {"embedding_size": 16}], {"embedding_size": 16}),
        ([{"embedding_size": 16}, {"student": {"embedding_size": 8}}],
         {"embedding_size": 16, "student": {"embedding_size": 8}}),
        ([{"student": {"embedding_size": 8}}, {"student": {"weight_decay": 0.5}}],
         {"student": {"embedding_size": 8, "weight_decay": 0.5}}),
        # The option of the method leaves the one of the student's model as it is.
        ([{"student": {"temperature": 0.5}}, {"temperature": 2.0}],
         {"student": {"temperature": 0.5}, "temperature": 2.0}),
        ([{"exchange_student_to_teacher": "listwise"}, {"exchange": "pointwise"}], {"exchange": "pointwise"}),
        ([{"stopping_epochs": 5}, {"stopping_step": 3}], {"stopping_step": 3}),
        ([{"student": {"stopping_step": 3}}, {"stopping_epochs": 5}],
         {"student": {"stopping_step": 3, "stopping_epochs": 5}, "stopping_epochs": 5}),
        ([{"student": {"epochs": 3}}, {"backbones": {"BPR": {"student": {"epochs": 5}}, "MF": {"student": {"k": 1}}}}],
         {"student": {"epochs": 5}}),
        ([{"student": 5}, {"student": {"epochs": 5}}], {"student": {"epochs": 5}}),
    ],
)  # fmt: skip
def test_a_later_layer_replaces_what_earlier_ones_have(layers, folded):
    assert fold(*layers) == folded


def test_a_baseline_takes_the_teachers_settings_of_its_model():
    layers = [{"epochs": 3}, {"backbones": {"BPR": {"teacher": {"epochs": 5}}}}]
    assert fold(*layers, method=None, backbones={"model": "BPR"}) == {"epochs": 5}


def test_the_command_holds_what_the_command_line_replaces_of_python():
    config = BDConfig(config_dict={"student.embedding_size": 8}, command_line={"embedding_size": 16}, methods=METHODS)
    assert config.role("student")["embedding_size"] == 16
    assert config.command == "recbole-bd run --embedding_size=16"


@pytest.mark.slow
@pytest.mark.no_cover
def test_one_layer_gives_the_run_of_all(tmp_path):
    file, folded = tmp_path / "a.yaml", tmp_path / "folded.yaml"

    @tried(60)
    @given(layer, layer, layer)
    def compared(in_file, in_python, typed):
        file.write_text(to_yaml(in_file))
        config = BDConfig(config_file_list=[file], config_dict=in_python, command_line=typed, methods=METHODS)
        words, files, _ = parse_arguments(shlex.split(config.command)[2:])
        folded.write_text(to_yaml(in_one_layer(config.users_layers, "BD", config.backbones)))
        for again in (
            BDConfig(config_file_list=files, command_line=words, methods=METHODS),
            BDConfig(config_file_list=[folded], methods=METHODS),
        ):
            assert again.as_dict() == config.as_dict()
            assert run_hashes(again) == run_hashes(config)

    compared()
