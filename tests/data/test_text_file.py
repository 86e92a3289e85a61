"""Text of data files: encodings, line ends, and lines counted from 1."""

import pytest

from recbole_bd.data.text_file import empty_error, header_alone_error, line_at, line_error, read_text, shown
from recbole_bd.errors import BDError, ConfigError, DataError


@pytest.mark.parametrize(
    ("content", "encoding", "expected"),
    [
        (b"a\nb\n", "utf-8", b"a\nb\n"),
        (b"a\nb", "utf-8", b"a\nb\n"),
        (b"a\r\nb\r\n", "utf-8", b"a\nb\n"),
        (b"a\rb\r", "utf-8", b"a\nb\n"),
        (b"\n\na\n\n", "utf-8", b"\n\na\n\n"),
        (b"\xef\xbb\xbf\xc3\xa9", "utf-8", b"\xc3\xa9\n"),
        (b"\xef\xbb\xbfa", "utf-8-sig", b"a\n"),
        (b"\xe9\n", "latin-1", b"\xc3\xa9\n"),
        ("a\r\né".encode("utf-16"), "utf-16", b"a\n\xc3\xa9\n"),
        ("\ufeffa".encode("utf-16-le"), "utf-16-le", b"a\n"),
    ],
)
def test_text_becomes_utf_8_with_line_feeds(content, encoding, expected, tmp_path):
    (tmp_path / "x").write_bytes(content)
    assert read_text(tmp_path / "x", encoding) == expected


@pytest.mark.parametrize(
    ("content", "encoding", "kind", "message"),
    [
        (b"a", "klingon", ConfigError, "encoding='klingon': not an encoding that Python knows"),
        (b"a", "rot13", DataError, "data file {} is not valid rot13 text (setting encoding)"),
        (b"a", "undefined", DataError, "data file {} is not valid undefined text (setting encoding)"),
        (b"a\r\nb\r\n\xff\n", "utf-8", DataError,
         "data file {} line 3: byte ff is not valid utf-8 text (setting encoding)"),
        (b"a\rb\xe4", "ascii", DataError, "data file {} line 2: byte e4 is not valid ascii text (setting encoding)"),
        (b"", "utf-8", DataError, "data file {} is empty: it needs a header and at least one line of cells"),
        (b"\r\n\n", "utf-8", DataError, "data file {} is empty: it needs a header and at least one line of cells"),
        (b"a\n\nb\0\n", "utf-8", DataError,
         "data file {} line 3: the line contains a zero byte, which text does not have"),
        (b"a\nb\rc\n", "utf-8", DataError, "data file {} line 2: the line contains a carriage return"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused(content, encoding, kind, message, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BDError) as error:
        read_text(tmp_path / "x", encoding)
    assert type(error.value) is kind
    assert str(error.value) == message.format(tmp_path / "x")


@pytest.mark.parametrize(("place", "line"), [(0, 1), (1, 1), (2, 2), (3, 3), (5, 4)])
def test_a_byte_has_the_number_of_its_line(place, line):
    assert line_at(b"a\n\nb\nc", place) == line


def test_long_texts_are_shortened():
    assert shown("a\tb") == "'a\\tb'"
    assert shown("x" * 60) == repr("x" * 60)
    assert shown("x" * 1234, 5) == "'xxxxx'... (1,234 characters)"


def test_errors_name_the_file(tmp_path):
    assert str(line_error(tmp_path, 3, "wrong")) == f"data file {tmp_path} line 3: wrong"
    assert str(empty_error(tmp_path)).startswith(f"data file {tmp_path} is empty")
    assert str(header_alone_error(tmp_path)).startswith(f"data file {tmp_path} has a header and no line")
