"""Conversion of CiteULike's public file, as the page of data sets shows it."""

import re

from tests.helpers.paths import ROOT

BLOCK = re.compile(r"^<!-- citeulike -->\n```python\n(.*?)^```$", re.M | re.S)
# The counts of two users with five or six articles are items; a user with fewer is left out, and its article too.
USERS = "5 20 30 40 50 60\n4 7 20 30 40\n6 5 21 30 41 50 90\n"


def test_the_conversion_holds_out_the_last_two_of_each_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users.dat").write_text(USERS)
    (block,) = BLOCK.findall((ROOT / "docs" / "datasets.md").read_text(encoding="utf-8"))
    exec(compile(block, "docs/datasets.md", "exec"), {})
    rows = {
        part: (tmp_path / "citeulike" / f"citeulike.{part}.inter").read_text() for part in ("train", "valid", "test")
    }
    # Numbers of the items: 5 6 20 21 30 40 41 50 60 90, in this order.
    expected = {
        "train": [(0, 0), (0, 2), (0, 4), (0, 5), (1, 1), (1, 0), (1, 3), (1, 4), (1, 6)],
        "test": [(0, 7), (1, 7)],
        "valid": [(0, 8), (1, 9)],
    }
    for part, pairs in expected.items():
        lines = [f"{user}\t{item}" for user, item in pairs]
        assert rows[part].splitlines() == ["user_id:token\titem_id:token", *lines]
