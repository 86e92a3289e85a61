"""Look up RecBole's general recommenders by name, and refuse those that cannot learn by distillation."""

import difflib
import importlib
import importlib.util
import inspect
import pkgutil

import recbole.model
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import ModelType

from recbole_bd.backbones.traits import OTHER_MODEL, PACKAGE, TRAITS
from recbole_bd.errors import RoleError

_OTHER_KINDS = ("sequential", "context_aware", "knowledge_aware", "exlib")


def _shipped() -> dict[str, type[GeneralRecommender]]:
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        raise RoleError(f"RecBole's models need the package {error.name}. Run: pip install {error.name}") from error
    return {
        name: member
        for name, member in vars(package).items()
        if inspect.isclass(member) and issubclass(member, GeneralRecommender) and member is not GeneralRecommender
    }


def general_recommenders() -> list[str]:
    """List the names of all general recommenders that RecBole ships, sorted.

    Raises:
        RoleError: a package that RecBole's models import is missing.
    """
    return sorted(_shipped())


def recommender_class(name: str) -> type[GeneralRecommender]:
    """Look up a general recommender of RecBole by its name.

    Raises:
        RoleError: no such model, with the nearest name and all names; a model of another kind
            (sequential, context-aware, knowledge-aware); or a package it needs is missing.
    """
    shipped = _shipped()
    if name in shipped:
        return shipped[name]
    for kind in _OTHER_KINDS:
        folders = [f"{path}/{kind}_recommender" for path in recbole.model.__path__]
        if str(name).lower() in {module.name for module in pkgutil.iter_modules(folders)}:
            kind = kind.replace("_", "-").replace("exlib", "external-library")
            raise RoleError(f"{name} is a {kind} recommender; a role needs a general recommender, e.g. BPR or LightGCN")
    spelled = {known.lower(): known for known in shipped}
    nearest = difflib.get_close_matches(str(name).lower(), spelled, n=1, cutoff=0.5)
    hint = f" Did you mean {spelled[nearest[0]]}?" if nearest else ""
    raise RoleError(f"unknown model {name!r}.{hint} Available models: {', '.join(sorted(shipped))}")


def require_teachable(name: str, role: str) -> None:
    """Refuse a model that cannot learn in the distillation stage, before anything is built.

    Args:
        name: the model's name, e.g. `LightGCN`.
        role: `teacher` or `student`, named in the message.

    Raises:
        RoleError: the model has no parameters to train by gradient, needs its own trainer, or is unknown.
    """
    model_class = recommender_class(name)
    traits = TRAITS.get(name, OTHER_MODEL)
    if traits.closed_form or model_class.type == ModelType.TRADITIONAL:  # the type: for models without a line
        raise RoleError(
            f"{role}: {name} has no parameters to train by gradient, so it cannot learn from the other role. "
            f"Choose e.g. BPR, or use {name} as the teacher of a one-way method (RD, CD or RRD)"
        )
    if own := traits.own_trainer:
        raise RoleError(f"{role}: {name} needs {own.step}, which distillation does not run. Choose {own.choice}")
