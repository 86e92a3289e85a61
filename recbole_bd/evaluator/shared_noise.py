"""Noise of models that score with noise: the same in every evaluation of a part, so that arms can be compared."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from recbole_bd.backbones.role import Role
from recbole_bd.backbones.traits import scores_with_noise
from recbole_bd.system.random_state import seeded

_STREAMS = {"valid": 3, "test": 4}


def shared_noise(role: Role, loader: Any) -> AbstractContextManager[None]:
    """Draw a model's noise from the run's seed and the part within the scope; nothing changes for other models.

    Args:
        role: the role whose model is evaluated.
        loader: evaluation loader of the part, see `recbole_bd.data.evaluation_loader.make_evaluation_loader`.
    """
    if not scores_with_noise(role.config):
        return nullcontext()
    return seeded(loader.config["seed"], _STREAMS[loader.part])
