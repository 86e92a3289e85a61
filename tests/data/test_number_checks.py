"""Numbers of an atomic file: read as Python reads them, and refused where float32 has none."""

import math

import numpy as np
import pytest

from recbole_bd.data.number_checks import LARGEST, MISSING, read_cells, warn_of_missing_numbers
from recbole_bd.errors import DataError
from tests.helpers.data import table_of

HEADER = "id:token\tage:float\tprice:float\tsizes:float_seq\n"


def read(lines: str, header: str = HEADER):
    table = table_of(header + lines)
    columns = [str(column) for column in table.columns]
    types = {column: np.float64 if column.endswith(":float") else str for column in columns}
    content = "\n".join(line for line in table.content.decode().split("\n") if line) + "\n"
    return table, read_cells(table, content.encode(), columns, types)


@pytest.mark.parametrize(
    "number",
    ["7", "-0", "+.5", "5.", " 5 ", "\x0b5\x0c", "1e-2000", "1e-320", "2.2250738585072011e-308", "0.1" + "0" * 400,
     "3.4028234663852886e+38", "-3.4028234663852886e+38", "340282346638528859811704183484516925440",
     "9007199254740993"],
)  # fmt: skip
def test_a_number_is_what_python_reads(number):
    _, frame = read(f"a\t{number}\t1\t{number} 2\n")
    assert math.copysign(1, frame["age:float"][0]) == math.copysign(1, float(number))
    assert frame["age:float"][0] == float(number)


@pytest.mark.parametrize("word", MISSING)
def test_words_for_a_missing_number_are_missing_in_columns_of_numbers_only(word):
    _, frame = read(f"{word}\t{word}\t1\t1\n")
    assert math.isnan(frame["age:float"][0])
    assert frame["id:token"].fillna("")[0] == word


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a\t1\tx\t1\n", "line 2: column price: expected a number of at most 3.4e+38, found 'x'"),
        ("a\t1\t2\t1 y 3\n", "line 2: column sizes: expected a number of at most 3.4e+38, found 'y'"),
        ("a\t1\t2\t1\n\na\t1e39\t2\t1\n", "line 4: column age: expected a number of at most 3.4e+38, found '1e39'"),
        ("a\t1\t2\t1 -4e38\n", "line 2: column sizes: expected a number of at most 3.4e+38, found '-4e38'"),
        ("a\t1\t2\tinf\n", "line 2: column sizes: expected a number of at most 3.4e+38, found 'inf'"),
        ("a\tinf\t2\t1\n", "line 2: column age: expected a number of at most 3.4e+38, found 'inf'"),
        ("a\t1\t2\tNA\n", "line 2: column sizes: expected a number of at most 3.4e+38, found 'NA'"),
        ("a\t1\t2\t1\na\t1\ty\t1\na\tx\t2\t1\n",
         "line 3: column price: expected a number of at most 3.4e+38, found 'y'"),
        ("a\t1\ty\t1\na\tx\t2\t1\n", "line 2: column price: expected a number of at most 3.4e+38, found 'y'"),
        ("a\tx\ty\tz\n", "line 2: column age: expected a number of at most 3.4e+38, found 'x'"),
        (f"a\t{'9' * 400}\t2\t1\n",
         f"line 2: column age: expected a number of at most 3.4e+38, found '{'9' * 60}'... (400 characters)"),
    ],
)  # fmt: skip
def test_the_first_cell_that_is_no_number_is_named(lines, message):
    with pytest.raises(DataError) as error:
        read(lines)
    assert str(error.value) == f"data file x.inter {message}"


def test_a_sequence_may_be_empty():
    _, frame = read("a\t1\t2\t\nb\t1\t2\t 1  2 \n")
    assert frame["sizes:float_seq"].isna().tolist() == [True, False]


def test_missing_numbers_are_counted_and_the_first_is_placed(caplog):
    table, frame = read("a\t1\tNA\t1\n\nb\t\tnull\t\nc\t3\t4\t5\n")
    warn_of_missing_numbers(table, frame)
    said = (
        "data file x.inter: {} cell(s) of column {} contain no number, the first in line {}; the mean of the column "
        "takes their place"
    )
    assert [record.getMessage() for record in caplog.records] == [said.format(1, "age", 4), said.format(2, "price", 2)]


def test_the_largest_number_is_that_of_float32():
    assert np.float32(LARGEST) == LARGEST
    assert LARGEST == (2 - 2.0**-23) * 2.0**127


BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("cells", "exact"),
    [
        ([BIG, 5], True),
        ([-(2**63), 2**63 - 1], True),
        ([2**64 - 1, 0], True),
        ([f" +{BIG} ", "-7"], True),
        ([BIG - 2, 5], False),
        ([BIG, 0.5], False),
        ([BIG, "1e18"], False),
        ([2**64, 5], False),
        ([-1, 2**64 - 1], False),
    ],
)
def test_a_column_of_large_integers_is_exact(cells, exact):
    _, frame = read("".join(f"a\t{cell}\t1\t1\n" for cell in cells))
    values = frame["age:float"]
    assert (values.dtype.kind in "iu") == exact
    assert values.tolist() == [int(cell) if exact else float(cell) for cell in cells]
    assert frame["price:float"].dtype == np.float64


def test_large_integers_beside_missing_cells_are_rounded_with_a_warning(caplog):
    _, frame = read(f"a\t{BIG}\t1\t1\na\t\t1\t1\n")
    assert frame["age:float"].dtype == np.float64
    assert caplog.messages == [
        "data file x.inter: column age contains integers above 2^53 and missing cells; the integers are rounded to "
        "float64"
    ]
