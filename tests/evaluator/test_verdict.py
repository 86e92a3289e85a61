"""Which words a pair of tests allows."""

import pytest

from recbole_bd.evaluator.verdict import verdict


@pytest.mark.parametrize(
    ("difference", "users_p", "crossed_p", "seeds", "expected"),
    [
        (0.1, 0.01, 0.04, 3, "better"),
        (-0.1, 0.01, 0.04, 3, "worse"),
        (0.1, 0.01, 0.05, 3, "no difference shown"),
        (0.1, 0.05, 0.01, 3, "no difference shown"),
        (0.1, 0.01, None, 3, "no difference shown"),
        (0.1, None, 0.01, 3, "no difference shown"),
        (0.1, 0.01, None, 1, "these two models: better"),
        (-0.1, 0.01, None, 1, "these two models: worse"),
        (0.1, 0.2, None, 1, "no difference shown"),
        (None, None, None, 0, "no difference shown"),
    ],
)
def test_a_statement_about_methods_needs_both_tests(difference, users_p, crossed_p, seeds, expected):
    assert verdict(difference, users_p, crossed_p, seeds) == expected
