"""The inside of RecBole's blocks: names, types and ranges."""

import pytest

from recbole_bd.config.config import BDConfig
from recbole_bd.config.recbole_blocks import check_inside
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS
from tests.helpers.settings import make_config

COUNT = "must be a whole number from 1 to 100,000"
LIST = "expected a list of columns, or '*' for all"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_neg_sample_args", {"sample_num": 0}, f": sample_num=0: {COUNT}"),
        ("train_neg_sample_args", {"sample_num": 1.5}, f": sample_num=1.5: {COUNT}"),
        ("train_neg_sample_args", {"sample_num": True}, f": sample_num=True: {COUNT}"),
        ("train_neg_sample_args", {"sample_num": 10**6}, f": sample_num=1000000: {COUNT}"),
        (
            "train_neg_sample_args",
            {"candidate_num": -1},
            ": candidate_num=-1: must be a whole number from 0 to 100,000",
        ),
        ("train_neg_sample_args", {"alpha": "x"}, ": alpha='x': must be a number from -10 to 10"),
        ("train_neg_sample_args", {"alpha": float("nan")}, ": alpha=nan: must be a number from -10 to 10"),
        ("train_neg_sample_args", {"dynamic": 1}, ": dynamic=1: must be True or False"),
        (
            "train_neg_sample_args",
            {"dynamic": True},
            ": dynamic=True chooses among candidate_num items: set candidate_num, at least 1",
        ),
        (
            "train_neg_sample_args",
            {"distribution": "zipf"},
            ": distribution='zipf': must be one of uniform, popularity, or ~ for no negatives",
        ),
        (
            "train_neg_sample_args",
            {"sample_nun": 5},
            ": unknown key 'sample_nun'. Did you mean sample_num? Known keys: distribution, sample_num, alpha, "
            "dynamic, candidate_num",
        ),
        ("load_col", {"inter": "user_id"}, f": inter='user_id': {LIST}"),
        ("load_col", {"inter": [1]}, f": inter=[1]: {LIST}"),
        ("load_col", {1: "*"}, ": 1: expected a kind of file: inter, user, item, kg, link, net"),
        ("unload_col", {"user": "*"}, f": user='*': {LIST}"),
        ("unused_col", {"inter": None}, f": inter=None: {LIST}"),
        ("alias_of_user_id", ["a", 5], "=['a', 5]: expected a list of names, found 5"),
        ("normalize_field", [""], "=['']: expected a list of names, found ''"),
        ("val_interval", {5: "[1,2]"}, ": 5: expected the name of a column"),
        ("val_interval", {"a": [["b"]]}, ": a=[['b']]: expected a list of the ids to keep"),
        ("threshold", {"a": "4"}, "={'a': '4'}: expected a column and its lowest positive value, such as {rating: 4}"),
        ("threshold", {}, "={}: expected a column and its lowest positive value, such as {rating: 4}"),
        ("seq_len", {"a": 0}, ": a=0: expected {column: length} with a length of at least 1"),
        ("preload_weight", {"a": 1}, "={'a': 1}: expected {column of ids: column of vectors}"),
        ("discretization", {"a": 1}, ": a=1: expected {method: ED, bucket: 10} or {method: LD}"),
        (
            "discretization",
            {"a": {"method": "ED"}},
            ": a={'method': 'ED'}: expected {method: ED, bucket: 10} or {method: LD}",
        ),
        ("rm_dup_inter", "both", "='both': must be one of first, last, or ~ for none"),
        ("NEG_PREFIX", "", "='': must not be empty"),
        (
            "transform",
            "x",
            "='x': changes sequences; models that need it, such as BERT4Rec, set it; leave it out",
        ),
    ],
)
def test_a_wrong_inside_is_named_with_what_is_expected(key, value, message):
    with pytest.raises(ConfigError) as error:
        make_config({key: value})
    assert str(error.value) == key + message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_neg_sample_args", {"distribution": "popularity", "sample_num": 1, "alpha": 0, "dynamic": False}),
        ("load_col", {"inter": "*", "user": ["a"], "emb": []}),
        ("val_interval", {"a": "[1,2]", "b": ["x", 1]}),
        ("seq_len", {"a": 3}),
        ("discretization", {"a": {"method": "ED", "bucket": 3}, "b": {"method": "LD"}}),
        ("rm_dup_inter", "last"),
        ("rm_dup_inter", None),
        ("anything", object()),
    ],
)
def test_a_right_inside_is_accepted(key, value):
    check_inside(key, value, key)


def test_the_file_and_the_role_are_named(tmp_path):
    (tmp_path / "mine.yaml").write_text("student: {train_neg_sample_args: {sample_num: 0}}")
    with pytest.raises(ConfigError, match=rf"^student.train_neg_sample_args: sample_num=0: {COUNT} \(.*mine.yaml\)$"):
        BDConfig(config_file_list=[tmp_path / "mine.yaml"], methods=METHODS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"eval_args.mode": "labeled"},
            "eval_args: mode: labeled measures AUC, LogLoss, MAE and RMSE only; Recall needs full",
        ),
        (
            {"eval_args.mode": {"valid": "labeled", "test": "full"}},
            "mode: labeled measures AUC, LogLoss, MAE and RMSE only",
        ),
        ({"metrics": ["AUC"], "valid_metric": "AUC"}, "metrics: AUC cannot be measured with eval_args: mode: full"),
        (
            {"metrics": ["AUC", "Hit"], "valid_metric": "AUC"},
            "metrics: AUC compares scores with labels and Hit ranks items",
        ),
        ({"eval_args.mode": "uni"}, "eval_args: mode='uni': expected full, uniN, popN or labeled"),
        ({"eval_args.mode": "pop0"}, "eval_args: mode='pop0': expected full, uniN, popN or labeled"),
        ({"eval_args.mode": {"train": "full"}}, "eval_args: mode: unknown key 'train'. Known keys: valid, test"),
        (
            {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args.mode": "labeled"},
            r"eval_args: mode: labeled needs labels; name their column in LABEL_FIELD \(label\) and in load_col",
        ),
        (
            {"eval_args": {"split": {"TS": [8, 1, 1]}, "order": "TO"}},
            r"eval_args: needs the time of the interactions, .* TIME_FIELD \(timestamp\) and in load_col",
        ),
        ({"load_col": {"user": "*"}}, "load_col: lacks inter"),
        ({"unload_col": {"inter": ["a"]}}, "unload_col: inter: load_col lists the columns of this file already"),
        ({"unused_col": {"user": ["a"]}}, "unused_col: user: load_col names no column of such a file"),
        ({"unused_col": {"inter": ["item_id"]}}, "unused_col: inter=.*: item_id is the column of ids and is used"),
        (
            {"normalize_all": True, "normalize_field": ["a"]},
            "normalize_all=True: normalize_field names columns already",
        ),
        ({"ITEM_ID_FIELD": "user_id"}, "ITEM_ID_FIELD='user_id': is the column of ids as well"),
        ({"LABEL_FIELD": None, "eval_args.mode": "uni5"}, "LABEL_FIELD=None: must name the column of labels"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config({"model": "BPR", "dataset": "blocks", **settings})
