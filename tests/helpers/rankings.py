"""Scores and rankings of a scene's roles, by hand."""

import torch

from tests.helpers.references import own_items
from tests.helpers.scenes import Scene


def vectors(scene: Scene, role: str) -> tuple[torch.Tensor, torch.Tensor]:
    model = scene.roles[role].model
    return model.user_embedding.weight.detach().double(), model.item_embedding.weight.detach().double()


def score(scene: Scene, role: str, user: int, item: int) -> float:
    users, items = vectors(scene, role)
    return float(users[user] @ items[item])


def ranking(scene: Scene, role: str, user: int) -> list[int]:
    """The unseen items of a user as a role ranks them, the best first."""
    known = own_items(scene.method.seen, user)
    left = [item for item in range(1, scene.split.n_items) if item not in known]
    return sorted(left, key=lambda item: -score(scene, role, user, item))
