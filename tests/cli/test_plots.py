"""`recbole-bd plots` as a user meets it."""

import pytest


@pytest.mark.parametrize("words", [[], ["--metric=x"], ["no/such/folder"]])
def test_the_command_refuses_what_is_no_folder(words, cli):
    code, out, err = cli("plots", *words)
    assert (code, out) == (2, "")
    assert err.startswith("recbole-bd: error: ")
    assert len(err.strip().splitlines()) == 1


def test_the_pictures_of_every_folder_are_named(cli, monkeypatch):
    monkeypatch.setattr("recbole_bd.runs.plots.redraw", lambda folder: [f"{folder}/a.png", f"{folder}/b.png"])
    assert cli("plots", "one", "two") == (0, "one/a.png\none/b.png\ntwo/a.png\ntwo/b.png\n", "")


@pytest.mark.parametrize("words", [[], ["--metric=x"], ["run", "-x"]])
def test_settings_are_refused(words, cli):
    message = "plots takes run folders and no settings: recbole-bd plots saved/RUN"
    assert cli("plots", *words) == (2, "", f"recbole-bd: error: {message}\n")
