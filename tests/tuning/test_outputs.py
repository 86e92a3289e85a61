"""The files that a search leaves."""

import csv

import pytest
import yaml

from recbole_bd.tuning import outputs
from recbole_bd.tuning.study import open_study, run_search
from tests.helpers.searches import storage_of

optuna = pytest.importorskip("optuna", reason="searches need optuna")


@pytest.mark.slow
def test_what_a_search_leaves(search, formula, tmp_path):
    opened = open_study("s", storage_of(tmp_path), search)
    assert [path.name for path in outputs.write_results(opened, search)] == ["trials.csv"]
    run_search(opened, search)
    paths = {path.name: path for path in outputs.write_results(opened, search)}
    assert set(paths) == {"trials.csv", "best.yaml", "history.png", "importance.png"}
    with paths["trials.csv"].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["trial"]) for row in rows] == list(range(12))
    best = max((row for row in rows if row["state"] == "finished"), key=lambda row: float(row["objective"]))
    written = yaml.safe_load(paths["best.yaml"].read_text())
    assert written == {"dataset": "d", "x": float(best["x"]), "y": int(best["y"]), "z": 3}
    assert all(paths[name].read_bytes().startswith(b"\x89PNG") for name in ("history.png", "importance.png"))
    shown = outputs.summary(opened, search)
    assert f"12 trials: {sum(row['state'] == 'finished' for row in rows)} finished" in shown
    assert f"{float(best['objective']):.4f}" in shown.split("\n")[4]


def test_the_best_settings_name_the_data_from_any_folder(search, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search.settings["data_path"] = "d"
    opened = open_study("s", storage_of(tmp_path, "journal"), search)
    with_trials(opened, (0.5, {"x": 0.1}, {}))
    outputs.write_results(opened, search)
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["data_path"] == str(tmp_path / "d")


def with_trials(opened, *trials: tuple[float, dict, dict]) -> None:
    """Add finished trials: objective, drawn settings, attributes."""
    for value, drawn, about in trials:
        opened.add_trial(
            optuna.trial.create_trial(
                value=value,
                params=drawn,
                distributions={name: optuna.distributions.FloatDistribution(0, 1) for name in drawn},
                user_attrs={"settings": drawn, **about},
            )
        )


@pytest.mark.parametrize(
    "trials",
    [
        [(0.5, {"x": 0.1}, {})],
        [(0.5, {"x": 0.1}, {}), (0.5, {"x": 0.9}, {})],
        [(0.5, {"x": 0.1}, {}), (0.6, {"x": 0.1}, {})],
    ],
    ids=["one trial", "one value", "one setting"],
)
def test_where_nothing_differs_nothing_is_more_important(trials, search, tmp_path):
    opened = open_study("s", storage_of(tmp_path, "journal"), search)
    with_trials(opened, *trials)
    names = [path.name for path in outputs.write_results(opened, search)]
    assert names == ["trials.csv", "best.yaml", "history.png"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["history.png"]


def test_the_summary_has_the_best_first_and_no_more_than_are_asked_for(search, tmp_path):
    opened = open_study("s", storage_of(tmp_path, "journal"), search)
    assert outputs.summary(opened, search) == "0 trials: 0 finished, 0 pruned, 0 failed"
    with_trials(opened, *((value, {"x": value}, {"values": {"student": value}}) for value in (0.25, 0.75, 0.5)))
    lines = outputs.summary(opened, search, count=2).splitlines()
    assert lines[0] == "3 trials: 3 finished, 0 pruned, 0 failed"
    assert [line.split() for line in lines[2:] if not line.startswith("-")] == [
        ["trial", "ndcg@5", "student", "x"],
        ["1", "0.7500", "0.7500", "0.75"],
        ["2", "0.5000", "0.5000", "0.5"],
    ]
