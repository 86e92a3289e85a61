"""Settings that RecBole 0.x and 1.0 had under other names, each with the setting of today."""

from typing import Any

_NEGATIVES = "train_neg_sample_args: {distribution: uniform, sample_num: 1}"
_SPLIT = "eval_args: {split: {RS: [0.8, 0.1, 0.1]}, group_by: user, order: RO, mode: full}"
_TODAY = "is not a setting of today's RecBole; write"

# Today's setting for each name of before, as a user writes it in a file.
RENAMED = {
    "neg_sampling": _NEGATIVES,
    "training_neg_sample_num": "train_neg_sample_args: {sample_num: 1}",
    "training_neg_sample_distribution": "train_neg_sample_args: {distribution: uniform}",
    "eval_setting": _SPLIT,
    "group_by_user": "eval_args: {group_by: user}",
    "split_ratio": "eval_args: {split: {RS: [0.8, 0.1, 0.1]}}",
    "leave_one_num": "eval_args: {split: {LS: valid_and_test}}",
    "eval_neg_sample_args": "eval_args: {mode: uni100}",
    "valid_neg_sample_args": "eval_args: {mode: {valid: uni100}}",
    "test_neg_sample_args": "eval_args: {mode: {test: uni100}}",
    "min_user_inter_num": 'user_inter_num_interval: "[5,inf)"',
    "max_user_inter_num": 'user_inter_num_interval: "[0,100]"',
    "min_item_inter_num": 'item_inter_num_interval: "[5,inf)"',
    "max_item_inter_num": 'item_inter_num_interval: "[0,100]"',
    "lowest_val": 'val_interval: {rating: "[3,inf)"}',
    "highest_val": 'val_interval: {rating: "(-inf,3]"}',
    "equal_val": 'val_interval: {rating: "[3,3]"}',
    "not_equal_val": 'val_interval: {rating: "(-inf,3);(3,inf)"}',
    "fields_in_same_space": "alias_of_user_id: [column] or alias_of_item_id: [column]",
    "drop_filter_field": "unused_col: {inter: [rating]}",
    "drop_preload_weight": "unused_col: {inter: [rating]}",
    "draw_loss_pic": "nothing: every run draws its curves",
    "real_time_process": "nothing: batches are always made as they are needed",
    "nproc": "--nproc=N on the command line",
}
# Names inside `train_neg_sample_args` in RecBole 1.0, where {uniform: 1} was the whole block.
_OLD_BLOCK = ("uniform", "popularity", "by", "strategy")


def todays_setting(key: str) -> str:
    """Say what to write instead of a setting of RecBole 0.x or 1.0; empty for any other key."""
    return f"{_TODAY} {RENAMED[key]}" if key in RENAMED else ""


def todays_negatives(key: str, value: Any) -> str:
    """Say how `{uniform: 1}`, RecBole 1.0's form of negatives, is written today; empty for any other key.

    Args:
        key: a key inside `train_neg_sample_args`.
        value: its value: the number of negatives.
    """
    if key not in _OLD_BLOCK:
        return ""
    distribution = key if key in _OLD_BLOCK[:2] else "uniform"
    count = value if type(value) is int and value > 0 else 1
    return f"{_TODAY} {{distribution: {distribution}, sample_num: {count}}}"
