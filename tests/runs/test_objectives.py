"""The losses of a run by arm, and the record of them."""

from recbole_bd.backbones.names import CONTINUED, DISTILLED, PLACEBO, SEPARATE, STUDENT, TEACHER
from recbole_bd.runs.objectives import objectives
from tests.helpers.settings import make_config


def test_each_arm_has_its_line():
    found = objectives(make_config({"model": "BD", "student_model": "LightGCN", "controls": ["continued"]}))
    own = {TEACHER: "loss(teacher) = BPR", STUDENT: "loss(student) = LightGCN"}
    assert found[SEPARATE] == found[CONTINUED] == own
    assert found[DISTILLED][STUDENT].startswith("loss(student) = LightGCN + 2.0 * ")
    assert set(objectives(make_config({"model": "BD", "controls": []}))) == {SEPARATE, DISTILLED}
    assert objectives(make_config({"model": "Pop"})) == {SEPARATE: {"model": "loss(model) = Pop"}}


def test_the_placebo_has_lines_of_its_own():
    found = objectives(make_config({"model": "BD", "controls": ["placebo"]}))
    assert set(found) == {SEPARATE, DISTILLED, PLACEBO}
    assert found[PLACEBO][STUDENT].endswith("top 50, target uniform over the list)")
    assert found[PLACEBO][TEACHER].endswith("reference order), target one-hot positive)")
    found = objectives(make_config({"model": "CD", "controls": ["placebo"], "guide": "teacher"}))
    assert found[PLACEBO][STUDENT].endswith("of the untrained teacher's top 10, target untrained teacher)")
