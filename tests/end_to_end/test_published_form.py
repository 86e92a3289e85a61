"""The files of properties/reproduce/ on a small data set of the published name and parts."""

import pytest

from recbole_bd import run_bd
from recbole_bd.config.property_files import properties_path
from tests.helpers.data import block_pairs, write_inter

SMALL = {"metrics": ["Hit", "NDCG"], "topk": [5], "valid_metric": "NDCG@5", "epochs": 2, "distill_epochs": 2}


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(properties_path("reproduce").glob("*.yaml")), ids=lambda path: path.stem)
def test_one_file_is_one_run_with_both_controls(path, tmp_path):
    pairs = block_pairs()
    for part, rows in {
        "train": pairs[2::9] + pairs[3::9] + pairs[4::9],
        "valid": pairs[::9],
        "test": pairs[1::9],
    }.items():
        write_inter(tmp_path, "citeulike", rows, part)
    settings = {**SMALL, "data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "saved"), "show_progress": False}
    result = run_bd(config_files=[path], config_dict={**settings, "eval_step": 1})
    assert result["status"] == "finished"
    for role in ("teacher", "student"):
        assert {"separate", "continued", "placebo", "distilled"} <= result[role].keys()
    assert "pointwise" in result["objective"]["distilled"]["student"]
