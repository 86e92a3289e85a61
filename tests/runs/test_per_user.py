"""Per-user values in run folders, and pairs of them from two runs."""

import json

import numpy as np
import pytest

from recbole_bd.errors import ComparisonError
from recbole_bd.runs.per_user import paired, per_user, run_record
from tests.helpers.boards import write_run


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path, "BPR", 1, {"model/separate": 0.3}, users=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "1"}, "{} is damaged: seed is '1'"),
        ({"seed": True}, "{} is damaged: seed is True"),
        ({"data": {}}, "{} is not the record of a run: it lacks fingerprint"),
        ({"data": None}, "{} is not the record of a run: it lacks fingerprint"),
    ],
)
def test_a_record_that_is_none_is_refused(changes, message, folder):
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ComparisonError) as error:
        run_record(folder)
    assert str(error.value) == message.format(path)


def test_what_a_record_lacks_is_named(folder):
    (folder / "result.json").write_text('{"seed": 1, "data": {"fingerprint": "f"}}')
    with pytest.raises(ComparisonError) as error:
        run_record(folder)
    assert str(error.value) == f"{folder / 'result.json'} is not the record of a run: it lacks dataset, method"


@pytest.mark.parametrize("arrays", [{}, {"users": np.array(["a", "b"]), "model/separate/ndcg@5": np.zeros(3)}])
def test_values_that_belong_to_no_users_are_refused(arrays, folder):
    np.savez(folder / "per_user.npz", **{"model/separate/hit@5": np.zeros(2), **arrays})
    with pytest.raises(ComparisonError) as error:
        per_user(folder)
    assert str(error.value) == (
        f"{folder / 'per_user.npz'} is damaged: it must contain users, and a value per user under every other key"
    )


def test_users_of_two_runs_are_paired_by_their_ids(folder, tmp_path):
    other = write_run(tmp_path, "Pop", 1, {"model/separate": 0.1}, users=4)
    users, values = per_user(folder)
    key = "model/separate/ndcg@5"
    np.savez(other / "per_user.npz", users=users[::-1], **{key: values[key][::-1] + 1})
    matched, one, two = paired(folder, other)
    assert matched.tolist() == sorted(users.tolist())
    assert two[key] == pytest.approx(one[key] + 1)


def test_runs_that_rank_other_items_are_no_pairs(folder, tmp_path):
    users = {"users": 4, "values": {"model/separate": 0.1}}
    seen = write_run(tmp_path, "MF", 1, settings={"repeatable": True}, **users)
    unseen = write_run(tmp_path, "Pop", 1, settings={"repeatable": False}, **users)
    for pair in ((seen, unseen), (unseen, seen)):
        with pytest.raises(ComparisonError) as error:
            paired(*pair)
        assert str(error.value) == (
            f"{seen} also ranks items that the user has seen (repeatable: True), as sequential models do, and {unseen} "
            "does not, so their users are no pairs: compare runs with the same repeatable"
        )
    assert len(paired(folder, seen)[0]) == 4
