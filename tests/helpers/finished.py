"""Finished runs: what their files say, and metrics computed again from their saved models."""

import math
from itertools import islice
from pathlib import Path

import numpy as np

from recbole_bd.backbones.checkpoint import load_model

ROLES, ARMS = ("teacher", "student"), ("separate", "continued", "distilled")


def log_of(result: dict) -> str:
    """The log of a run."""
    return (Path(result["run_folder"]) / "run.log").read_text()


def by_hand(split, scores_of, k=5) -> dict:
    """Hit, NDCG of the test part from scores, user by user."""
    listed = {}
    for part in ("train", "valid"):
        for user, item in zip(*(ids.tolist() for ids in split.pairs(part)), strict=True):
            listed.setdefault(user, set()).add(item)
    wanted = {}
    for user, item in zip(*(ids.tolist() for ids in split.pairs("test")), strict=True):
        wanted.setdefault(user, set()).add(item)
    hits, gains = [], []
    for user, items in wanted.items():
        scores = scores_of(user)
        known = listed.get(user, set()) | {0}
        # Items that may be among the first k, in the order of a whole stable sort.
        depth = min(k + len(known), len(scores))
        near = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
        near = near[np.argsort(-scores[near], kind="stable")]
        order = islice((i for i in near.tolist() if i not in known), k)
        found = [item in items for item in order]
        hits.append(any(found))
        ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(items))))
        gains.append(sum(1 / math.log2(place + 2) for place, hit in enumerate(found) if hit) / ideal)
    return {f"hit@{k}": float(np.mean(hits)), f"ndcg@{k}": float(np.mean(gains))}


def saved_scores(result, role):
    """Scores of all items for a user, from the saved vectors of a role."""
    state = load_model(f"{result['run_folder']}/{role}.pth")[0].state
    users, items = (state[f"{side}_embedding.weight"].double().numpy() for side in ("user", "item"))
    return lambda user: users[user] @ items.T
