"""Readers of the files in run folders."""

import json

import pytest

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.runs.records import schema_error
from tests.helpers.boards import two_roles, write_run


@pytest.mark.parametrize("stated", [{}, {"separate": {"student": "loss(student) = BPR"}}])
def test_records_with_and_without_an_objective_are_read(stated, tmp_path):
    folder = write_run(tmp_path, "BD", 1, two_roles(0.3, 0.2, 0.1), (TEACHER, STUDENT))
    result = json.loads((folder / "result.json").read_text())
    assert schema_error(result) is None
    assert schema_error({**result, "objective": stated}) is None


@pytest.mark.parametrize("stated", [None, "BPR", ["BPR"], {"separate": "BPR"}, {"separate": {"student": 1}}])
def test_an_objective_that_is_no_text_by_arm_and_role_is_damage(stated, tmp_path):
    folder = write_run(tmp_path, "BD", 1, two_roles(0.3, 0.2, 0.1), (TEACHER, STUDENT))
    result = json.loads((folder / "result.json").read_text())
    assert schema_error({**result, "objective": stated}).startswith("objective is ")
