"""Settings that nothing reads: every key of RecBole is read, refused or told."""

import logging

import pytest
from recbole.config import Config

from recbole_bd import run_bd
from recbole_bd.config.config import BDConfig
from recbole_bd.config.known_options import recbole_options
from recbole_bd.config.unread_keys import NOT_READ, READ, READ_IF, REFUSED, settings_notes
from recbole_bd.config.yaml_text import to_yaml
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS
from tests.helpers.data import write_inter
from tests.helpers.settings import make_config

# Values that are not the default, for the keys whose type does not give one.
OTHERS = {
    "threshold": {"rating": 4}, "seq_len": {"a": 3}, "preload_weight": {"a": "b"}, "valid_metric_bigger": False,
    "discretization": {"a": {"method": "LD"}}, "train_neg_sample_args": {"sample_num": 2}, "learner": "sgd",
    "clip_grad_norm": {"max_norm": 5.0}, "normalize_all": True, "tail_ratio": 0.2, "transform": "mask_itemseq",
    "entity_kg_num_interval": "[1,inf)", "relation_kg_num_interval": "[1,inf)",
}  # fmt: skip
IN_TIME = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}


def other_value(key):
    option = recbole_options()[key]
    if key in OTHERS:
        return OTHERS[key]
    if isinstance(option.default, bool):
        return not option.default
    if isinstance(option.default, int | float):
        return option.default + 1
    return ["a"] if "list" in option.types and "str" not in option.types else "other"


def test_every_key_of_recbole_is_read_refused_or_told():
    groups = [READ, set(NOT_READ), set(READ_IF), REFUSED]
    assert set().union(*groups) == recbole_options().keys()
    assert sum(map(len, groups)) == len(recbole_options())


def test_patience_beside_its_replacement_is_told():
    def told(**more):
        found = settings_notes(make_config({"dataset": "blocks", "device": "cpu", "eval_step": 2, **more}))
        return [note for note in found if "stopping" in note]

    both = {"stopping_epochs": 40, "stopping_step": 7}
    said = "stopping_step=7 is not read in this run: stopping_epochs=40 replaces it"
    assert told(**both) == [said]
    assert told(**{f"student.{key}": value for key, value in both.items()}) == [f"student.{said}"]
    assert told(**{**both, "stopping_step": 20}) == told(stopping_step=7) == told(stopping_epochs=40) == []
    alone = "stopping_epochs=40 is not read in this run: no model is trained by it"
    assert told(model="EASE", stopping_epochs=40) == [alone]


def test_a_condition_that_is_null_is_written_as_in_files():
    settings = {"dataset": "blocks", "device": "cpu", "sampling": "uniform", "sampling_student_to_teacher": "top"}
    said = "sampling_student_to_teacher='top' is not read in this run: it is read with sampling: ~"
    assert said in settings_notes(make_config(settings))


@pytest.mark.parametrize("key", [*NOT_READ, *READ_IF])
def test_a_key_that_nothing_reads_is_told_by_name(key):
    settings = {"model": "EASE", "dataset": "blocks", "device": "cpu", key: other_value(key)}
    if key == "threshold":
        settings |= {"load_col": {"inter": ["user_id", "item_id", "rating"]}}
        with pytest.raises(
            ConfigError, match=r"threshold=.*would count as positives.*val_interval: {rating: '.4,inf.'}"
        ):
            make_config(settings)
        return
    if key == "train_neg_sample_args":
        settings["model"] = "MultiVAE"
    notes = settings_notes(make_config(settings))
    assert [note for note in notes if note.startswith(f"{key}={other_value(key)!r} is not read in this run: ")] == notes
    assert len(notes) == 1


@pytest.mark.parametrize("key", REFUSED)
def test_a_key_that_only_other_models_could_read_is_refused(key):
    with pytest.raises(ConfigError, match=f"{key}=.*models that need it, such as BERT4Rec, set it; leave it out"):
        make_config({key: other_value(key)})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"wandb_project": "mine"}, 1),
        ({"learning_rate_decay": 0.5}, 0),
        ({"learning_rate_decay": 0.5, "epochs": 0}, 1),
        ({"learning_rate_decay": 0.5, "student.epochs": 0}, 0),
        ({"student.learning_rate_decay": 0.5, "student.checkpoint": "student.pth", "student.epochs": 9}, 2),
        ({"learning_rate_decay": 0.5, "student.checkpoint": "student.pth"}, 0),
        ({"learning_rate_decay": 0.5, "epochs": 3, "model": "BPR"}, 0),
        ({"distill_learning_rate": 0.5, "controls": ["placebo"], "placebo": "self", "distill_epochs": 0}, 3),
        ({"stop_on": "student", "rest_at_best": False, "distill_weight_decay": 1.0, "distill_epochs": 0}, 3),
        ({"controls": ["placebo"], "lambda_teacher_to_student": 0, "lambda_student_to_teacher": 0}, 1),
        (
            {
                "controls": ["placebo"],
                "placebo": "self",
                "directions": "teacher_to_student",
                "lambda_teacher_to_student": 0,
            },
            2,
        ),
        ({"controls": ["placebo"], "placebo": "self", "lambda_teacher_to_student": 0}, 0),
        ({"wandb_project": "mine", "loggers": ["wandb"]}, 0),
        ({"wandb_project": "mine", "log_wandb": True}, 0),
        ({"RATING_FIELD": "stars"}, 1),
        ({"RATING_FIELD": "stars", "student_model": "DMF"}, 0),
        ({"require_pow": True}, 1),
        ({"require_pow": True, "teacher_model": "LightGCN"}, 0),
        ({"normalize_all": True, "student_model": "DMF"}, 0),
        ({"alias_of_item_id": ["twin"]}, 1),
        ({"alias_of_item_id": ["twin"], "load_col": {"inter": ["user_id", "item_id", "twin"]}}, 0),
        ({"tail_ratio": 0.2}, 1),
        ({"tail_ratio": 0.2, "metrics": ["TailPercentage"], "valid_metric": "TailPercentage@10"}, 0),
        ({"train_neg_sample_args": {"alpha": 0.5}}, 2),
        ({"train_neg_sample_args": {"alpha": 0.5, "distribution": "popularity"}}, 0),
        ({"train_neg_sample_args": {"candidate_num": 5}}, 2),
        ({"train_neg_sample_args": {"candidate_num": 5, "dynamic": True}}, 0),
        ({"student_model": "CDAE", "student.train_neg_sample_args": {"sample_num": 2}}, 1),
        ({"student_model": "CDAE", "train_neg_sample_args": {"sample_num": 2}}, 0),
        ({"student_model": "CDAE", "student.negatives_leak_held_out": True}, 1),
        ({"own_loss": "softmax", "negatives_leak_held_out": True}, 1),
        ({"student_model": "CDAE", "negatives_leak_held_out": True}, 0),
        ({"student_model": "CDAE", "student": {"loss_items": "sampled", "negatives_leak_held_out": True}}, 0),
        ({"model": "CDAE", "loss_items": "sampled", "train_neg_sample_args": {"sample_num": 5}}, 0),
        ({"exchange": "pointwise", "samples_of_user": "own"}, 1),
        ({"exchange": "pointwise", "samples_of_user": "own", "teacher_model": "CDAE"}, 0),
        ({"student_model": "DMF", "student.embedding_size": 5}, 1),
        ({"model": "DMF", "embedding_size": 5}, 1),
        ({"model": "BPR", "embedding_size": 5}, 0),
        ({"model": "RRD", "teacher_model": "ItemKNN", "teacher.learning_rate": 0.5}, 1),
        ({"model": "RRD", "teacher.distill_learning_rate": 0.5}, 1),
        ({"model": "RRD", "teacher.distill_learning_rate_decay": 0.5}, 1),
        ({"model": "BPR", "distill_learning_rate_decay": 0.5}, 1),
        ({"model": "BPR", "learning_rate_decay": 0.5}, 0),
        ({"model": "ItemKNN", "learning_rate_decay": 0.5}, 1),
        ({"learning_rate_decay": 0.5, "student.distill_learning_rate_decay": 0.5}, 0),
        ({"split_seed": 7}, 0),
        ({"model": "BPR", "split_seed": 7}, 0),
        ({"split_seed": 7, **IN_TIME, "eval_args": {"order": "TO"}}, 1),
        ({"split_seed": 7, "benchmark_filename": ["a", "b", "c"]}, 1),
        ({"split_seed": 7, **IN_TIME, "eval_args": {"order": "TO", "mode": {"valid": "uni9", "test": "full"}}}, 0),
        ({"ranked_items": 5}, 1),
        ({"ranked_items": 5, "rank_precision": "sampled"}, 0),
        ({"lambda_warmup_epochs": 3}, 1),
        ({"lambda_warmup_epochs": 3, "lambda_schedule": "linear"}, 0),
        ({"lambda_student_to_teacher": 3, "directions": "teacher_to_student"}, 1),
        ({"lambda_student_to_teacher": 3, "directions": "student_to_teacher"}, 0),
        ({"sampling_teacher_to_student": "top", "sampling": "uniform"}, 1),
        ({"sampling_teacher_to_student": "top"}, 0),
        ({"softmax_l2": 0.1}, 1),
        ({"softmax_l2": 0.1, "student.own_loss": "softmax"}, 0),
        ({"student.softmax_l2": 0.1, "teacher.own_loss": "softmax"}, 1),
        ({"model": "BPR", "softmax_l2": 0.1}, 1),
        ({"model": "BPR", "softmax_l2": 0.1, "own_loss": "softmax", "weights_average": 0.9}, 0),
        ({"own_loss": "softmax", "train_neg_sample_args": {"sample_num": 2}}, 1),
        ({"student.own_loss": "softmax", "train_neg_sample_args": {"sample_num": 2}}, 0),
        ({"model": "MF", "biases": True}, 0),
        ({"placebo": "constant"}, 1),
        ({"placebo": "constant", "controls": ["placebo"]}, 0),
        ({"guide_constant": 0.2}, 1),
        ({"guide_constant": 0.2, "guide": "constant"}, 1),  # both directions are listwise
        ({"guide_constant": 0.2, "guide": "constant", "exchange": "pointwise"}, 0),
        ({"guide_constant": 0.2, "exchange_teacher_to_student": "pointwise", "controls": ["placebo"]}, 0),
        ({"ranks_of": "learner"}, 1),
        ({"ranks_of": "learner", "guide": "self"}, 0),
        ({"ranks_of": "learner", "guide_teacher_to_student": "self"}, 1),  # its items are of its own list
        ({"ranks_of": "learner", "controls": ["placebo"]}, 0),
        ({"control": False}, 0),
        ({"model": "BPR", "control": False, "placebo": "self"}, 2),
        ({"model": "RD", "position_temperature": 3, "position_weights": False}, 1),
        ({"model": "RD", "dynamic_samples": 3, "dynamic_weights": False}, 1),
        ({"model": "RRD", "rank_temperature": 3, "interesting": "top"}, 1),
        ({"model": "CD", "refresh_period": 3, "guide": "teacher"}, 1),
        ({"model": "CD", "refresh_period": 3}, 0),
        ({"model": "BPR", "distill_epochs": 3, "student_model": "DMF"}, 2),
        ({"model": "BPR", "distill_epochs": 3, "beside": ["BD"]}, 0),
        ({"teacher.checkpoint": "a.pth", "teacher.epochs": 3}, 1),
        ({"teacher.checkpoint": "a.pth", "teacher.own_loss": "softmax"}, 0),
        ({"model": "RD", "teacher.checkpoint": "a.pth", "teacher.own_loss": "softmax"}, 1),
        ({"load_col": {"inter": ["user_id", "item_id"], "kg": "*"}}, 1),
        ({"eval_args": {"order": "TO", "group_by": "none"}, "benchmark_filename": ["a", "b", "c"]}, 2),
        ({"eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "none"}}, 1),
        ({"eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user"}}, 0),
        ({"eval_args": {"split": {"TS": [0.8, 0.1, 0.1]}, "group_by": None, "order": "TO"}, **IN_TIME}, 1),
        ({"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "none"}}, 0),
        ({"model": "ENMF", "train_neg_sample_args": None}, 0),
        ({"save_dataset": False, "normalize_all": None, "valid_metric_bigger": True}, 0),
    ],
)
def test_what_is_told_depends_on_the_run(settings, told):
    notes = settings_notes(make_config({"dataset": "blocks", **settings}))
    assert len(notes) == told, notes


LABELED = {"eval_args.mode": "labeled", "load_col": {"inter": ["user_id", "item_id", "label"]}}


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        (
            {"metrics": ["AUC"], "model": "BPR"},
            ["eval_args: mode: labeled: BPR takes every training row as a positive"],
        ),
        ({"metrics": ["AUC"]}, ["eval_args: mode: labeled: BPR takes every training row as a positive"]),
        ({"metrics": ["AUC"], "model": "NeuMF", "train_neg_sample_args": None}, []),
        (
            {"metrics": ["AUC", "LogLoss", "RMSE"], "model": "BPR"},
            [
                "eval_args: mode: labeled: BPR takes",
                "metrics: LogLoss, RMSE compare labels with scores, and scores of BPR",
            ],
        ),
        ({"metrics": ["AUC", "LogLoss"], "model": "NeuMF", "train_neg_sample_args": None}, []),
    ],
)
def test_labels_and_metrics_that_mean_less_than_they_seem_are_told(settings, notes):
    found = settings_notes(make_config({"dataset": "blocks", "valid_metric": "AUC", **LABELED, **settings}))
    assert len(found) == len(notes)
    assert all(note.startswith(begin) for note, begin in zip(found, notes, strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dataset": "ml-100k", "model": "RRD", "teacher_model": "ItemKNN"},
        {
            "dataset": "citeulike",
            "teacher_model": "NeuMF",
            "student_model": "CDAE",
            "train_neg_sample_args.sample_num": 2,
        },
        {"dataset": "ml-1m", "model": "EASE"},
        {"model": "NeuMF", "metrics": ["RMSE", "AUC"], "valid_metric": "RMSE", "eval_args.mode": "uni5"},
        {"model": "BPR", "seed": 5},
    ],
)
def test_a_written_configuration_is_read_back_in_silence(settings, tmp_path):
    first = make_config(settings)
    assert settings_notes(first) == []
    (tmp_path / "config.yaml").write_text(to_yaml(first.as_dict()))
    again = BDConfig(config_file_list=[tmp_path / "config.yaml"], methods=METHODS)
    assert settings_notes(again) == []


# Read otherwise than by `config[key]`: from the plain mappings, or as an attribute.
_READ_OTHERWISE = {"gpu_id", "log_wandb"}


@pytest.mark.slow
def test_what_every_run_reads_is_read(quick, tmp_path, monkeypatch):
    pairs = [(u, i, 1) for u in range(20) for i in range(u % 4, 40, 4)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    write_inter(tmp_path, "seen", pairs, header=header)
    asked = set()
    read = Config.__getitem__

    def recorded(self, key):
        asked.add(key)
        return read(self, key)

    def unrecorded(self):
        with monkeypatch.context() as undone:
            undone.setattr(Config, "__getitem__", read)
            return as_dict(self)

    as_dict = BDConfig.as_dict
    monkeypatch.setattr(BDConfig, "as_dict", unrecorded)
    monkeypatch.setattr(Config, "__getitem__", recorded)
    run_bd(config_dict={**quick, "dataset": "seen", "data_path": str(tmp_path), "epochs": 1, "distill_epochs": 1})
    assert READ - asked <= _READ_OTHERWISE
    never = set(NOT_READ) - asked
    assert {"save_dataset", "dataset_save_path", "config_file", "kg_reverse_r"} <= never


def test_the_notes_are_at_the_end_of_the_preview(quick, cli):
    given = [f"--{key}={quick[key]}" for key in ("dataset", "data_path", "device")]
    code, out, _ = cli(
        "run",
        *given,
        "--topk=5",
        "--valid_metric=MRR@5",
        "--student.embedding_size=8",
        "--save_dataset=True",
        "--dry-run",
    )
    assert code == 0
    told = "warning: save_dataset=True is not read in this run: the data set is always read from its files"
    assert out.splitlines()[-1] == told


def test_the_notes_are_in_the_log_of_a_run(quick, caplog):
    settings = {key: value for key, value in quick.items() if "." not in key and key != "refresh_period"}
    run_bd("ItemKNN", config_dict={**settings, "seq_len": {"a": 3}, "beside": ["BD"]})
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "seq_len={'a': 3} is not read in this run: only models that read features of users and items use it" in told
