"""The first wrong line of an atomic file."""

import pytest

from recbole_bd.data import line_checks
from recbole_bd.data.line_checks import LONGEST_TOKEN, first_wrong_line
from tests.helpers.data import table_of

HEADER = "user_id:token\titem_id:token\twords:token_seq\n"
WANTED = {"user_id:token", "item_id:token", "words:token_seq"}
KEYS = {"user_id", "item_id"}
LONG = "x" * (LONGEST_TOKEN + 1)
TOO_LONG = f"expected at most 1,024 bytes, found '{'x' * 60}'... (1,025 characters)"


def found(lines: str, wanted=WANTED, keys=KEYS, **more):
    """Where the first wrong line begins among the lines, and what is wrong; None if all are right."""
    wrong = first_wrong_line(table_of(HEADER + lines, **more), wanted, keys)
    return wrong and (wrong[0] - len(HEADER), str(wrong[1]).removeprefix("data file x.inter "))


@pytest.mark.parametrize(
    "lines",
    [
        "u\ti\t\n",
        "\n\nu\ti\ta b\n\n",
        "[PAX]\t[aaa]\t[PAD]\n",  # as wide as the padding's id, or no id
        f"u\ti\t{'word ' * 400}\n",  # a long cell of short words
        f"{'x' * LONGEST_TOKEN}\ti\ta\n",
    ],
)
def test_right_lines_pass(lines):
    assert found(lines) is None


@pytest.mark.parametrize(
    ("lines", "start", "message"),
    [
        ("u\ti\ta\nu\ti\n", 6, "line 3: expected 3 cells, as in the header, found 2: 'u\\ti' (field_separator='\\t')"),
        ("\n\nu\n", 2, "line 4: expected 3 cells, as in the header, found 1: 'u' (field_separator='\\t')"),
        ("u\ti\ta\n\ti\ta\n", 6, "line 3: column user_id is empty, expected an id"),
        ("u\t\ta\n", 0, "line 2: column item_id is empty, expected an id"),
        ("[aaa]\ti\ta\n[PAD]\ti\ta\n", 10, "line 3: column user_id: the id [PAD] is reserved for RecBole's padding"),
        (f"u\t{LONG}\ta\n", 0, "line 2: column item_id: " + TOO_LONG),
        (f"u\ti\ta {LONG} b\n", 0, "line 2: column words: " + TOO_LONG),
        (f"u\ti\t{'word ' * 400}\nu\ti\t{LONG}\n", 2005,
         "line 3: column words: " + TOO_LONG),
        (f"u\ti\t{'é' * 513}\n", 0,
         f"line 2: column words: expected at most 1,024 bytes, found '{'é' * 60}'... (513 characters)"),
        ("u\t\ta\n\ti\ta\nu\n", 0, "line 2: column item_id is empty, expected an id"),
    ],
)  # fmt: skip
def test_the_first_wrong_line_is_named(lines, start, message):
    assert found(lines) == (start, message)


def test_columns_that_are_not_loaded_may_hold_anything():
    assert found(f"u\ti\t{LONG}\n", wanted={"user_id:token", "item_id:token"}) is None
    assert found("\ti\ta\n", keys={"item_id"}) is None


def test_the_separator_of_the_file_is_shown():
    header = HEADER.replace("\t", "|")
    wrong = first_wrong_line(table_of(header + "u|i\n", "|", "||"), WANTED, KEYS)
    assert str(wrong[1]) == (
        "data file x.inter line 2: expected 3 cells, as in the header, found 2: 'u||i' (field_separator='||')"
    )


@pytest.mark.parametrize("line", [2, 5, 60, 300])
def test_lines_are_counted_across_blocks(line, monkeypatch):
    """A file larger than what is looked at together: the line is that of the file."""
    monkeypatch.setattr(line_checks, "_BLOCK", 64)
    lines = [f"u{number}\ti{number}\ta\n" for number in range(2, 301)]
    wrong = "\nu1\ti2\n" if line < 60 else f"{'u' * 100}\t\t1\n"
    start = len("".join(lines[: line - 2])) + (line < 60)
    lines[line - 2] = wrong
    place, message = found("".join(lines))
    assert place == start
    assert message.startswith(f"line {line + (line < 60)}: ")
