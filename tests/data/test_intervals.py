"""Intervals as RecBole's filters write them."""

import math

import pytest

from recbole_bd.data.intervals import check_interval, parse_intervals
from recbole_bd.errors import ConfigError


@pytest.mark.parametrize(
    "value",
    [
        "[5,inf)",
        "(0,1]",
        "[3,3]",
        "(-inf,inf)",
        "[0,1);[3,4)",
        " [0, 1] ; (2 ,3] ",
        "[1e2,2.5e3]",
        [3, 5],
        "(0,1];[0,1]",
    ],
)
def test_intervals_are_accepted(value):
    assert check_interval("val_interval: rating", value) is None


@pytest.mark.parametrize(
    "value",
    ["", "5", "[5", "5,inf)", "[5,inf", "{5,6}", "[5]", "[1,2,3]", "[,5]", "[a,5]", "[5,3]", "[nan,5]", "[1,2];",
     "[1,2],[3,4]", "[1,2];[4,3]", [3], [3, 5, 7], None, 5],
)  # fmt: skip
def test_what_is_no_interval_is_refused_by_its_key(value):
    with pytest.raises(ConfigError) as error:
        check_interval("val_interval: rating", value)
    assert str(error.value) == f"val_interval: rating={value!r}: expected intervals such as [5,inf) or (0,1];[3,4)"


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("[0.1, inf)", [("[", 0.1, math.inf, ")")]),
        ("(-inf,1e2];[ 200 ,3e2)", [("(", -math.inf, 100.0, "]"), ("[", 200.0, 300.0, ")")]),
        ("[9007199254740991,9007199254740993]", [("[", 2.0**53 - 1, 2**53 + 1, "]")]),
        ("(-9223372036854775808,9.007199254740993e15)", [("(", -(2**63), 2**53 + 1, ")")]),
        ([3, 5], [("[", 3.0, 5.0, "]")]),
    ],
)
def test_ends_are_exact(value, parsed):
    found = parse_intervals(value)
    assert found == parsed
    assert all(isinstance(end, int) == (2**53 <= abs(end) < math.inf) for _, *ends, _ in found for end in ends)
