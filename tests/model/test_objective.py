"""The objective of each arm as text: known lines, and that every option that changes the loss changes its line."""

import pytest

from recbole_bd.backbones.names import CONTINUED, DISTILLED, SEPARATE, STUDENT, TEACHER
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS
from recbole_bd.model.base import Distiller
from recbole_bd.model.objective import number, objective_text, temperature_text, term_text, whole
from recbole_bd.model.one_way import OneWay
from recbole_bd.runs.objectives import objectives
from tests.helpers.settings import PAPER, make_config


def lines(**settings) -> dict[str, str]:
    return objectives(make_config(settings))[DISTILLED]


DEFAULT = {
    "BD": {
        STUDENT: "loss(student) = BPR + 2.0 * listwise(10 of the student's own top 50, target teacher's best state)",
        TEACHER: "loss(teacher) = BPR + 0.1 * listwise(the positive and 10 by rank discrepancy (exp 1.5, logarithmic "
        "ranks, reference order), target student's best state)",
    },
    "CD": {STUDENT: "loss(student) = BPR + 0.5 * collaborative(1 of the student's own top 10, target frozen teacher)"},
    "DE": {
        STUDENT: "loss(student) = BPR + 0.01 * squared_distance(users, positives and negatives of the batch, "
        "30 experts, temperature 1.0 to 1e-10 over 7 epochs, target frozen teacher's embeddings)"
    },
    "FTD": {
        STUDENT: "loss(student) = BPR + 10.0 * full_topology(all pairs of the batch, target frozen teacher's angles)"
    },
    "HTD": {
        STUDENT: "loss(student) = BPR + 10.0 * hierarchical_topology(users and items of the batch, 0.99 of the "
        "topology and the rest of the groups, 30 experts, temperature 1.0 to 1e-10 over 7 epochs, target frozen "
        "teacher's embeddings)"
    },
    "RD": {
        STUDENT: "loss(student) = BPR + 1.0 * ranking(the teacher's top 10, weights exp(-rank / 10.0), dynamic "
        "weights 0.1 by 100 samples from epoch 10, target frozen teacher)"
    },
    "RRD": {
        STUDENT: "loss(student) = BPR + 0.001 * relaxed_ranking(40 of the teacher's list by exp(-rank / 10.0), "
        "above 40 uniform items, target frozen teacher)"
    },
    "CE": {STUDENT: "loss(student) = BPR + 5.0 * cross_entropy(the student's own top 50, target frozen teacher)"},
    "RCEKD": {
        STUDENT: "loss(student) = BPR + 5.0 * rejuvenated_cross_entropy(the student's own top 50, 50 of the student's "
        "own top 200 by temperature 10.0 with the teacher's top 50, weight exp(-3.0 * overlap with the drawn), target "
        "frozen teacher)"
    },
    "DCD": {
        STUDENT: "loss(student) = BPR + 0.001 * dual_correction(1.0 * relaxed_ranking, 40 of the teacher's list by "
        "exp(-rank / 10.0), above 40 uniform items, 1.0 * items of each user, 100 underestimated above 100 "
        "overestimated of the teacher's top 500 by tanh(difference of ranks / 10.0), target frozen teacher)"
    },
    "UnKD": {
        STUDENT: "loss(student) = BPR + 0.3 * pairwise_ranking(30 pairs within 2 groups of equal popularity mass, of "
        "the teacher's lists by exp(-rank / 20.0), target frozen teacher)"
    },
    "HetComp": {
        STUDENT: "loss(student) = BPR + 0.003 * set_then_order(the top 100 of 4 states of the teacher, above 400 "
        "uniform items (logQ), a step after 2 epochs and 1.05 times nearer, target frozen teacher)"
    },
    "DML": {
        STUDENT: "loss(student) = BPR + 5.0 * cross_entropy(the top 50 of both, target teacher's current state)",
        TEACHER: "loss(teacher) = BPR + 0.3 * cross_entropy(the top 50 of both, target student's current state)",
    },
    "KDCL": {
        role: f"loss({role}) = BPR + {weight} * cross_entropy(the top 50 of both, target ensemble of current states by "
        "standardised logits, 0.5 of the teacher's, temperature 2.0)"
        for role, weight in ((STUDENT, 2.0), (TEACHER, 0.3))
    },
}


@pytest.mark.parametrize("method", METHODS)
def test_the_default_objective_of_each_method(method):
    assert lines(model=method, distill_epochs=7) == DEFAULT[method]


def test_the_paper_form_of_bd():
    terms = lines(model="BD", **PAPER)
    assert terms[STUDENT] == (
        "loss(student) = BPR + 0.5 * pointwise(1 by rank discrepancy (tanh 0.01, absolute ranks, paper order), target "
        "teacher's current state, temperature 5.0)"
    )
    assert terms[TEACHER].startswith("loss(teacher) = BPR + 0.5 * pointwise(1 by rank discrepancy (exp 0.0001, ")


def test_one_direction_leaves_the_other_role_its_own_loss():
    assert lines(model="BD", directions="teacher_to_student")[TEACHER] == "loss(teacher) = BPR"


CHANGES = {
    "BD": {
        "lambda_teacher_to_student": 3, "lambda_schedule": "linear", "exchange": "pairwise", "temperature": 2,
        "exchange_teacher_to_student": "pointwise", "list_positive_teacher_to_student": True,
        "temperature_teacher_to_student": 3, "guide_state": "current", "sampling": "uniform",
        "sampling_teacher_to_student": "top", "samples_per_positive": 3, "top_temperature": 12.5,
        "directions": "student_to_teacher", "cf_negatives": "distilled",
    },
    "CD": {
        "lambda_teacher_to_student": 0, "guide": "teacher", "rank_temperature": 7, "samples_per_positive": 2,
        "temperature": 2, "shift": -1,
    },
    "DE": {
        "lambda_teacher_to_student": 1, "experts": 5, "temperature_start": 2, "temperature_end": 0.1,
        "annealing_epochs": 3, "student_start": "new",
    },
    "FTD": {"lambda_teacher_to_student": 1, "student_start": "new"},
    "HTD": {
        "lambda_teacher_to_student": 1, "topology_share": 0.5, "experts": 5, "temperature_start": 2,
        "temperature_end": 0.1, "annealing_epochs": 3, "student_start": "new",
    },
    "RD": {
        "lambda_teacher_to_student": 2, "top_items": 5, "normalised_weights": False, "position_weights": False,
        "position_temperature": 1, "dynamic_weights": False, "dynamic_start_epoch": 3, "dynamic_sharpness": 1,
        "dynamic_samples": 10,
    },
    "RRD": {
        "lambda_teacher_to_student": 1, "interesting": "top", "interesting_items": 5, "rank_temperature": 2,
        "uninteresting_items": 3,
    },
    "CE": {"lambda_teacher_to_student": 2, "items": "all", "top_items": 5, "temperature": 2},
    "RCEKD": {
        "lambda_teacher_to_student": 2, "top_items": 5, "sampled_items": 3, "sampled_from": 99, "draw_temperature": 2,
        "overlap": "student_top", "overlap_sharpness": 1, "temperature": 2,
    },
    "DCD": {
        "lambda_teacher_to_student": 1, "order_weight": 0, "user_side_weight": 2, "item_side_weight": 1,
        "list_length": 7, "corrected_items": 3, "correction_scale": 2, "refresh_period": 2, "interesting": "top",
        "interesting_items": 5, "rank_temperature": 2, "uninteresting_items": 3,
    },
    "UnKD": {
        "lambda_teacher_to_student": 2, "popularity_groups": 3, "pairs_per_user": 3, "share_power": 1,
        "rank_temperature": 2,
    },
    "HetComp": {
        "lambda_teacher_to_student": 1, "kept_states": 2, "top_items": 5, "rest_items": 3, "refresh_period": 5,
        "step_threshold": 1.5,
    },
    "DML": {
        "lambda_teacher_to_student": 1, "taught_by": "untrained", "items": "sampled", "top_items": 5, "temperature": 2,
    },
    "KDCL": {
        "lambda_teacher_to_student": 1, "taught_by": "untrained", "items": "all", "top_items": 5, "temperature": 1,
        "teacher_weight": 1, "scores": "ranks",
    },
}  # fmt: skip


@pytest.mark.parametrize(("method", "option"), [(method, name) for method in CHANGES for name in CHANGES[method]])
def test_a_changed_option_changes_the_line(method, option):
    changed = lines(model=method, distill_epochs=7, **{option: CHANGES[method][option]})
    assert changed[STUDENT] != DEFAULT[method][STUDENT]


@pytest.mark.parametrize("option", ["shape_student_to_teacher", "eps_e", "rank_scale", "rank_order_student_to_teacher"])
def test_the_way_of_drawing_changes_the_line(option):
    value = {"shape": "tanh", "eps_e": 2, "rank_scale": "relative", "rank_order": "paper"}
    changed = lines(model="BD", **{option: value[option.removesuffix("_student_to_teacher")]})
    assert changed[TEACHER] != DEFAULT["BD"][TEACHER]


def test_the_lists_and_scores_of_two_way_methods_stand_in_both_lines():
    for line in lines(model="DML", items="sampled", sampled_items=7).values():
        assert "(7 uniform items, target " in line
    for line in lines(model="KDCL", items="all", users_of_batch=9, scores="ranks", rank_temperature=2).values():
        assert (
            "(all unseen items of 9 users of a batch, target ensemble of current states by exp(-rank / 2.0), " in line
        )
    assert lines(model="DML", lambda_student_to_teacher=0)[TEACHER] == "loss(teacher) = BPR"


def test_the_details_of_an_exchange_stand_in_its_line():
    line = lines(model="BD", temperature=2, temperature_on="both", lambda_schedule="linear", sampling="top")[STUDENT]
    assert "10 of the teacher's top 50" in line
    assert "temperature 2.0 on both, weight linear over 10 epochs" in line


@pytest.mark.parametrize("method", METHODS)
def test_the_control_states_the_models_own_losses(method):
    config = make_config({"model": method})
    stated = objectives(config)[CONTINUED]
    assert stated == {role: f"loss({role}) = BPR" for role in config.method_class.learners}
    assert stated.keys() == objectives(config)[DISTILLED].keys()


def test_a_softmax_stands_in_the_place_of_the_models_name():
    settings = {"student.own_loss": "softmax", "student.softmax_l2": 0.01, "student.softmax_negatives": 99}
    stated = objectives(make_config({"model": "CD", **settings}))
    assert stated[SEPARATE] == {
        TEACHER: "loss(teacher) = BPR",
        STUDENT: "loss(student) = softmax(99 shared items, L2 0.01)",
    }
    assert stated[CONTINUED] == {STUDENT: "loss(student) = softmax(99 shared items, L2 0.01)"}
    assert stated[DISTILLED][STUDENT].startswith("loss(student) = softmax(99 shared items, L2 0.01) + 0.5 * collab")
    more = {"own_loss": "softmax", "softmax_negatives": "all", "softmax_temperature": 0.2, "softmax_cosine": True}
    assert objectives(make_config({"model": "MF", **more}))[SEPARATE] == {
        "model": "loss(model) = softmax(all items, temperature 0.2, cosine)"
    }


def test_a_method_that_says_nothing_is_named(quick):
    class Mine(Distiller):
        learners = (STUDENT,)

    class Shown(OneWay):
        pass

    config, backbones = make_config({"model": "CD"}), {TEACHER: "BPR", STUDENT: "BPR"}
    assert Mine.objective_of(config, backbones) == {STUDENT: "loss(student) = BPR + Mine"}
    with pytest.raises(ConfigError, match=r"controls=\['continued'\]: CD has no placebo; leave placebo out"):
        Mine.placebo_settings(config)
    assert Shown.objective_of(config, backbones) == {
        STUDENT: "loss(student) = BPR + 0.5 * Shown(target frozen teacher)"
    }


def test_numbers_keep_what_tells_them_apart():
    assert [number(value) for value in (2, 0.001, 1e-10, 0.1 + 0.2)] == ["2.0", "0.001", "1e-10", "0.30000000000000004"]
    assert [whole(value) for value in (50.0, 12.5)] == ["50", "12.5"]
    assert temperature_text(1.0) == ""
    assert term_text(1, "loss", "", "a", "b") == "1.0 * loss(a, b)"
    assert objective_text("model", "Pop") == "loss(model) = Pop"
