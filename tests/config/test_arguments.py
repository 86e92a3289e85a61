"""Checks of values that several commands share."""

import pytest

from recbole_bd.config.arguments import count_of
from recbole_bd.errors import ConfigError


@pytest.mark.parametrize("value", [1, 7])
def test_counts_are_whole_numbers_above_0(value):
    assert count_of("jobs", value) == value


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", None, [1]])
def test_what_is_no_count_is_refused(value):
    with pytest.raises(ConfigError) as error:
        count_of("jobs", value)
    assert str(error.value) == f"jobs={value!r}: must be a whole number of at least 1"
