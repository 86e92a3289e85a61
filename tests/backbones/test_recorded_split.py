"""Splits compared by RecBole's settings."""

import inspect
import re

import pytest
from recbole.data.dataset import Dataset

from recbole_bd.backbones import recorded_split
from recbole_bd.backbones.recorded_split import (
    check_recorded_split,
    check_validation,
    differences,
    recorded_validation,
)
from recbole_bd.errors import CheckpointError
from tests.helpers.settings import alone, make_config

FIXED = {"benchmark_filename": ["train", "valid", "test"]}
IN_TIME = {"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "order": "TO", "mode": "full"},
           "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}  # fmt: skip
FIRST = {"rm_dup_inter": "first"}


def arguments(**changes):
    return {
        "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "order": "RO", "mode": "full"} | changes
    }


def settings_of(quick, **changes):
    """RecBole's settings of a model trained alone."""
    return make_config({**alone(quick), "model": "BPR", **changes}).role("model").final_config_dict


@pytest.mark.parametrize(
    ("base", "changes", "named"),
    [
        ({}, {"seed": 7}, "seed is 7 there and 2020 here"),
        ({}, {"USER_ID_FIELD": "item_id", "ITEM_ID_FIELD": "user_id"}, "USER_ID_FIELD is 'item_id' there"),
        ({}, FIXED, "benchmark_filename is ['train', 'valid', 'test'] there and None here"),
        (FIXED, {"benchmark_filename": ["train", "test", "valid"]}, "benchmark_filename is"),
        ({}, {"rm_dup_inter": "first"}, "rm_dup_inter is 'first' there and None here"),
        ({}, {"val_interval": {"rating": "[4,inf)"}}, "val_interval is {'rating': '[4,inf)'} there"),
        ({}, {"threshold": {"rating": 4}}, "threshold is {'rating': 4} there"),
        ({}, {"user_inter_num_interval": "[5,inf)"}, "user_inter_num_interval is '[5,inf)' there and None here"),
        ({}, {"item_inter_num_interval": "[5,inf)"}, "item_inter_num_interval is '[5,inf)' there and None here"),
        ({}, {"filter_inter_by_user_or_item": False}, "filter_inter_by_user_or_item is False there and True here"),
        ({}, {"alias_of_item_id": ["session"]}, "alias_of_item_id is ['session'] there"),
        ({}, {"additional_feat_suffix": ["emb"]}, "additional_feat_suffix is ['emb'] there"),
        ({}, {"load_col": {"inter": ["user_id", "item_id"], "item": ["item_id"]}}, "load_col is ['item'] there and []"),
        ({}, arguments(split={"RS": [0.7, 0.2, 0.1]}), "eval_args.split is {'RS': [0.7, 0.2, 0.1]} there"),
        ({}, arguments(split={"LS": "valid_and_test"}), "eval_args.split is {'LS': 'valid_and_test'} there"),
        ({}, arguments(group_by="none"), "eval_args.group_by is None there and 'user' here"),
        ({}, IN_TIME, "eval_args.order is 'TO' there and 'RO' here"),
        (IN_TIME, {"TIME_FIELD": "other"}, "TIME_FIELD is 'other' there and 'timestamp' here"),
        (IN_TIME, {"normalize_all": True}, "normalize_all is True there and None here"),
        (IN_TIME | FIRST, {"load_col": {"inter": ["user_id", "item_id"]}} | arguments(), "eval_args.order is 'RO'"),
        (FIRST, {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}, "TIME_FIELD is 'timestamp' there"),
    ],
)  # fmt: skip
def test_what_changes_a_split_is_named(base, changes, named, quick):
    own = settings_of(quick, **base)
    found = list(differences({**settings_of(quick, **base), **changes}, own))
    assert any(named in text for text in found), found
    assert not list(differences(own, own))
    with pytest.raises(CheckpointError) as error:
        check_recorded_split("checkpoint t.pth", {**own, **changes}, own, "teacher")
    message = str(error.value)
    assert message.startswith("checkpoint t.pth was trained on another split, so it may know test rows: ")
    of_seeds = [text for text in found if text.startswith("seed is ") and not text.startswith("seed is None there")]
    assert ("use the same settings (--split_seed=" in message) == bool(of_seeds)
    assert message.endswith(", or --teacher.checkpoint_split=trusted if you know that it saw no "
                            "validation or test rows of this run")  # fmt: skip
    check_recorded_split("checkpoint t.pth", {**own, **changes}, {**own, "checkpoint_split": "trusted"}, "teacher")


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (FIXED, {"seed": 7}),
        (FIXED, arguments(order="TO")),
        (IN_TIME, {"seed": 7}),
        ({}, {"TIME_FIELD": "other"}),
        ({}, {"normalize_all": True}),
        ({}, {"load_col": {"inter": ["user_id", "item_id", "rating"]}}),
        ({}, arguments(split={"RS": [8, 1, 1]})),
        ({}, arguments(mode={"valid": "uni10", "test": "uni10"})),
        (arguments(group_by="none"), arguments(group_by=None)),
        (arguments(split={"LS": "valid_and_test"}), arguments(split={"LS": "valid_and_test"}, group_by="none")),
        ({"user_inter_num_interval": "[5,inf)"}, {"user_inter_num_interval": "[5, inf)"}),
        ({}, {"user_inter_num_interval": None, "item_inter_num_interval": "[1,inf)"}),
        ({}, {"data_path": "/elsewhere/d/blocks", "train_batch_size": 7, "topk": [3], "RATING_FIELD": "stars"}),
    ],
)
def test_what_changes_no_split_is_no_difference(base, changes, quick):
    own = settings_of(quick, **base)
    assert not list(differences({**own, **changes}, own))


def test_the_seed_of_a_split_is_the_one_that_divides(quick):
    own = {**settings_of(quick), "split_seed": 5}
    assert list(differences({**own, "split_seed": None}, own)) == ["seed is 2020 there and 5 here"]
    assert not list(differences({**own, "seed": 7}, own))
    of_recbole = {key: value for key, value in own.items() if key != "split_seed"}
    assert not list(differences({**of_recbole, "seed": 5}, own))


def test_a_file_without_settings_is_not_known_to_be_of_this_split(quick):
    own = settings_of(quick)
    incomplete = {key: value for key, value in own.items() if key != "eval_args"}
    for recorded in (None, {}, incomplete):
        with pytest.raises(CheckpointError) as error:
            check_recorded_split("checkpoint m.pth", recorded, own, "model")
        assert str(error.value) == (
            "checkpoint m.pth does not record the split it was trained on; use --checkpoint_split=trusted if you know "
            "that it saw no validation or test rows of this run"
        )
    # Any other missing setting is null, as RecBole reads it: here it is no difference, or one that is named.
    older = {key: value for key, value in own.items() if key not in ("rm_dup_inter", "threshold")}
    check_recorded_split("checkpoint m.pth", older, own, "model")
    with pytest.raises(CheckpointError, match="seed is None there and 2020 here"):
        check_recorded_split("x", {key: value for key, value in own.items() if key != "seed"}, own, "model")


def test_many_differences_are_counted(quick):
    own = settings_of(quick)
    other = {**own, "seed": 1, "rm_dup_inter": "x" * 99, "threshold": {"a": 1}, "alias_of_user_id": ["a"]}
    with pytest.raises(
        CheckpointError, match=r"rm_dup_inter is 'x{56}\.\.\. there .* and 1 more; use the same settings"
    ):
        check_recorded_split("x", other, own, "model")


def test_every_setting_that_recboles_dataset_reads_is_compared_or_makes_no_split():
    """A split is made by Dataset alone: a new key there must be judged."""
    read = set(re.findall(r"""config\[\s*["'](\w+)["']""", inspect.getsource(Dataset)))
    compared = {*recorded_split._ROWS, *recorded_split._TIMES, "eval_args", "load_col", "unload_col"}
    elsewhere = {"dataset"}  # compared before
    no_split = {
        "checkpoint_dir", "data_path", "encoding", "field_separator", "seq_separator",  # where and how files are
        "LABEL_FIELD", "numerical_features", "preload_weight", "seq_len", "unused_col",  # columns that choose no row
        "local_rank",
    }  # fmt: skip
    assert read == (compared - {"alias_of_user_id", "alias_of_item_id"}) | elsewhere | no_split


SCORED = {"settings": {"valid_metric": "NDCG@5", "repeatable": False, "eval_args": {"mode": "full"}},
          "best_valid_score": 0.5}  # fmt: skip


@pytest.mark.parametrize(
    ("about", "changes", "expected"),
    [
        ({}, {}, {"ndcg@5": 0.5}),
        ({"best_valid_score": None}, {}, {}),
        ({"settings": None}, {}, {}),
        ({}, {"valid_metric": "Hit@5"}, {}),
        ({}, {"repeatable": True}, {}),
        ({}, arguments(mode="uni10"), {}),
        ({"settings": SCORED["settings"] | {"eval_args": {"mode": {"valid": "uni10", "test": "full"}}}}, {}, {}),
    ],
)
def test_a_validation_is_compared_where_the_same_is_measured(about, changes, expected, quick):
    assert recorded_validation(SCORED | about, settings_of(quick, **changes)) == expected
    assert not recorded_validation(SCORED | about, settings_of(quick, **changes) | {"checkpoint_split": "trusted"})


@pytest.mark.parametrize(
    ("recorded", "measured", "fits"),
    [(0.5, 0.5, True), (0.5, 0.52, True), (0.5, 0.53, False), (0.5, 0.1, False), (0.01, 0.019, True),
     (0.05, 0.88, False)],
)  # fmt: skip
def test_a_model_that_is_too_good_here_is_refused(recorded, measured, fits):
    given = ("checkpoint t.pth", {"mrr@10": recorded}, {"mrr@10": measured, "hit@10": 1.0}, "student")
    if fits:
        check_validation(*given)
        return
    with pytest.raises(CheckpointError) as error:
        check_validation(*given)
    assert f"t.pth records mrr@10 {recorded:.4f} on its validation part, but has {measured:.4f} on" in str(error.value)
    assert "--student.checkpoint_split=trusted" in str(error.value)
