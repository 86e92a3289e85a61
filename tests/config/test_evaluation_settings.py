"""Metrics, cut-offs, splits and intervals: what is read, and what is refused."""

import pytest

from recbole_bd.config.recbole_blocks import check_clipping
from recbole_bd.errors import ConfigError
from tests.helpers.settings import make_config


def test_intervals_as_recbole_writes_them():
    config = make_config(user_inter_num_interval="(0,1];[3,inf)", val_interval={"rating": "[3,inf)", "user_id": ["a"]})
    assert config["user_inter_num_interval"] == "(0,1];[3,inf)"


SPLITS = "expected one of RS, LS, TS and its value, such as {RS: [0.8, 0.1, 0.1]}"
SHARES = "expected three shares of the data, such as [0.8, 0.1, 0.1]"
COUNT = "N is the number of sampled items, such as uni100"
MODES = "expected full, uniN, popN or labeled, or {valid: ..., test: ...}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": [1]}, "metrics=[1]: expected a list of names, such as [Recall, NDCG]"),
        ({"metrics": []}, "metrics=[]: expected a list of names, such as [Recall, NDCG]"),
        (
            {"benchmark_filename": ["train", "valid"]},
            "benchmark_filename=['train', 'valid']: expected three parts, such as [train, valid, test]",
        ),
        ({"eval_args": {"split": {"XX": 1}}}, f"eval_args: split={{'XX': 1}}: {SPLITS}"),
        ({"eval_args": {"split": [8, 1, 1]}}, f"eval_args: split=[8, 1, 1]: {SPLITS}"),
        ({"eval_args": {"split": {}}}, f"eval_args: split={{}}: {SPLITS}"),
        (
            {"eval_args": {"split": {"LS": "all"}}},
            "eval_args: LS='all': must be one of valid_and_test, valid_only, test_only",
        ),
        ({"eval_args": {"split": {"RS": [0.8, 0.2]}}}, f"eval_args: RS=[0.8, 0.2]: {SHARES}"),
        ({"eval_args": {"split": {"RS": [0, 0, 0]}}}, f"eval_args: RS=[0, 0, 0]: {SHARES}"),
        ({"eval_args": {"split": {"TS": [1, -1, 1]}}}, f"eval_args: TS=[1, -1, 1]: {SHARES}"),
        ({"eval_args": {"split": {"TS": [1, True, 1]}}}, f"eval_args: TS=[1, True, 1]: {SHARES}"),
        ({"eval_args": {"order": "XO"}}, "eval_args: order='XO': must be one of RO, TO"),
        ({"eval_args": {"group_by": "item"}}, "eval_args: group_by='item': must be one of user, none, None"),
        ({"eval_args": {"mode": 5}}, f"eval_args: mode=5: {MODES}"),
        (
            {"eval_args": {"mode": {"valid": 5, "test": "full"}}},
            f"eval_args: mode={{'valid': 5, 'test': 'full'}}: {MODES}",
        ),
        (
            {"eval_args": {"mode": "best"}},
            f"eval_args: mode='best': {MODES}; {COUNT}",
        ),
        (
            {"metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG"},
            "valid_metric='NDCG': must be one of the metrics ['NDCG'] at one of topk [10]",
        ),
        (
            {"metrics": ["AUC"], "topk": [10], "valid_metric": "AUC@10", "eval_args": {"mode": "uni5"}},
            "valid_metric='AUC@10': must be one of the metrics ['AUC'] at one of topk [10]",
        ),
        (
            {"metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@"},
            "valid_metric='NDCG@': must be one of the metrics ['NDCG'] at one of topk [10]",
        ),
    ],
)
def test_wrong_settings_of_an_evaluation_are_named_with_what_is_expected(settings, message):
    with pytest.raises(ConfigError) as error:
        make_config(settings)
    assert str(error.value) == message


@pytest.mark.parametrize("given", [None, {}, {"max_norm": 5.0}, {"max_norm": 1, "norm_type": 1}])
def test_gradients_may_be_clipped_or_not(given):
    assert make_config({"student.clip_grad_norm": given}).role("student")["clip_grad_norm"] == given


@pytest.mark.parametrize(
    "given", [{"norm_type": 2.0}, {"max_norm": 0}, {"max_norm": True}, {"max_norm": 5.0, "error_if_nonfinite": True}]
)
def test_clipping_that_torch_does_not_have_is_refused(given):
    with pytest.raises(ConfigError) as error:
        check_clipping(given, "student.clip_grad_norm")
    assert str(error.value) == (
        f"student.clip_grad_norm={given}: expected {{max_norm: 5.0}}, with norm_type if needed, both above 0"
    )
