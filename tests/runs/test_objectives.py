"""The losses of a run by arm, and the record of them."""

from recbole_bd.backbones.names import CONTINUED, DISTILLED, SEPARATE, STUDENT, TEACHER
from recbole_bd.runs.objectives import objectives
from tests.helpers.settings import make_config


def test_each_arm_has_its_line():
    found = objectives(make_config({"model": "BD", "student_model": "LightGCN", "control": True}))
    own = {TEACHER: "loss(teacher) = BPR", STUDENT: "loss(student) = LightGCN"}
    assert found[SEPARATE] == found[CONTINUED] == own
    assert found[DISTILLED][STUDENT].startswith("loss(student) = LightGCN + 2.0 * ")
    assert set(objectives(make_config({"model": "BD", "control": False}))) == {SEPARATE, DISTILLED}
    assert objectives(make_config({"model": "Pop"})) == {SEPARATE: {"model": "loss(model) = Pop"}}
