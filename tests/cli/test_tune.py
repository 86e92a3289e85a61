"""`recbole-bd tune` as a user meets it; the search itself is tested with the package that searches."""

import pytest

from recbole_bd.tuning import command


def test_the_search_gets_the_settings_and_files_and_its_text_is_printed(cli, monkeypatch):
    asked = []
    monkeypatch.setattr(command, "run_tuning", lambda *given: asked.append(given) or "1 trials: 1 finished")
    line = ["tune", "--space=space.yaml", "--config_files", "a.yaml", "--trials=3"]
    assert cli(*line) == (0, "1 trials: 1 finished\n", "")
    assert asked == [({"space": "space.yaml", "trials": 3}, ["a.yaml"])]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--trials=3"],
            "tune: --space=FILE is missing: name a file of settings to search, such as properties/tuning/BD.yaml",
        ),
        (["--space=x.yaml", "--dry-run"], "--dry-run applies to a single run: recbole-bd run --dry-run"),
    ],
)
def test_wrong_words_are_one_line(words, message, cli, tmp_path):
    pytest.importorskip("optuna", reason="searches need optuna")
    assert cli("tune", *words) == (2, "", f"recbole-bd: error: {message}\n")
    assert list(tmp_path.iterdir()) == []
