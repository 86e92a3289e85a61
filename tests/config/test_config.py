import os
import sys

import pytest
import torch

from recbole_bd.config import evaluation_settings
from recbole_bd.config.config import BDConfig
from recbole_bd.config.layers import expand_dotted
from recbole_bd.errors import BDError, ConfigError, RoleError
from recbole_bd.model import METHODS
from recbole_bd.system.distributed import Group
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
    assert config["stopping_step"] == 7  # file above dataset yaml (5)
    assert config["distill_epochs"] == 20  # dataset yaml above overall.yaml (100)
    assert config["eps_t"] == 0.01  # method yaml
    assert config["eval_batch_size"] == 4096000  # overall.yaml above RecBole
    assert config["weight_decay"] == 0.0  # RecBole
    teacher = config.role("teacher")
    assert (teacher["embedding_size"], teacher["learning_rate"], teacher["epochs"]) == (11, 0.05, 80)


def test_a_higher_layer_beats_a_more_specific_lower_one():
    config = make_config({"learning_rate": 0.123})
    assert config.role("teacher")["learning_rate"] == 0.123  # above dataset yaml's backbones.BPR.teacher
    config = make_config({"learning_rate": 0.123, "student.learning_rate": 0.5})
    assert (config.role("teacher")["learning_rate"], config.role("student")["learning_rate"]) == (0.123, 0.5)


def test_settings_of_a_backbone_hold_for_that_backbone_only():
    assert make_config(dataset="citeulike").role("teacher")["embedding_size"] == 50
    assert make_config(dataset="citeulike", teacher_model="LINE").role("teacher")["embedding_size"] == 64
    assert make_config(model="BPR", dataset="citeulike").role("model")["embedding_size"] == 50


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


def test_nothing_outside_is_read_or_changed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--learning_rate=9", "--nonsense"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert make_config()["learning_rate"] == 0.001
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


def test_device_follows_use_gpu_and_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert make_config(use_gpu=False)["device"] == torch.device("cpu")
    assert make_config()["device"] == torch.device("cuda")
    assert make_config(gpu_id=1)["device"] == torch.device("cuda:1")
    assert make_config(device="cuda:1").role("student")["device"] == torch.device("cuda:1")
    with pytest.raises(ConfigError, match=r"2 GPU"):
        make_config(device="cuda:2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert make_config(gpu_id=1)["device"] == torch.device("cuda")


def test_each_of_several_processes_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("recbole_bd.config.device.group", lambda: Group(1, 2))
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for settings in ({}, {"device": "cuda"}, {"gpu_id": 0}):
        config = make_config(settings)
        assert config["device"] == config.role("teacher")["device"] == torch.device("cuda:1")
    assert make_config(device="cpu")["device"] == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"cuda:0.*one of its own: use --device=cuda with"):
        make_config(device="cuda:0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"'cuda': 4 processes and 2 GPU\(s\) are on this machine"):
        make_config()
    assert make_config(device="cpu")["device"] == torch.device("cpu")


def resolve(settings):
    config = make_config(settings)
    for role in config.backbones:
        config.role(role)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 3}, r"unknown setting temprature .*Did you mean temperature\?.*--help"),
        ({"teacher.embeding_size": 3}, r"teacher.embeding_size .*Did you mean embedding_size\?"),
        ({"n_layers": 2}, "unknown setting n_layers"),  # of LightGCN, which plays no role here
        ({"temperature": "hot"}, "temperature='hot': expected float"),
        ({"temperature": -1}, r"temperature=-1: must be in \(0, inf\)"),
        ({"temperature": float("nan")}, "temperature=nan: must be a finite number"),
        ({"learning_rate": 0}, r"learning_rate=0: must be in \(0, inf\)"),
        ({"student.weight_decay": -0.1}, r"student.weight_decay=-0.1: must be in \[0, inf\)"),
        ({"teacher.embedding_size": 0}, r"must be in \[1, inf\)"),
        ({"epochs": 1.5}, "epochs=1.5: expected int"),
        ({"teacher.topk": [3]}, "holds for both roles"),
        ({"teacher": 5}, "expected a block"),
        ({"sampling": "best"}, "must be one of rank_discrepancy, uniform, top"),
        ({"valid_metric": "NDCG@20"}, "must be one of the metrics"),
        ({"metrics": ["Foo"]}, "no metric named 'Foo'; there are: .*recall"),
        ({"topk": [0]}, "positive"),
        ({"student.learner": "sdg"}, "must be one of adam"),
        ({"device": "tpu"}, "expected cpu, cuda"),
        ({"model": "BPR", "teacher.embedding_size": 3}, "trained alone"),
        ({"eval_args": {"mode": "best"}}, "eval_args"),
        ({"backbones": {"BPR": {"pupil": {}}}}, "under teacher or student"),
        ({"dataset": "../evil"}, "expected a name"),
        ({"valid_metric": None}, "expected one of the metrics at one of topk, such as NDCG@10"),
        ({"threads": 1_000_000}, r"must be in \[1, 1024\]"),
        ({"eval_args": {"mod": "full"}}, "unknown key 'mod'; there are: split, group_by, order, mode"),
        ({"user_inter_num_interval": "[5,inf"}, r"user_inter_num_interval='\[5,inf': expected intervals such as"),
        ({"item_inter_num_interval": "5"}, "expected intervals such as"),
        ({"item_inter_num_interval": "[5,four]"}, "expected intervals such as"),
        ({"item_inter_num_interval": "[9,5]"}, "expected intervals such as"),
        ({"item_inter_num_interval": ""}, "expected intervals such as"),
        ({"val_interval": {"rating": 3}}, "val_interval: rating=3: expected intervals such as"),
        ({"clip_grad_norm": {"max": 1}}, r"teacher.clip_grad_norm=.*expected \{max_norm: 5.0\}"),
        ({"student.clip_grad_norm": {"max_norm": -1}}, r"student.clip_grad_norm=.*above 0"),
    ],
)
def test_bad_settings_are_named_with_the_way_out(settings, message):
    with pytest.raises(BDError, match=message) as error:
        resolve(settings)
    assert "\n" not in str(error.value)


def test_a_bad_value_in_a_file_names_the_file(tmp_path):
    for text in ("epochs: many", "teacher: {epochs: many}", "backbones: {BPR: {student: {epochs: many}}}"):
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"epochs='many': expected int \(.*mine.yaml\)"):
            BDConfig(config_file_list=[tmp_path / "mine.yaml"], methods=METHODS)


def test_wandb_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(evaluation_settings.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="log_wandb=True: wandb is not installed"):
        make_config(log_wandb=True)


def test_intervals_as_recbole_writes_them():
    config = make_config(user_inter_num_interval="(0,1];[3,inf)", val_interval={"rating": "[3,inf)", "user_id": ["a"]})
    assert config["user_inter_num_interval"] == "(0,1];[3,inf)"


def test_unknown_models_are_suggested():
    with pytest.raises(RoleError, match=r"Did you mean BPR\?"):
        make_config(teacher_model="BRP")
    with pytest.raises(RoleError, match="no method of this package"):
        make_config(model="BDD")


def test_dotted_keys():
    assert expand_dotted({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
    assert expand_dotted({"a": {"b": 1}, "a.c": 2}) == {"a": {"b": 1, "c": 2}}
    with pytest.raises(ConfigError, match="a value as well as"):
        expand_dotted({"a": 1, "a.b": 2})


def test_the_command_gives_the_same_settings_however_they_were_given(tmp_path):
    import shlex

    from recbole_bd.cli.main import parse_arguments

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
