"""Names of roles, directions and arms."""

import subprocess
import sys

from recbole_bd.backbones import names


def test_each_role_learns_in_a_direction_of_its_own():
    assert names.DIRECTION_INTO == {"student": "teacher_to_student", "teacher": "student_to_teacher"}
    assert all(direction.endswith(f"_to_{role}") for role, direction in names.DIRECTION_INTO.items())


def test_roles_and_arms_are_in_the_order_of_tables():
    assert names.ROLES == ("teacher", "student", "model")
    assert names.ROLES[:2] == names.PAIR
    assert names.ARMS == ("separate", "continued", "placebo", "distilled")


def test_readers_of_runs_need_no_torch():
    code = "import sys, recbole_bd.backbones.names; print(sorted({'recbole', 'torch'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
