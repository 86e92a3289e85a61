"""The text of a data file, normalized: UTF-8, a line feed at the end of each line, no byte order mark."""

import codecs
import re
from pathlib import Path

from recbole_bd.errors import ConfigError, DataError


def line_error(path: Path, line: int, problem: str) -> DataError:
    """The error that names a line of a data file, from 1."""
    return DataError(f"data file {path} line {line}: {problem}")


def empty_error(path: Path) -> DataError:
    """The error for a file of 0 bytes, or of blank lines alone."""
    return DataError(f"data file {path} is empty: it needs a header and at least one line of cells")


def header_alone_error(path: Path) -> DataError:
    """The error for a file without a line after its header."""
    return DataError(f"data file {path} has a header and no line after it: it needs at least one line of cells")


def shown(text: str, length: int = 60) -> str:
    """The repr of a text, shortened for messages of one line."""
    return repr(text) if len(text) <= length else f"{text[:length]!r}... ({len(text):,} characters)"


def read_text(path: Path, encoding: str) -> bytes:
    """Read a data file and normalize its text.

    A byte order mark is removed. `\\r\\n` becomes `\\n`, and so does `\\r` in a file without other line ends. The last
    line gets a line end. Blank lines stay, so that lines keep their numbers.

    Args:
        path: the file.
        encoding: Python's name of its encoding.

    Returns:
        The text in UTF-8.

    Raises:
        DataError: the file cannot be read, is empty, is not text of this encoding, or has a carriage return or a zero
            byte inside a line.
        ConfigError: Python does not know the encoding.
    """
    content = _line_ends(path, _in_utf8(path, encoding))
    if (place := content.find(b"\0")) >= 0:
        raise line_error(path, line_at(content, place), "the line contains a zero byte, which text does not have")
    if not re.search(rb"[^\n]", content):
        raise empty_error(path)
    return content if content.endswith(b"\n") else content + b"\n"


def line_at(content: bytes, place: int) -> int:
    """The line number, from 1, of a byte."""
    return content.count(b"\n", 0, place) + 1


def _in_utf8(path: Path, encoding: str) -> bytes:
    try:
        codec = codecs.lookup(encoding).name
    except LookupError as error:
        raise ConfigError(f"encoding={encoding!r}: not an encoding that Python knows") from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"data file {path} cannot be read: {error.strerror}") from error
    try:
        if codec not in ("utf-8", "utf-8-sig"):
            content = content.decode(codec).encode()
        elif not content.isascii():
            content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(codec, errors="ignore")
        line = 1 + len(re.findall("\r\n|\r|\n", before))
        byte = content[error.start : error.start + 1].hex()
        raise line_error(path, line, f"byte {byte} is not valid {encoding} text (setting encoding)") from error
    except (UnicodeError, LookupError) as error:  # the codec is not for text, or the text is not valid in it
        raise DataError(f"data file {path} is not valid {encoding} text (setting encoding)") from error
    return content.removeprefix(codecs.BOM_UTF8)


def _line_ends(path: Path, content: bytes) -> bytes:
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
        if b"\n" not in content:
            content = content.replace(b"\r", b"\n")
        elif (place := content.find(b"\r")) >= 0:
            raise line_error(path, line_at(content, place), "the line contains a carriage return")
    return content
