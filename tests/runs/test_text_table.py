"""Plain-text tables."""

import pytest

from recbole_bd.runs.text_table import epoch_text, grid


@pytest.mark.parametrize(
    ("header", "rows", "left", "lines"),
    [
        (
            ["name", "value"],
            [["a", "1.25"], ["longer", "10"]],
            (0,),
            ["name      value", "------  -------", "a          1.25", "longer       10"],
        ),
        (["a", "b"], [["long", ""]], (0, 1), ["a     b", "----  ---", "long"]),
        (["a", "b"], [], (0, 1), ["a    b", "---  ---"]),
        # Text stays as it is: no number is rewritten, and spaces at the edge of a cell align the cells.
        (
            ["a", "b"],
            [["1_0", " 0.50 "], ["1e5", ">0.25<"]],
            (0,),
            ["a         b", "---  ------", "1_0   0.50", "1e5  >0.25<"],
        ),
    ],
)  # fmt: skip
def test_cells_stand_in_columns_under_a_ruled_header(header, rows, left, lines):
    assert grid(header, rows, left=left).splitlines() == lines


def test_the_state_before_the_first_epoch_is_the_start():
    assert [epoch_text(epoch) for epoch in (-1, 0, 12)] == ["start", "0", "12"]
