"""Columns of an atomic file, and the numbers of its lines."""

import pytest

from recbole_bd.data.columns import Column
from recbole_bd.errors import DataError
from tests.helpers.data import table_of


def test_a_column_is_written_as_in_the_header():
    assert str(Column("user_id", "token")) == "user_id:token"


@pytest.mark.parametrize(("row", "line"), [(0, 2), (1, 3), (2, 6), (3, 8)])
def test_rows_are_found_in_the_file_blank_lines_counted(row, line):
    assert table_of("a:token\n0\n1\n\n\n2\n\n3\n").line_of(row) == line


def test_an_error_names_the_file_and_the_line():
    error = table_of("a:token\n0\n").error(7, "wrong")
    assert isinstance(error, DataError)
    assert str(error) == "data file x.inter line 7: wrong"
