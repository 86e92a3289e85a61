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
