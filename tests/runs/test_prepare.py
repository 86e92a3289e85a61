"""What a run refuses before it writes anything."""

import pytest

from recbole_bd import run_bd
from recbole_bd.errors import BDError, CheckpointError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher.embedding_size": 5}, "needs .* it was made for different sizes"),
        ({"seed": 1}, "different data or another split"),
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


def test_sizes_that_cannot_be_are_refused(quick):
    with pytest.raises(BDError, match="samples_per_positive=49"):
        run_bd(config_dict={**quick, "samples_per_positive": 49})
