"""Options that no direction reads: which they are, and that telling them is right for every method."""

import pytest

from recbole_bd.backbones.names import DIRECTION_INTO, STUDENT, TEACHER
from recbole_bd.config.property_files import method_options, properties_path
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.errors import BDError
from recbole_bd.model import METHODS
from recbole_bd.model.unread_options import unread_options
from tests.helpers.bounds import LONG
from tests.helpers.scenes import Scene, equal_states
from tests.helpers.settings import PAPER, for_method, make_config

TO_STUDENT, TO_TEACHER = (DIRECTION_INTO[role] for role in (STUDENT, TEACHER))
OF_DISCREPANCY = ("shape", "eps", "rank_order", "rank_scale", "guide_top")
OF_A_DIRECTION = (
    *OF_DISCREPANCY, "top_temperature", "exchange", "list_positive", "temperature", "temperature_on", "guide",
    "guide_state", "cf_negatives", "lambda_schedule", "sampling", "samples_per_positive",
)  # fmt: skip


def unread(**settings) -> dict[str, str]:
    return unread_options(make_config({"dataset": "blocks", "device": "cpu", **settings}))


def of(direction: str, *options: str) -> set[str]:
    return {f"{option}_{direction}" for option in options}


OF_NO_PLACEBO = {"guide_constant", "ranks_of"}
# The default: the student learns a list of its own top, the teacher one with the positive, by rank discrepancy.
DEFAULT = {
    *OF_NO_PLACEBO, *of(TO_STUDENT, *OF_DISCREPANCY, "temperature_on"),
    *of(TO_TEACHER, "top_temperature", "temperature_on"), "temperature_on", "eps_t", "lambda_warmup_epochs",
    "lambda_decay_epochs",
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "more", "less"),
    [
        ({}, set(), set()),
        ({"temperature_teacher_to_student": 2.0}, set(), {"temperature_on", *of(TO_STUDENT, "temperature_on")}),
        ({"sampling": "uniform"}, {*of(TO_TEACHER, *OF_DISCREPANCY), *of(TO_STUDENT, "top_temperature"), "rank_scale",
                                   "guide_top", "top_temperature", "eps_e"}, set()),
        ({"exchange": "pointwise"}, of(TO_STUDENT, "list_positive") | of(TO_TEACHER, "list_positive"), set()),
        ({"directions": "teacher_to_student"},
         {*of(TO_TEACHER, *OF_A_DIRECTION), "eps_e", "rank_scale", "guide_top"}, set()),
        ({"lambda_teacher_to_student": 0.0}, {*of(TO_STUDENT, *OF_A_DIRECTION), "top_temperature"}, set()),
        ({"exchange_teacher_to_student": "listwise", "exchange_student_to_teacher": "listwise"}, {"exchange"}, set()),
        ({"exchange_student_to_teacher": "listwise", "directions": "student_to_teacher"},
         {*of(TO_STUDENT, *OF_A_DIRECTION), "exchange", "top_temperature"}, set()),
        ({"eps_student_to_teacher": 0.5}, {"eps_e"}, set()),
        ({"lambda_schedule": "linear"}, set(), {"lambda_warmup_epochs"}),
        ({"lambda_schedule_student_to_teacher": "decay"}, set(), {"lambda_decay_epochs"}),
        ({"lambda_schedule": "linear", "lambda_schedule_student_to_teacher": "decay"}, set(),
         {"lambda_warmup_epochs", "lambda_decay_epochs"}),
        ({"lambda_schedule_student_to_teacher": "decay", "directions": "teacher_to_student"},
         {*of(TO_TEACHER, *OF_A_DIRECTION), "eps_e", "rank_scale", "guide_top"}, set()),
        ({"guide": "self"}, {"guide_state", *of(TO_STUDENT, "guide_state"), *of(TO_TEACHER, "guide_state")},
         {"ranks_of"}),
        ({"guide": "constant"}, {"guide_state", *of(TO_STUDENT, "guide_state"), *of(TO_TEACHER, "guide_state"),
                                 "temperature", *of(TO_STUDENT, "temperature"), *of(TO_TEACHER, "temperature")},
         {"ranks_of"}),
        ({"guide": "constant", "controls": ["placebo"], "placebo": "untrained"},
         {"guide_state", *of(TO_STUDENT, "guide_state"), *of(TO_TEACHER, "guide_state")}, {"ranks_of"}),
        ({"directions": "teacher_first"},
         {"guide_state", *of(TO_STUDENT, "guide_state"), *of(TO_TEACHER, "guide_state")}, set()),
        ({"refresh_period": 1}, {"refresh_users"}, set()),
    ],
)  # fmt: skip
def test_options_that_no_direction_reads(settings, more, less):
    assert unread(**settings).keys() == (DEFAULT | more) - less


def test_the_published_form_reads_its_own_options():
    found = unread(**PAPER).keys()
    heads = {"top_temperature", *of(TO_STUDENT, "top_temperature"), *of(TO_TEACHER, "top_temperature")}
    lists = of(TO_STUDENT, "list_positive") | of(TO_TEACHER, "list_positive")
    assert found == {*OF_NO_PLACEBO, *heads, *lists, "lambda_warmup_epochs", "lambda_decay_epochs"}


def test_an_option_of_another_drawing_is_told_and_a_whole_file_of_this_package_is_not():
    given = {"dataset": "blocks", "device": "cpu", "shape_teacher_to_student": "exp"}
    (note,) = settings_notes(make_config(given))
    assert note == (
        "shape_teacher_to_student='exp' is not read in this run: the student's items are drawn with sampling: own_top"
    )
    paper = str(properties_path("model", "BD-paper.yaml"))
    config = type(make_config(given))(config_file_list=[paper], config_dict=given, methods=METHODS)
    assert settings_notes(config) == []
    told = settings_notes(
        type(config)(config_file_list=[paper], config_dict={**given, "top_temperature": 5}, methods=METHODS)
    )
    assert [note.partition(" ")[0] for note in told] == ["top_temperature=5"]


def test_the_reason_names_both_directions():
    notes = settings_notes(make_config({"dataset": "blocks", "guide_top": 9, "sampling": "own_top"}))
    assert notes == [
        "guide_top=9 is not read in this run: the student's items are drawn with sampling: own_top; the teacher's "
        "items are drawn with sampling: own_top"
    ]


@pytest.mark.parametrize(
    ("method", "settings", "options", "reason"),
    [
        ("CE", {"lambda_teacher_to_student": 0.0}, {"top_items": 9, "temperature": 2.0},
         "nothing is taught, as lambda_teacher_to_student is 0"),
        ("CE", {"distill_epochs": 0}, {"top_items": 9, "lambda_teacher_to_student": 3.0}, "distill_epochs is 0"),
        ("BD", {"lambda_teacher_to_student": 0.0, "directions": "teacher_to_student"}, {"refresh_period": 9},
         "nothing is taught, as lambda_teacher_to_student is 0"),
        ("DML", {"lambda_teacher_to_student": 0.0, "lambda_student_to_teacher": 0.0}, {"temperature": 9.0},
         "nothing is taught, as lambda_teacher_to_student and lambda_student_to_teacher are 0"),
        ("CE", {}, {"rank_precision": "exact"}, "only methods that draw items by the ranks of both roles, such as BD,"),
        ("KDCL", {}, {"rank_precision": "sampled", "ranked_items": 9}, "only methods that draw items by the ranks of"),
        ("UnKD", {}, {"rest_at_best": False}, "the student alone learns, and the stage ends where it would rest"),
        ("RCEKD", {"overlap_sharpness": 0.0}, {"overlap": "student_top"}, "overlap_sharpness is 0"),
        ("RCEKD", {"sampled_from": 50}, {"draw_temperature": 2.0}, "sampled_items is sampled_from, so that all"),
        ("RCEKD", {"sampled_from": 50}, {"overlap": "student_top"}, "top_items and sampled_items are"),
        ("DCD", {"corrected_items": 500}, {"correction_scale": 2.0}, "corrected_items is list_length or more"),
        ("DCD", {}, {"corrected_items": 600}, "it is above list_length"),
        ("RD", {"distill_epochs": 10}, {"dynamic_samples": 7, "dynamic_sharpness": 1.0},
         "distill_epochs=10 ends before dynamic_start_epoch"),
        ("RD", {"distill_epochs": 10}, {"dynamic_weights": False}, "distill_epochs=10 ends before dynamic_start_epoch"),
        ("RD", {"top_items": 1}, {"position_temperature": 2.0}, "top_items is 1, and the weights of a list sum to 1"),
        ("DE", {"experts": 1}, {"temperature_start": 2.0, "annealing_epochs": 5}, "experts is 1, so that nothing"),
        ("DE", {"distill_epochs": 1}, {"temperature_end": 0.5}, "distill_epochs is 1"),
        ("DE", {"temperature_end": 1.0}, {"annealing_epochs": 5}, "temperature_start is temperature_end"),
        ("HTD", {"topology_share": 1.0}, {"temperature_start": 2.0}, "topology_share is 1"),
    ],
)  # fmt: skip
def test_what_a_method_does_not_read_is_told_with_the_reason(method, settings, options, reason):
    base = {"dataset": "ml-100k", "model": method, **settings}
    before = settings_notes(make_config(base))
    told = [note for note in settings_notes(make_config({**base, **options})) if note not in before]
    assert [note.partition("=")[0] for note in told] == list(options)
    assert all(note.partition(" is not read in this run: ")[2].startswith(reason) for note in told)


# --- what is told changes nothing, and what is not told changes something ---------------------------------------------
def another(key, option, config):
    """A value of an option that is not the present one, nor that of the other options which hold in its place."""
    now, options = config[key], method_options(config["model"])
    if option.choices:
        ends = [f"_{direction}" for direction in DIRECTION_INTO.values()]
        related = {key, *(key.removesuffix(end) for end in ends), *(key + end for end in ends)} & options.keys()
        present = {config[one] for one in related} if now is None else {now}
        return next(choice for choice in option.choices if choice not in present)
    if isinstance(now, bool):
        return not now
    if now is None:
        return 2 if "int" in option.types else 0.3
    return now + (1 if now < 40 else -1) if isinstance(now, int) else 0.6 * now + 0.07


# Methods with few options; all of them in the long mode, RECBOLE_BD_LONG=1.
FORMS = [
    ("BD", {"directions": "student_to_teacher", "temperature": 2.0}),
    ("CE", {}),
    ("RCEKD", {"sampled_from": 10}),
    ("DCD", {"corrected_items": 30, "refresh_period": 1}),
    ("HetComp", {"teacher.epochs": 0}),
    ("HTD", {"topology_share": 1.0}),
    ("DML", {"lambda_student_to_teacher": 0.0}),
    ("KDCL", {"teacher_weight": 1.0}),
    ("RD", {"dynamic_start_epoch": 1}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "form"), [form for form in FORMS if LONG or form[0] in ("KDCL", "DML")])
def test_exactly_what_is_told_changes_nothing(method, form, quick):
    base = {**for_method(quick, method), "model": method, **form}

    def trained(settings):
        scene = Scene(settings)
        losses = scene.trained().journal.losses
        return scene.states(), losses, scene.config

    states, losses, config = trained(base)
    wrong = []
    for key, option in method_options(method).items():
        settings = {**base, key: another(key, option, config)}
        try:
            found, their_losses, theirs = trained(settings)
        except BDError:
            continue
        is_told = any(note.startswith(f"{key}=") for note in settings_notes(theirs))
        is_same = equal_states(states, found) and losses == their_losses
        if is_same != is_told:
            wrong.append((key, settings[key]))
    assert wrong == []
