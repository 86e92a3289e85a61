"""Settings folded from their layers, and what a run and its roles get of them."""

import pytest

from recbole_bd.config.config import BDConfig
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS
from tests.helpers.settings import make_config


def test_layers_go_command_line_files_dataset_method_recbole(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("temperature: 3.0\nstopping_step: 7\nteacher: {learning_rate: 0.05}\n")

    config = BDConfig(
        config_file_list=[file],
        config_dict={"temperature": 2.0},
        command_line={"teacher.embedding_size": 11},
        methods=METHODS,
    )
    assert config["temperature"] == 2.0  # config_dict above file
    assert config["stopping_step"] == 7  # file above dataset yaml (stopping_epochs: 5)
    assert config["distill_epochs"] == 20  # dataset yaml above overall.yaml (100)
    assert config["eps_t"] == 0.01  # method yaml
    assert config["eval_batch_size"] == 4096000  # overall.yaml above RecBole
    assert config["weight_decay"] == 0.0  # RecBole
    teacher = config.role("teacher")
    assert (teacher["embedding_size"], teacher["learning_rate"], teacher["epochs"]) == (11, 0.05, 80)


def test_an_option_of_both_directions_replaces_what_an_earlier_layer_has_for_one(tmp_path):
    teacher, student = "samples_per_positive_student_to_teacher", "samples_per_positive_teacher_to_student"
    shipped = make_config(dataset="citeulike")
    assert shipped[teacher] == 2  # of the data set's file
    of_both = make_config(dataset="citeulike", samples_per_positive=5)
    assert (of_both["samples_per_positive"], of_both[teacher], of_both[student]) == (5, None, None)
    of_one = make_config({"samples_per_positive": 5, teacher: 3}, dataset="citeulike")
    assert (of_one["samples_per_positive"], of_one[teacher]) == (5, 3)
    (tmp_path / "a.yaml").write_text(f"{student}: 7\nBD: {{temperature_teacher_to_student: 2.0}}\n")
    (tmp_path / "b.yaml").write_text("BD: {temperature: 4.0}\n")
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    config = BDConfig(dataset="citeulike", config_file_list=files, methods=METHODS)
    assert (config[teacher], config[student]) == (2, 7)
    assert (config["temperature"], config["temperature_teacher_to_student"]) == (4.0, None)
    assert make_config(config.as_dict()).as_dict() == config.as_dict()


@pytest.mark.parametrize(
    ("settings", "validations", "of_teacher"),
    [
        ({}, 5, 5),  # of the data set: 25 epochs, one validation in 5
        ({"eval_step": 1}, 25, 25),
        ({"eval_step": 10}, 2, 2),
        ({"eval_step": 40}, 0, 0),
        ({"stopping_step": 7}, 7, 7),
        ({"stopping_step": 7, "eval_step": 1}, 7, 7),
        ({"stopping_epochs": 60}, 12, 12),
        ({"stopping_epochs": 60, "stopping_step": 7}, 12, 12),
        ({"stopping_epochs": 60, "teacher.stopping_step": 7}, 12, 7),
        ({"stopping_step": 7, "teacher.stopping_epochs": 60}, 7, 12),
    ],
)
def test_patience_is_counted_in_epochs_or_in_validations(settings, validations, of_teacher, tmp_path):
    config = make_config(dataset="citeulike", **settings)
    found = config["stopping_step"], config.role("teacher")["stopping_step"], config.role("student")["stopping_step"]
    assert found == (validations, of_teacher, validations)
    resolved = config.as_dict()
    again = make_config(resolved)
    assert again.as_dict() == resolved
    assert again["stopping_step"] == validations
    assert make_config({**resolved, "stopping_epochs": 10}, eval_step=1)["stopping_step"] == 10


def test_of_two_layers_the_later_patience_holds(tmp_path):
    (tmp_path / "a.yaml").write_text("stopping_step: 7\n")
    (tmp_path / "b.yaml").write_text("stopping_epochs: 40\n")

    def patience(*names):
        files = [tmp_path / f"{name}.yaml" for name in names]
        return BDConfig(None, "citeulike", files, methods=METHODS)["stopping_step"]

    assert (patience("a", "b"), patience("b", "a")) == (8, 7)


def test_a_higher_layer_beats_a_more_specific_lower_one():
    config = make_config({"learning_rate": 0.123})
    assert config.role("teacher")["learning_rate"] == 0.123  # above dataset yaml's backbones.BPR.teacher
    config = make_config({"learning_rate": 0.123, "student.learning_rate": 0.5})
    assert (config.role("teacher")["learning_rate"], config.role("student")["learning_rate"]) == (0.123, 0.5)


def test_settings_of_a_backbone_hold_for_that_backbone_only():
    assert make_config(dataset="citeulike").role("teacher")["embedding_size"] == 50
    assert make_config(dataset="citeulike", teacher_model="LINE").role("teacher")["embedding_size"] == 64
    assert make_config(model="BPR", dataset="citeulike").role("model")["embedding_size"] == 50


@pytest.mark.slow
def test_resolved_settings_give_the_same_settings_again():
    for settings in (
        {},
        {"teacher_model": "CDAE"},
        {"model": "BPR"},
        {"model": "CDAE"},
        {"model": "ENMF", "train_neg_sample_args": None},
        {"teacher_model": "NeuMF", "student_model": "DMF"},
    ):
        first = make_config(settings).as_dict()
        assert make_config(first).as_dict() == first
        assert first.get("train_neg_sample_args") != {"distribution": "none"}


@pytest.mark.parametrize("settings", [{"model": "BERT4Rec"}, {"student_model": "BERT4Rec"}, {"teacher_model": "SHAN"}])
def test_resolved_settings_keep_how_a_model_changes_its_sequences(settings):
    first = make_config(settings)
    again = make_config(first.as_dict())
    assert again.as_dict() == first.as_dict()
    found = [[config.role(role)["transform"] for role in config.backbones] for config in (first, again)]
    assert found[0] == found[1]
    assert {"mask_itemseq", "inverse_itemseq"} & {*found[0]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"metrics": ["Recall", "RMSE"], "valid_metric": "Recall@10"},
            "metrics: RMSE compares scores with labels and Recall ranks items, and one run measures only one kind: use "
            "AUC, LogLoss, MAE and RMSE, or the others",
        ),
        (
            {"train_neg_sample_args": {"distribution": "zipf"}},
            "train_neg_sample_args: distribution='zipf': must be one of uniform, popularity, or ~ for no negatives",
        ),
    ],
)
def test_what_recbole_refuses_is_an_error_of_one_line(settings, message):
    with pytest.raises(ConfigError) as error:
        make_config(settings)
    assert str(error.value) == message
