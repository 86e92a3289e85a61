"""`recbole-bd plots` as a user meets it."""

import pytest


@pytest.mark.parametrize("words", [[], ["--metric=x"], ["no/such/folder"]])
def test_the_command_refuses_what_is_no_folder(words, cli):
    code, out, err = cli("plots", *words)
    assert (code, out) == (2, "")
    assert err.startswith("recbole-bd: error: ")
    assert len(err.strip().splitlines()) == 1
