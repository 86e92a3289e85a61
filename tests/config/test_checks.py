"""Checks of settings: what is unknown, of the wrong type or out of range is named with the way out."""

import pytest

from recbole_bd.config.config import BDConfig
from recbole_bd.errors import BDError, ConfigError, RoleError
from recbole_bd.model import METHODS
from tests.helpers.settings import make_config


def resolve(settings):
    config = make_config(settings)
    for role in config.backbones:
        config.role(role)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 3}, r"unknown setting temprature .*Did you mean temperature\?.*--help"),
        ({"teacher.embeding_size": 3}, r"teacher.embeding_size .*Did you mean embedding_size\?"),
        ({"teacher_list": "lists.tsv"}, r"Did you mean teacher_lists\?"),
        ({"n_layers": 2}, "unknown setting n_layers"),  # of LightGCN, which plays no role here
        ({"temperature": "hot"}, "temperature='hot': expected float; write e.g. temperature=1.0, the default"),
        ({"temperature": -1}, r"temperature=-1: must be in \(0, inf\)"),
        ({"temperature": float("nan")}, "temperature=nan: must be a finite number"),
        ({"learning_rate": 0}, r"learning_rate=0: must be in \(0, inf\)"),
        ({"student.weight_decay": -0.1}, r"student.weight_decay=-0.1: must be in \[0, inf\)"),
        ({"teacher.embedding_size": 0}, r"must be in \[1, inf\)"),
        ({"controls": "placebo"}, r"controls='placebo': expected list; write \[placebo\]"),
        ({"epochs": 1.5}, "epochs=1.5: expected int; write e.g. epochs="),
        ({"epochs": None}, "epochs is empty: expected int; write e.g. epochs="),
        ({"studnt.embedding_size": 8}, r"unknown setting studnt .*Did you mean student\?"),
        ({"teacher.topk": [3]}, "applies to both roles"),
        ({"student.exchange_at": "users"}, r"student.exchange_at: is a setting of the run, .* set it at the top level"),
        ({"teacher.temperature": 2}, "set temperature or temperature_student_to_teacher at the top level"),
        ({"backbones.BPR.student.distill_epochs": 2}, r"backbones.BPR.student.distill_epochs: is a setting of the run"),
        ({"teacher": 5}, "expected a block"),
        ({"sampling": "best"}, "must be one of rank_discrepancy, uniform, top"),
        ({"valid_metric": "NDCG@20"}, "must be one of the metrics"),
        ({"metrics": ["Foo"]}, r"unknown metric 'Foo'\. Available metrics: .*recall"),
        ({"topk": [0]}, "positive"),
        ({"student.learner": "sdg"}, "must be one of adam"),
        ({"device": "tpu"}, "expected cpu, cuda"),
        ({"model": "BPR", "teacher.embedding_size": 3}, "trained alone"),
        ({"eval_args": {"mode": "best"}}, "eval_args"),
        ({"backbones": {"BPR": {"pupil": {}}}}, "under teacher or student"),
        ({"dataset": "../evil"}, "expected a name"),
        ({"valid_metric": None}, "expected one of the metrics at one of topk, such as NDCG@10"),
        ({"threads": 1_000_000}, r"must be in \[1, 1024\]"),
        (
            {"eval_args": {"mod": "full"}},
            r"unknown key 'mod'. Did you mean mode\? Known keys: split, group_by, order",
        ),
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
        with pytest.raises(
            ConfigError, match=r"epochs='many': expected int; write e.g. .*epochs=300, the default \(.*mine.yaml\)"
        ):
            BDConfig(config_file_list=[tmp_path / "mine.yaml"], methods=METHODS)


def test_unknown_models_are_suggested():
    with pytest.raises(RoleError, match=r"Did you mean BPR\?"):
        make_config(teacher_model="BRP")
    with pytest.raises(RoleError, match="is not a method of this package"):
        make_config(model="BDD")


@pytest.mark.parametrize("name", ["DIN", "S3Rec", "DeepFM", "KGAT"])
def test_models_without_a_role_are_refused_with_another_to_choose(name):
    for key in ("model", "student_model"):
        with pytest.raises(RoleError) as error:
            make_config({key: name})
        assert str(error.value).startswith(f"model={name}: {name} " if key == "model" else f"{name} ")
        assert "SASRec" in str(error.value)
        assert "\n" not in str(error.value)


def test_the_nearest_models_are_one_list_nearest_first():
    with pytest.raises(
        RoleError, match=r"no model of RecBole\. Did you mean RRD or RD\b.*\? Available models: ADMMSLIM"
    ):
        make_config(model="RRDD")


def test_a_setting_of_other_models_names_them():
    with pytest.raises(ConfigError, match=r"n_factors .* only these have it: DGCF\."):
        make_config(n_factors=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbones": 5}, "backbones=5: expected {model: {teacher: {...}, student: {...}}}"),
        ({"backbones": {"BPR": 5}}, "backbones.BPR=5: expected blocks teacher and student (config_dict)"),
        ({"topk": [float("nan")]}, "topk=[nan]: must contain finite numbers only"),
        ({"load_col": {"inter": float("nan")}}, "load_col: inter=nan: expected a list of columns, or '*' for all"),
    ],
)
def test_blocks_and_lists_are_checked_inside(settings, message):
    with pytest.raises(ConfigError) as error:
        make_config(settings)
    assert str(error.value) == message


def test_a_backbone_without_settings_is_allowed():
    assert make_config({"backbones": {"BPR": None}}).role("teacher")["embedding_size"] == 64
