"""A run beside the same teacher of another seed, from hand-made records."""

import json
import os

import numpy as np
import pytest

from recbole_bd.errors import ComparisonError
from recbole_bd.runs.twins import twins
from tests.helpers.twins import USERS, write_twins


@pytest.fixture
def folders(tmp_path):
    return write_twins(tmp_path)


def test_student_and_twin_stand_beside_the_teacher(folders):
    found = twins(*folders)
    student, twin = found.pairs
    assert (found.users, student.other, twin.other) == (4, "student", "twin")
    assert (student.by_validation.ratio, student.by_validation.headroom) == (0.5, pytest.approx(0.75 / 0.5 - 1))
    assert (twin.by_validation.ratio, twin.by_validation.headroom) == (1.0, pytest.approx(0.75 / 0.5 - 1))
    assert student.by_validation.correlation == pytest.approx(-1 / np.sqrt(3))
    assert twin.by_validation.correlation == pytest.approx(0)
    assert (student.wins, student.wins_trained) == (0.5, pytest.approx(1 / 3))
    assert (twin.wins, twin.wins_trained) == (0.25, pytest.approx(1 / 3))


def test_without_a_trained_item_their_share_is_none(folders):
    with np.load(folders[0] / "test_ranks.npz") as stored:
        arrays = dict(stored)
    np.savez(folders[0] / "test_ranks.npz", **{**arrays, "item_popularity": np.zeros(4, int)})
    assert [pair.wins_trained for pair in twins(*folders).pairs] == [None, None]


def change(folder, **changes):
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without(folder, name, key):
    with np.load(folder / name) as stored:
        arrays = {other: stored[other] for other in stored.files if other != key}
    np.savez(folder / name, **arrays)


TEACHER = {"model": "BPR", "parameters": 80, "separate": {}}
REFUSED = {
    "another split": (
        lambda run, twin: change(twin, data={"fingerprint": "g"}),
        "have different data or splits (fingerprints f and g): compare runs with the same data settings and, if the "
        "split is random, the same split_seed or seed",
    ),
    "other candidates": (
        lambda run, twin: change(twin, data={"fingerprint": "f", "candidates": {"valid": "c"}}),
        "ranked the validation items among other candidates",
    ),
    "the same seed": (lambda run, twin: change(twin, seed=1), "both have seed 1; a twin has another seed"),
    "another model": (
        lambda run, twin: change(twin, teacher={**TEACHER, "model": "DMF"}),
        "have the teachers BPR with 80 parameters and DMF with 80 parameters; a twin is the same model of another seed",
    ),
    "no teacher": (lambda run, twin: change(twin, teacher=None), "two has no teacher that was evaluated"),
    "an older run": (lambda run, twin: os.remove(run / "per_user_valid.npz"), "per_user_valid.npz does not exist"),
    "no ranks": (lambda run, twin: os.remove(twin / "test_ranks.npz"), "test_ranks.npz does not exist"),
    "damaged ranks": (
        lambda run, twin: without(twin, "test_ranks.npz", "item"),
        "test_ranks.npz is damaged: it must contain user, item, item_popularity",
    ),
    "another metric": (
        lambda run, twin: change(run, valid_metric="mrr@5"),
        "were not selected by the same metric over users",
    ),
    "another order": (
        lambda run, twin: np.savez(twin / "test_ranks.npz", **{**np.load(run / "test_ranks.npz"), "item": USERS[::-1]}),
        "have different test interactions",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_twin_that_does_not_fit_is_refused_in_one_line(case, folders):
    damage, message = REFUSED[case]
    damage(*folders)
    with pytest.raises(ComparisonError) as error:
        twins(*folders)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
