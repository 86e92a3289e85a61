"""Run folders of two seeds of the same teacher, with known values of the users and ranks."""

from pathlib import Path

import numpy as np

from tests.helpers.boards import two_roles, write_run

USERS = ("a", "b", "c", "d")
VALUES = {
    "one": {"teacher": [1.0, 1.0, 0.0, 0.0], "student": [0.0, 0.0, 1.0, 0.0]},
    "two": {"teacher": [1.0, 0.0, 1.0, 0.0], "student": [1.0, 1.0, 0.0, 0.0]},
}
RANKS = {
    "one": {"teacher": [4, 4, 4, 4], "student": [3, 3, 5, 4]},
    "two": {"teacher": [4, 4, 4, 1], "student": [9, 9, 9, 9]},
}
POPULARITY = [1, 0, 2, 3]


def _leave(parent, name, seed, order=(0, 1, 2, 3), **changes):
    """A run folder with known values of the users and ranks; `order` is that of its users."""
    folder = write_run(parent, "BD", seed, two_roles(0.3, 0.2), ("teacher", "student"), name=name, users=4, **changes)
    values = {f"{role}/separate/ndcg@5": np.array(of)[[*order]] for role, of in VALUES[name].items()}
    np.savez(folder / "per_user_valid.npz", users=np.array(USERS)[[*order]], **values)
    ranks = {f"{role}_separate": np.array(of, np.float32) for role, of in RANKS[name].items()}
    about = {"user": np.array(USERS), "item": np.array(USERS), "item_popularity": np.array(POPULARITY)}
    np.savez(folder / "test_ranks.npz", **about, **ranks)
    return folder


def write_twins(parent: Path) -> tuple[Path, Path]:
    """Write a run and its twin, whose users stand in another order."""
    data = {"fingerprint": "f", "users": 4, "items": 9, "interactions": 8}
    return _leave(parent, "one", 1, data=data), _leave(parent, "two", 2, (3, 1, 0, 2), data=data)
