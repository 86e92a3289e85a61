"""Atomic files: bad ones are refused with the line, odd ones taken right, good ones exactly as RecBole takes them."""

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_bd.data.atomic_file import AtomicFile
from recbole_bd.data.line_checks import LONGEST_TOKEN
from recbole_bd.data.number_checks import LARGEST, MISSING
from recbole_bd.data.split import load_split
from recbole_bd.errors import BDError, ConfigError, DataError
from tests.helpers.bounds import tried
from tests.helpers.counts import tally
from tests.helpers.data import block_pairs
from tests.helpers.settings import make_config

HEADER = "user_id:token\titem_id:token\trating:float\n"
LINES = [f"{user}\t{item}\t{1 + number % 5}\n" for number, (user, item) in enumerate(block_pairs())]
RATED = {"load_col": {"inter": ["user_id", "item_id", "rating"]}}


def good(line: int | None = None, text: str = "", header: str = HEADER) -> str:
    """A good file, with some text in place of one line (1 is the header)."""
    lines = [header, *LINES]
    if line:
        lines[line - 1] = text
    return "".join(lines)


def split_of(quick, folder, content: str | bytes, ending="inter", **more):
    path = folder / "odd" / f"odd.{ending}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_split(make_config({**quick, "dataset": "odd", "data_path": str(folder), **RATED, **more}))


def tokens_of(split) -> list[tuple[str, str]]:
    users, items = split.dataset.inter_feat["user_id"].numpy(), split.dataset.inter_feat["item_id"].numpy()
    names = (split.dataset.id2token("user_id", users), split.dataset.id2token("item_id", items))
    return sorted(zip(*(map(str, column) for column in names), strict=True))


BAD = {
    "too few cells": (good(17, "u1\ti2\n"), r"line 17: expected 3 cells, as in the header, found 2: 'u1\\ti2'"),
    "too many cells": (good(17, "u1\ti2\t3\t4\n"), "line 17: expected 3 cells.*found 4"),
    "two bad lines that make up for each other": (good(17, "u1\ti2\nu1\ti2\t3\t4\n"), "line 17: .*found 2"),
    "cut off": (good()[:-3], f"line {len(LINES) + 1}: .*found 2"),
    "wrong separator": (good().replace("\t", ","), r"line 1: expected a header .*field_separator='\\t'"),
    "wrong separator but for the header": (HEADER + "".join(LINES).replace("\t", ","), "line 2: .*found 1: 'u0,i"),
    "text for a number": (good(9, "u1\ti2\tgood\n"), "line 9: column rating: expected a number.*found 'good'"),
    "quoted number": (good(9, 'u1\ti2\t"3"\n'), "line 9: column rating"),
    "decimal comma": (good(9, "u1\ti2\t3,5\n"), "line 9: column rating"),
    "python's own numbers": (good(9, "u1\ti2\t1_000\n"), "line 9: column rating"),
    "too large a number": (good(9, "u1\ti2\t1e999\n"), "line 9: column rating: .*found '1e999'"),
    "too large for float32": (good(9, "u1\ti2\t1e39\n"), "line 9: column rating: .*at most 3.4e.38, found '1e39'"),
    "400 digits": (good(9, f"u1\ti2\t{'7' * 400}\n"), r"line 9: column rating: .*found '7{60}'\.\.\. \(400 char"),
    "infinity": (good(9, "u1\ti2\t-inf\n"), "line 9: column rating: .*found '-inf'"),
    "number in a line behind blank ones": (good(9, "\n\nu1\ti2\tx\n"), "line 11: column rating"),
    "number before cells": (good(9, "u1\ti2\tx\nu1\ti3\n"), "line 9: column rating: .*found 'x'"),
    "cells before number": (good(9, "\nu1\ti2\nu1\ti3\tx\n"), "line 10: expected 3 cells"),
    "item before user": (good(9, "u1\t\t3\n\ti3\t3\n"), "line 9: column item_id is empty"),
    "first of two": (good(9, "u1\ti2\tx\nu1\ti3\ty\n"), "line 9: column rating: .*found 'x'"),
    "no user": (good(30, "\ti2\t3\n"), "line 30: column user_id is empty"),
    "no item": (good(30, "u1\t\t3\n"), "line 30: column item_id is empty"),
    "an empty line of cells": (good(30, "\t\t\n"), "line 30: column user_id is empty"),
    "padding as an id": (good(30, "[PAD]\ti2\t3\n"), r"line 30: column user_id: the id \[PAD\]"),
    "gigantic id": (good(30, f"u1\t{'x' * 100_000}\t3\n"), r"line 30: column item_id: .*\(100,000 characters\)"),
    "missing column": (good(1, "user_id:token\tthing:token\trating:float\n"), "line 1: has no column item_id"),
    "column twice": (good(1, "user_id:token\titem_id:token\titem_id:token\n"),
                     "line 1: column item_id appears more than once"),
    "no types": (good(1, "user_id\titem_id\trating\n"), "line 1: expected a header"),
    "no header": ("".join(LINES), "line 1: expected a header"),
    "unknown type": (good(1, "user_id:token\titem_id:text\trating:float\n"), "line 1: type 'text' of column item_id"),
    "ids that are numbers": (good(1, "user_id:float\titem_id:token\trating:float\n"), "line 1: ids must be of"),
    "quoted header": (good(1, '"user_id:token"\t"item_id:token"\t"rating:float"\n'), "line 1: type 'token\"'"),
    "blank line first": ("\n" + good(), "line 1: expected a header"),
    "header only": (HEADER, "a header and no line after it"),
    "header only, without an end": (HEADER[:-1], "a header and no line after it"),
    "header and blank lines": (HEADER + "\n\n", "a header and no line after it"),
    "nothing": ("", "is empty"),
    "blank lines only": ("\n\n", "is empty"),
    "carriage return in a line": (good(8, "u1\ti\r2\t3\n"), "line 8: the line contains a carriage return"),
    "zero byte": (good(8, "u1\ti\0\t3\n"), "line 8: the line contains a zero byte"),
    "no UTF-8": (good(8, "u1\té\t3\n").encode("latin-1"),
                 r"line 8: byte e9 is not valid utf-8 text \(setting encoding\)"),
    "UTF-16": (good().encode("utf-16"), "line 1: byte ff is not valid utf-8 text"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "line 1: byte 89 is not valid utf-8 text"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_short_line_with_file_and_line(case, tmp_path, quick):
    content, message = BAD[case]
    with pytest.raises(DataError, match=message) as error:
        split_of(quick, tmp_path, content)
    assert str(tmp_path / "odd" / "odd.inter") in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) - len(str(tmp_path)) < 300


TAKEN = {
    "byte order mark": ("\ufeff" + good(), {}),
    "CRLF": (good().replace("\n", "\r\n"), {}),
    "CR": (good().replace("\n", "\r"), {}),
    "byte order mark and CRLF": ("\ufeff" + good().replace("\n", "\r\n"), {}),
    "no final newline": (good()[:-1], {}),
    "blank lines": (good(12, "\n\n" + LINES[10] + "\n") + "\n\n", {}),
    "another encoding": (good().encode("utf-16"), {"encoding": "utf-16"}),
    "another separator": (good().replace("\t", ","), {"field_separator": ","}),
    "space as separator": (good().replace("\t", " "), {"field_separator": " "}),
    "wide separator": (good().replace("\t", "§"), {"field_separator": "§"}),
    "special separator": (good().replace("\t", "||"), {"field_separator": "||"}),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_an_odd_file_gives_the_split_of_the_plain_one(case, tmp_path, quick):
    content, more = TAKEN[case]
    (tmp_path / "plain").mkdir()
    plain = split_of(quick, tmp_path / "plain", good())
    odd = split_of(quick, tmp_path, content, **more)
    assert odd.fingerprint == plain.fingerprint
    assert tokens_of(odd) == sorted(block_pairs())


IDS = ["NA", "null", "nan", "None", "N/A", "#N/A", "-inf", "1e5", "007", "7", " 7", "7 ", '"', '"a', 'a"b', "'",
       "a,b", "#", "\\", "\\N", "é", "日本", "👩‍👧", "\u2028x", "\x0b", "\x85y", "a" * LONGEST_TOKEN, "-", "0",
       "True", " "]  # fmt: skip


def test_unusual_ids_stay_as_they_are(tmp_path, quick):
    pairs = [(user, item) for number, user in enumerate(IDS) for item in (IDS * 2)[number : number + 9]]
    split = split_of(quick, tmp_path, HEADER + "".join(f"{user}\t{item}\t1\n" for user, item in pairs))
    assert tokens_of(split) == sorted(pairs)
    assert list(split.dataset.field2id_token["user_id"]) == ["[PAD]", *IDS]
    parts = [pair for part in ("train", "valid", "test") for pair in zip(*map(list, split.pairs(part)), strict=True)]
    assert len(parts) == len(pairs)


def test_missing_numbers_are_taken_and_said(tmp_path, quick, caplog):
    text = good(9, "\nu1\ti2\t\n").replace(LINES[20], "u2\ti3\tNA\n")
    with caplog.at_level(logging.WARNING):
        split = split_of(quick, tmp_path, text)
    assert "odd.inter: 2 cell(s) of column rating contain no number, the first in line 10" in caplog.text
    assert not np.isnan(split.dataset.inter_feat["rating"].numpy()).any()


def test_the_bad_part_of_a_fixed_split_is_named(tmp_path, quick):
    parts = ["train", "valid", "test"]
    for number, part in enumerate(parts):
        text = HEADER + "".join(LINES[number::3])
        split_path = tmp_path / "odd" / f"odd.{part}.inter"
        split_path.parent.mkdir(exist_ok=True)
        split_path.write_text(text if part != "valid" else text + "u1\n")
    config = make_config({**quick, "dataset": "odd", "data_path": str(tmp_path), "benchmark_filename": parts})
    with pytest.raises(DataError, match=rf"odd\.valid\.inter line {len(LINES[1::3]) + 2}: expected 3 cells"):
        load_split(config)


FEATURES = {
    "missing column": ("item_id:token\tsize:float\n", "", "odd.item line 1: has no column price"),
    "text": ("item_id:token\tprice:float\n", "i3\tdear\n", "odd.item line 50: column price: .*'dear'"),
    "sequence": ("item_id:token\tprice:float_seq\n", "i3\t1 2 x 3\n", "odd.item line 50: column price: .*'x'"),
    "infinite": ("item_id:token\tprice:float_seq\n", "i3\t1 1e99\n", "odd.item line 50: column price: .*'1e99'"),
    "long": ("item_id:token\tprice:token_seq\n", f"i3\ta {'b' * 5000} c\n", "odd.item line 50: column price: .*5,000"),
    "no id": ("item_id:token\tprice:float\n", "\t3\n", "odd.item line 50: column item_id is empty"),
    "cells": ("item_id:token\tprice:float\n", "i3\n", "odd.item line 50: expected 2 cells"),
    "empty": ("", "", "odd.item is empty"),
}


@pytest.mark.parametrize("case", FEATURES)
def test_files_of_features_are_checked_too(case, tmp_path, quick):
    header, line, message = FEATURES[case]
    lines = "".join(f"i{item}\t{item}\n" for item in range(48)) if header else ""
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.item").write_text(header + lines + line)
    with pytest.raises(DataError, match=message):
        split_of(quick, tmp_path, good(), load_col={"inter": ["user_id", "item_id"], "item": ["item_id", "price"]})


def test_features_are_what_the_file_says(tmp_path, quick):
    rows = [(f"i{item}", f"{item} NA  null", f"{item / 4} -1e-3") for item in range(48)]
    text = "item_id:token\twords:token_seq\tnumbers:float_seq\n" + "".join("\t".join(row) + "\n" for row in rows)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.item").write_text(text + "i0\t\t\n")  # RecBole keeps the first of an item
    split = split_of(quick, tmp_path, good(), load_col={"inter": ["user_id", "item_id"], "item": "*"})
    features, words = split.dataset.item_feat, split.dataset.field2id_token["words"]
    for number, item in enumerate(split.dataset.field2id_token["item_id"][features["item_id"]][1:], start=1):
        index = int(item[1:])
        assert [str(words[word]) for word in features["words"][number]] == [str(index), "NA", "null"]
        assert features["numbers"][number].tolist() == pytest.approx([index / 4, -0.001])


def test_a_control_character_rules_out_a_separator_of_several_bytes(tmp_path, quick):
    text = good(9, "u1\ti\x1f2\t3\n").replace("\t", "||")
    with pytest.raises(DataError) as error:
        split_of(quick, tmp_path, text, field_separator="||")
    assert str(error.value) == (
        f"data file {tmp_path / 'odd' / 'odd.inter'} line 9: the line contains the control character '\\x1f'; choose a "
        "separator of one byte"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"field_separator": ""}, "field_separator=''"),
        ({"field_separator": "\n"}, "field_separator"),
        ({"field_separator": None}, "field_separator=None"),
        ({"seq_separator": ""}, "seq_separator=''"),
        ({"encoding": "klingon"}, "encoding='klingon': not an encoding that Python knows"),
        ({"load_col": {"inter": "user_id"}}, "load_col: inter='user_id': expected a list"),
        ({"load_col": {"inter": [1]}}, "expected a list"),
        ({"USER_ID_FIELD": None}, "USER_ID_FIELD=None: must name a column"),
    ],
)
def test_settings_with_which_nothing_can_be_read_are_named(more, message, tmp_path, quick):
    with pytest.raises(BDError, match=message):
        split_of(quick, tmp_path, good(), **more)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data file .*gone\.inter cannot be read: No such file"):
        AtomicFile(tmp_path / "gone.inter")


def read(path) -> pd.DataFrame | str:
    """All columns of a rated file, or the error."""
    try:
        file = AtomicFile(path)
        file.require(["rating"], ["user_id", "item_id"])
        columns = [str(column) for column in file.columns]
        return file.frame(path, usecols=columns, dtype=dict(zip(columns, (str, str, np.float64), strict=True)))
    except DataError as error:
        return str(error)


def by_hand(content: bytes) -> list[list[str]] | None:
    """Cells of a file in plain Python; None where it must be refused."""
    try:
        text = content.decode().removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None
    if "\n" not in text:
        text = text.replace("\r", "\n")
    rows = [line.split("\t") for line in text.split("\n") if line]
    if {"\r", "\0"} & set(text) or text.split("\n")[0] != HEADER[:-1] or len(rows) < 2:
        return None
    for row in rows[1:]:
        if len(row) != 3 or not row[0] or not row[1] or "[PAD]" in row[:2] or max(map(len, row)) > LONGEST_TOKEN:
            return None
        if row[2] in MISSING:
            continue
        try:
            number = float(row[2])
        except ValueError:
            return None
        if not abs(number) <= LARGEST:
            return None
    return rows[1:]


PIECES = [*(bytes([byte]) for byte in b'\n\r\t "\'\0,#\\ae.-+5'), b"\xef\xbb\xbf", b"\xff", "é".encode(), b"NA", b"nan",
          b"inf", b"1e400", b"\n\n", b"\r\n", b"\t\t", b"[PAD]", b"u9\ti9\t4\n", b"9" * 320]  # fmt: skip


@tried(300)
@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 6), st.sampled_from(PIECES)),
        min_size=1,
        max_size=4,
    )
)
def test_any_damage_is_refused_or_read_to_the_letter(tmp_path, pytestconfig, changes):
    """Bytes taken out and put in at random places, against a reader of plain Python."""
    content = good()[:200].rpartition("\n")[0].encode() + b"\n"
    for place, length, piece in changes:
        content = content[:place] + piece + content[place + length :]
    path = tmp_path / "x.inter"
    path.write_bytes(content)
    expected, found = by_hand(content), read(path)
    tally(pytestconfig, f"damaged data files: {'refused' if isinstance(found, str) else 'read'}")
    if expected is None:
        assert isinstance(found, str), (content, found)
        assert "\n" not in found
        assert " line " in found or "is empty" in found
        return
    assert not isinstance(found, str), (content, found)
    assert found.iloc[:, :2].to_numpy().tolist() == [row[:2] for row in expected]
    numbers = ["nan" if row[2] in MISSING else row[2] for row in expected]
    np.testing.assert_array_equal(found.iloc[:, 2], np.array(numbers, dtype=float))


@pytest.mark.parametrize(
    ("separator", "shown"), [("\t", "<TAB>"), (" ", "<SPACE>"), (",", ","), ("::", None), ("|", "|"), ("; ", "; ")]
)
def test_the_header_that_is_expected_has_the_separator_of_the_settings(separator, shown, tmp_path):
    path = tmp_path / "x.inter"
    path.write_text(f"user{separator}item\n1{separator}2\n")
    with pytest.raises((ConfigError, DataError)) as error:
        AtomicFile(path, field_separator=separator)
    if shown is not None:  # a colon separates a column's name from its type
        assert f"expected a header such as user_id:token{shown}item_id:token, found" in str(error.value)
