"""Directions of the exchange as the settings give them, and as they are written."""

from operator import attrgetter

import pytest

from recbole_bd.backbones.names import DIRECTION_INTO, STUDENT, TEACHER
from recbole_bd.model import losses
from recbole_bd.model.exchange import (
    EXCHANGE_LOSSES,
    exchange_into,
    exchange_text,
)
from recbole_bd.sampler.direction import Direction
from tests.helpers.settings import PAPER, make_config


def into(role: str, **settings):
    return exchange_into(role, make_config({"model": "BD", **settings}))


def test_names_of_exchanges_are_those_of_their_losses():
    assert {
        "pointwise": losses.pointwise_exchange,
        "listwise": losses.listwise_exchange,
        "pairwise": losses.pairwise_exchange,
    } == EXCHANGE_LOSSES


def test_each_direction_reads_its_own_options():
    settings = {
        "lambda_teacher_to_student": 0.25,
        "lambda_student_to_teacher": 0.75,
        "exchange": "pointwise",
        "exchange_student_to_teacher": "pairwise",
        "temperature": 3.0,
        "temperature_student_to_teacher": 5.0,
        "temperature_on": "both",
        "guide_state": "best",
    }
    student, teacher = (into(role, **settings) for role in (STUDENT, TEACHER))
    assert (student.learner, student.guide, teacher.learner, teacher.guide) == (STUDENT, TEACHER, TEACHER, STUDENT)
    assert (student.weight, teacher.weight) == (0.25, 0.75)
    assert (student.kind, teacher.kind) == ("pointwise", "pairwise")
    assert (student.loss, teacher.loss) == (losses.pointwise_exchange, losses.pairwise_exchange)
    assert (student.temperature, teacher.temperature) == (3.0, 5.0)
    assert student.temperature_on == teacher.temperature_on == "both"
    assert student.from_best
    assert not into(STUDENT, guide_state="current").from_best


@pytest.mark.parametrize(
    ("directions", "weights"),
    [("both", (0.25, 0.75)), ("teacher_to_student", (0.25, 0.0)), ("student_to_teacher", (0.0, 0.75))],
)
def test_a_direction_that_is_off_has_no_weight(directions, weights):
    settings = {"lambda_teacher_to_student": 0.25, "lambda_student_to_teacher": 0.75, "directions": directions}
    assert tuple(into(role, **settings).weight for role in (STUDENT, TEACHER)) == weights


@pytest.mark.parametrize(
    ("kind", "listed", "takes"),
    [("pointwise", True, False), ("listwise", True, True), ("listwise", False, False), ("pairwise", False, True)],
)
def test_the_positive_comes_with_pairs_and_with_lists_that_want_it(kind, listed, takes):
    settings = {"exchange": kind, "list_positive_teacher_to_student": listed, "samples_per_positive": 2}
    assert into(STUDENT, **settings, exchange_teacher_to_student=None).takes_positive is takes


def test_the_papers_drawing():
    """The student's items by tanh, the teacher's by exp, each with a steepness of its own."""
    settings = {**PAPER, "eps_t": 0.5, "eps_e": 0.125, "rank_order_student_to_teacher": "reference"}
    found = {role: into(role, **settings).drawing for role in (STUDENT, TEACHER)}
    steepness = {"tanh": 0.5, "exp": 0.125}
    assert {drawing.shape for drawing in found.values()} == {"tanh", "exp"}
    for role, drawing in found.items():
        order = "reference" if role == TEACHER else drawing.rank_order
        assert drawing == Direction(
            "rank_discrepancy",
            drawing.shape,
            steepness[drawing.shape],
            order,
            drawing.rank_scale,
            drawing.top_temperature,
        )


def test_one_way_of_drawing_may_stand_for_both():
    settings = {"sampling_teacher_to_student": "top", "sampling_student_to_teacher": "own_top"}
    assert [into(role, sampling=None, **settings).drawing.sampling for role in (STUDENT, TEACHER)] == ["top", "own_top"]
    assert [into(role, sampling="uniform", **settings).drawing.sampling for role in (STUDENT, TEACHER)] == [
        "uniform"
    ] * 2


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"sampling": "uniform"}, "0.25 * pointwise(3 uniform items, target teacher's current state)"),
        ({"sampling": "top", "top_temperature": 20.0},
         "0.25 * pointwise(3 of the teacher's top 20, target teacher's current state)"),
        ({"sampling": "own_top", "top_temperature": 20.0},
         "0.25 * pointwise(3 of the student's own top 20, target teacher's current state)"),
        ({"sampling": "uniform", "guide_state": "best", "temperature": 2.0, "temperature_on": "target"},
         "0.25 * pointwise(3 uniform items, target teacher's best state, temperature 2.0)"),
        ({"sampling": "uniform", "exchange": "pairwise"},
         "0.25 * pairwise(the positive and 3 uniform items, target teacher's current state)"),
        ({"sampling": "uniform", "lambda_schedule": "linear", "lambda_warmup_epochs": 7},
         "0.25 * pointwise(3 uniform items, target teacher's current state, weight linear over 7 epochs)"),
        ({"sampling": "uniform", "lambda_schedule_teacher_to_student": "decay"},
         "0.25 * pointwise(3 uniform items, target teacher's current state, weight exp(-epoch / 5.0))"),
        ({"sampling": "rank_discrepancy", "guide_top": 100, "eps_t": 0.1, "rank_scale": "absolute"},
         "0.25 * pointwise(3 by rank discrepancy (tanh 0.1, absolute ranks, paper order, of the teacher's first 100), "
         "target teacher's current state)"),
        ({"sampling": "uniform", "directions": "teacher_first"},
         "0.25 * pointwise(3 uniform items, target teacher's best state, in the second half of the epochs)"),
        ({"sampling": "uniform", "directions": "student_first"},
         "0.25 * pointwise(3 uniform items, target teacher's best state, in the first half of the epochs)"),
        ({"sampling": "uniform", "cf_negatives": "distilled"},
         "0.25 * pointwise(3 uniform items, target teacher's current state, the first item also the negative)"),
    ],
)  # fmt: skip
def test_a_direction_is_written_as_a_weighted_term(settings, text):
    base = {
        "model": "BD", "exchange": "pointwise", "lambda_teacher_to_student": 0.25, "samples_per_positive": 3,
        "guide_state": "current", "temperature": 1.0, "exchange_teacher_to_student": None,
        "temperature_teacher_to_student": None,
    }  # fmt: skip
    config = make_config({**base, **settings})
    assert exchange_text(exchange_into(STUDENT, config), config) == text


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"guide": "constant"}, "pointwise(3 uniform items, target constant 0.5)"),
        ({"guide": "constant", "guide_constant": 0.2}, "pointwise(3 uniform items, target constant 0.2)"),
        ({"guide": "constant", "exchange": "listwise", "list_positive_teacher_to_student": False},
         "listwise(3 uniform items, target uniform over the list)"),
        ({"guide": "constant", "exchange": "pairwise", "temperature_on": "both"},
         "pairwise(the positive and 3 uniform items, target constant 0.5, temperature 2.0 on both)"),
        ({"guide": "one_hot", "exchange": "pairwise"},
         "pairwise(the positive and 3 uniform items, target one-hot positive)"),
        ({"guide": "shuffled", "guide_state": "best"},
         "pointwise(3 uniform items, target teacher's best state for another user's row, temperature 2.0)"),
        ({"guide": "untrained"}, "pointwise(3 uniform items, target untrained teacher, temperature 2.0)"),
        ({"guide": "self"}, "pointwise(3 uniform items, target student's own best state, temperature 2.0)"),
        ({"guide": "untrained", "sampling": "top", "ranks_of": "learner"},
         "pointwise(3 of the top 20 of untrained teacher, target untrained teacher, temperature 2.0)"),
        ({"guide": "untrained", "sampling": "top"},
         "pointwise(3 of the teacher's top 20, target untrained teacher, temperature 2.0)"),
        ({"guide": "constant", "sampling": "top", "ranks_of": "learner"},
         "pointwise(3 of the top 20 of random order, target constant 0.5)"),
        ({"guide": "shuffled", "sampling": "rank_discrepancy", "ranks_of": "learner"},
         "pointwise(3 by rank discrepancy (tanh 0.01, absolute ranks, paper order, teacher for another user in the "
         "teacher's place), target teacher's current state for another user's row, temperature 2.0)"),
    ],
)  # fmt: skip
def test_a_placebo_is_written_in_words(settings, text):
    base = {
        **PAPER, "model": "BD", "lambda_teacher_to_student": 0.25, "samples_per_positive": 3, "temperature": 2.0,
        "sampling": "uniform", "top_temperature": 20.0,
    }  # fmt: skip
    config = make_config({**base, **settings})
    assert exchange_text(exchange_into(STUDENT, config), config) == f"0.25 * {text}"


OF_BOTH = {
    "exchange": ("listwise", "kind", "pairwise"), "temperature": (2.0, "temperature", 3.0),
    "temperature_on": ("target", "temperature_on", "both"), "guide_state": ("best", "from_best", False),
    "guide": ("other", "target", "self"), "cf_negatives": ("sampled", "is_negative", True),
    "rank_scale": ("absolute", "drawing.rank_scale", "relative"),
    "lambda_schedule": ("constant", "schedule", "decay"), "guide_top": (20, "drawing.guide_top", 30),
    "top_temperature": (20.0, "drawing.top_temperature", 30.0), "eps_e": (1.5, "drawing.eps", 0.25),
}  # fmt: skip
VALUE_OF = {"from_best": "current", "is_negative": "distilled"}


@pytest.mark.parametrize("option", OF_BOTH)
@pytest.mark.parametrize("learner", [STUDENT, TEACHER])
def test_each_option_may_change_in_one_direction_alone(learner, option):
    """Ablations of one direction leave the other as it is."""
    before, attribute, after = OF_BOTH[option]
    one = f"{'eps' if option == 'eps_e' else option}_{DIRECTION_INTO[learner]}"
    both = {option: before, "shape_teacher_to_student": "exp", "shape_student_to_teacher": "exp"}
    changed = {one: VALUE_OF.get(attribute, after)}
    for role in (STUDENT, TEACHER):
        plain, other = into(role, **both), into(role, **both, **changed)
        assert attrgetter(attribute)(other) == (after if role == learner else attrgetter(attribute)(plain))
        assert (plain == other) is (role != learner)
