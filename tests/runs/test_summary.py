"""The summary of a finished run for the terminal."""

import pytest

from recbole_bd.runs.summary import complementarity_line, table, warnings_text, wins_line


def arm(epoch: int, **test: float) -> dict:
    return {"best_epoch": epoch, "test": {name.replace("_", "@"): value for name, value in test.items()}}


BASELINE = {"valid_metric": "ndcg@5", "model": {"model": "Pop", "parameters": 1200, "separate": arm(0, ndcg_5=0.5)}}
TWO_ROLES = {
    "valid_metric": "ndcg@5",
    "teacher": {"model": "BPR", "parameters": 8800, "separate": arm(3, ndcg_5=0.0), "distilled": arm(1, ndcg_5=0.25)},
    "student": {
        "model": "DMF",
        "parameters": 22,
        "separate": arm(7, ndcg_5=0.1),
        "continued": arm(8, ndcg_5=0.2),
        "distilled": arm(9, ndcg_5=0.25),
    },
}


def cells(result: dict) -> list[list[str]]:
    return [line.split() for line in table(result).splitlines() if not line.startswith("-")]


def test_a_baseline_is_compared_with_nothing():
    assert cells(BASELINE) == [
        ["role", "model", "parameters", "arm", "best", "epoch", "ndcg@5"],
        ["model", "Pop", "1,200", "separate", "0", "0.5000"],
    ]


def test_arms_are_compared_with_those_before_them():
    assert cells(TWO_ROLES)[1:] == [
        ["teacher", "BPR", "8,800", "separate", "3", "0.0000"],
        ["distilled", "1", "0.2500", "n/a"],
        ["student", "DMF", "22", "separate", "7", "0.1000"],
        ["continued", "8", "0.2000", "+100.0%"],
        ["distilled", "9", "0.2500", "+150.0%", "+25.0%"],
    ]
    assert cells(TWO_ROLES)[0][-5:] == ["ndcg@5", "vs", "separate", "vs", "continued"]


@pytest.mark.parametrize(
    ("selecting", "shown"),
    [
        ("recall@5", ["recall@5", "mrr@5", "ndcg@5", "hit@5"]),
        ("recall@10", ["recall@5", "mrr@5", "ndcg@5", "recall@10"]),
        ("precision@5", ["recall@5", "mrr@5", "ndcg@5", "precision@5"]),
    ],
)
def test_four_metrics_are_shown_and_always_the_one_that_selected(selecting, shown):
    names = [f"{name}_{k}" for name in ("recall", "mrr", "ndcg", "hit", "precision") for k in (5, 10)]
    entry = arm(0, **{name: 0.1 for name in names})
    assert cells({"valid_metric": selecting, "model": {**BASELINE["model"], "separate": entry}})[0][6:] == shown


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((0.785, 0.412, 0.1234), "has 78% of the teacher's validation ndcg@5; over users, the correlation of their "
         "values is 0.41; the better role for each user would give 12.3% more than one role for all."),
        ((0.785, None, None), "has 78% of the teacher's validation ndcg@5."),
        ((None, None, None), "has none of the teacher's validation ndcg@5."),
    ],
)  # fmt: skip
def test_whether_the_student_can_teach_is_one_line(found, said):
    entry = dict(zip(("ratio", "correlation", "headroom"), found, strict=True))
    assert complementarity_line(entry, "ndcg@5") == f"Before distillation the student {said}"


def test_wins_and_warnings_are_sentences():
    assert wins_line({"student_wins": {"separate": 0.25, "distilled": 0.4}}) == (
        "The student ranks the held-out item higher than the teacher on 25.0% of test interactions "
        "before distillation, on 40.0% after."
    )
    trained = {"student_wins_trained": {"separate": 0.2, "distilled": 0.3}}
    assert wins_line({"student_wins": {"separate": 0.25, "distilled": 0.4}, **trained}).endswith(
        "on 40.0% after. Without items that never occur in training: 20.0%, then 30.0%."
    )
    warning = {"role": "student", "stage": "distilled", "epoch": 3, "message": "the loss rises"}
    assert warnings_text({"warnings": [warning] * 2}) == "\n".join(
        ["warning: student distilled, epoch 3: the loss rises"] * 2
    )
    assert warnings_text({"warnings": []}) == ""
    of_data = {"stage": "data", "role": "test", "epoch": -1, "message": "5 users have no training"}
    assert warnings_text({"warnings": [of_data]}) == "warning: data: 5 users have no training"


def test_a_placebo_stands_before_the_distilled_arm_and_is_compared_with():
    student = {**TWO_ROLES["student"], "placebo": arm(4, ndcg_5=0.16)}
    found = cells({"valid_metric": "ndcg@5", "student": student})
    assert found[0][-6:] == ["vs", "separate", "vs", "continued", "vs", "placebo"]
    assert found[2:] == [
        ["continued", "8", "0.2000", "+100.0%"],
        ["placebo", "4", "0.1600", "+60.0%", "-20.0%"],
        ["distilled", "9", "0.2500", "+150.0%", "+25.0%", "+56.2%"],
    ]
