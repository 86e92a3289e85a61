"""What a run refuses before it writes anything."""

import pytest
import torch

from recbole_bd import load_data_and_model, run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.errors import BDError, CheckpointError
from tests.helpers.resuming import run_differences


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher.embedding_size": 5}, "needs .* it was made for different sizes"),
        ({"seed": 1}, r"different data or another split \(blocks\): use .* settings of its run \(--split_seed=2020\)"),
        ({"teacher_model": "LINE"}, "has model BPR, but this run's teacher has model LINE"),
        ({"teacher.checkpoint": "none.pth"}, "does not exist"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(change, message, finished, tmp_path):
    result, settings = finished
    path = f"{result['run_folder']}/teacher.pth"
    changed = {**settings, "teacher.checkpoint": path, "checkpoint_dir": str(tmp_path / "s"), **change}
    with pytest.raises(CheckpointError, match=message):
        run_bd(config_dict=changed)
    assert not (tmp_path / "s").exists(), "something was written"


def test_runs_of_one_split_seed_share_the_split_and_of_another_seed_have_other_models(quick, tmp_path):
    """A `split_seed` equal to the seed changes no bit of a run, and its warm-ups have the same names."""
    settings = {**quick, "epochs": 1, "distill_epochs": 1, "refresh_period": 1}
    plain, same, other = (
        run_bd(config_dict={**settings, "checkpoint_dir": str(tmp_path / name), "seed": seed, "split_seed": split_seed})
        for name, seed, split_seed in (("plain", 1, None), ("same", 1, 1), ("other", 2, 1))
    )
    assert run_differences(plain, same, ("split_seed", "config_hash", "hashes")) == []
    kept = [{path.name for path in (tmp_path / name / "warmup").glob("*.pth")} for name in ("plain", "same", "other")]
    assert kept[0] == kept[1]
    assert not kept[0] & kept[2]
    assert other["data"] == plain["data"]
    first, second = (load_model(f"{result['run_folder']}/student.pth")[0].state for result in (plain, other))
    assert all(not torch.equal(first[name], second[name]) for name in first)
    loaded = load_data_and_model(f"{other['run_folder']}/student.pth")
    assert loaded[2].config["split_seed"] == 1  # another split would have been refused


def test_sizes_that_cannot_be_are_refused(quick):
    with pytest.raises(BDError, match="samples_per_positive=49"):
        run_bd(config_dict={**quick, "samples_per_positive": 49})
