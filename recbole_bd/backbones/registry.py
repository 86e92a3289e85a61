"""Look up recommenders by name, RecBole's and the user's own, and refuse those that cannot learn."""

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

import recbole.model
from recbole.model.abstract_recommender import AutoEncoderMixin, GeneralRecommender
from recbole.utils import InputType, ModelType

from recbole_bd.backbones.lists import Lists
from recbole_bd.backbones.mf import MF
from recbole_bd.backbones.scoring.families import FAMILIES
from recbole_bd.backbones.traits import (
    NO_ROLE,
    PACKAGE,
    SEQUENTIAL_PACKAGE,
    SEQUENTIAL_TRAITS,
    BackboneTraits,
    declared_traits,
    recbole_base,
    traits_of_class,
)
from recbole_bd.errors import InstallationError, RoleError, did_you_mean
from recbole_bd.system.own_classes import (
    BACKBONES,
    anomaly_detection_kept,
    import_name,
    is_import_name,
    offered_classes,
    own_class,
)

_OTHER_KINDS = ("context_aware", "knowledge_aware", "exlib")
# Packages of classes that no user has written for a model.
_NOT_OWN = {"recbole", "recbole_bd", "torch", "builtins", "abc", "typing"}


@cache
def _shipped() -> dict[str, type[GeneralRecommender]]:
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        raise RoleError(f"RecBole's models need the package {error.name}. Run: pip install {error.name}") from error
    recboles = {
        name: member
        for name, member in vars(package).items()
        if inspect.isclass(member) and issubclass(member, GeneralRecommender) and member is not GeneralRecommender
    }
    return {**recboles, "Lists": Lists, "MF": MF}


def general_recommenders() -> list[str]:
    """List the names of all general recommenders that RecBole and this package ship, sorted.

    Raises:
        RoleError: a package that RecBole's models import is missing.
    """
    return sorted(_shipped())


@cache
def _sequential() -> dict[str, type]:
    """RecBole's sequential recommenders that may take a role; their package takes a moment to import."""
    with anomaly_detection_kept():
        package = importlib.import_module(SEQUENTIAL_PACKAGE)
    return {name: getattr(package, name) for name in SEQUENTIAL_TRAITS}


def sequential_recommenders() -> list[str]:
    """List the names of RecBole's sequential recommenders that may take a role, sorted; nothing is imported."""
    return sorted(SEQUENTIAL_TRAITS)


def is_sequential(name: str) -> bool:
    """Whether a name is that of a sequential recommender of RecBole; nothing is imported."""
    return name in SEQUENTIAL_TRAITS


def predicts_next_item(model_class: type, settings: Mapping[str, Any]) -> bool:
    """Whether a model is sequential and learns by a softmax over all items, so that it reads no negatives.

    Args:
        model_class: class of the model.
        settings: settings of the role; `loss_type` chooses between the losses of a model that has two.
    """
    if not is_sequential(model_class.__name__):
        return False
    own = getattr(model_class, "input_type", None)
    return settings["loss_type"] == "CE" if own is None else own == InputType.POINTWISE


def recommenders() -> list[str]:
    """List the names of all models that RecBole and this package ship and that may take a role, sorted."""
    return sorted([*general_recommenders(), *sequential_recommenders()])


def own_backbones() -> list[str]:
    """List the models that other packages offer by entry points, sorted; nothing is imported.

    Raises:
        InstallationError: one has the name of a model of RecBole.
    """
    offered = offered_classes(BACKBONES)
    for name, point in offered.items():
        if name in _shipped() or name in (*SEQUENTIAL_TRAITS, *NO_ROLE) or _other_kind(name):
            raise InstallationError(
                f"entry point {BACKBONES}: {name} = {point.value} has the name of a model of RecBole: rename it"
            )
    return list(offered)


def is_own(name: str) -> bool:
    """Whether a name is that of a class of the user's own; nothing is imported."""
    return is_import_name(name) or name in own_backbones()


def is_recboles(name: str) -> bool:
    """Whether a name is that of a model of RecBole itself, which RecBole finds without this package.

    Args:
        name: as `recommender_class` takes it.

    Raises:
        RoleError: a package that RecBole's models import is missing.
    """
    shipped = _shipped().get(name)
    return is_sequential(name) or (shipped is not None and shipped.__module__.startswith(f"{PACKAGE}."))


def own_classes_of(model_class: type) -> list[type]:
    """List the classes of the user's own that make up a model: itself, and its bases below RecBole's.

    Args:
        model_class: the class of the model.

    Returns:
        The class itself first; empty for a model of RecBole.
    """
    return [kind for kind in model_class.__mro__ if kind.__module__.split(".")[0] not in _NOT_OWN]


def classes_with_options(model_class: type) -> list[type]:
    """List the classes of a model whose options stand in files beside their modules: the user's, and this package's.

    Args:
        model_class: the class of the model.

    Returns:
        The class itself first; empty for a model of RecBole.
    """
    own = own_classes_of(model_class)
    return [kind for kind in model_class.__mro__ if kind in own or kind in (Lists, MF)]


def recommender_class(name: str) -> type[GeneralRecommender]:
    """Look up a recommender: RecBole's by its name, general or sequential, or a general one of the user's own.

    Args:
        name: RecBole's name, the name of an entry point, or `my_package.module:Class`, which is imported.

    Raises:
        RoleError: no such model, with the nearest name and all names; a model of another kind (context-aware,
            knowledge-aware); a sequential one that takes no role; or a package it needs is missing.
        ConfigError: a named class cannot be imported.
        InstallationError: a class of an entry point cannot be imported.
    """
    shipped = _shipped()
    if name in shipped:
        return shipped[name]
    if is_sequential(name):
        return _sequential()[name]
    if name in NO_ROLE:
        raise RoleError(f"{name} cannot take a role: {NO_ROLE[name]}; choose e.g. SASRec or GRU4Rec")
    if is_own(name) and (found := own_class(name, BACKBONES)) is not None:
        return _checked(name, found)
    if kind := _other_kind(name):
        raise RoleError(
            f"{name} is a {kind} recommender; a role needs a general or a sequential one, e.g. BPR, LightGCN or SASRec"
        )
    known = [*shipped, *sequential_recommenders(), *own_backbones()]
    raise RoleError(
        f"unknown model {name!r}.{did_you_mean(str(name), known)} Available models: {', '.join(sorted(known))}"
    )


def name_of_class(model_class: type) -> str:
    """Name by which `recommender_class` finds a class.

    Args:
        model_class: a model of RecBole, or a class of the user's own.

    Raises:
        ConfigError: it cannot be imported by a name; see `own_classes.import_name`.
    """
    name = model_class.__name__
    is_shipped = _shipped().get(name) is model_class or (is_sequential(name) and _sequential()[name] is model_class)
    return model_class.__name__ if is_shipped else import_name(model_class)


def loader_name(model_class: type) -> str:
    """Name of the RecBole model whose training loader a model takes.

    Args:
        model_class: the class of the model.

    Returns:
        The nearest model of RecBole that it inherits from; else one that reads users if it is an autoencoder by
        RecBole's mixin; else one that reads interactions.
    """
    if base := recbole_base(model_class):
        return base.__name__
    return "MultiDAE" if issubclass(model_class, AutoEncoderMixin) else "BPR"


def _other_kind(name: str) -> str:
    """The kind of a model of RecBole that is no general recommender, in words; empty if there is none."""
    for kind in _OTHER_KINDS:
        folders = [f"{path}/{kind}_recommender" for path in recbole.model.__path__]
        if str(name).lower() in {module.name for module in pkgutil.iter_modules(folders)}:
            return kind.replace("_", "-").replace("exlib", "external-library")
    return ""


def _checked(name: str, found: type) -> type[GeneralRecommender]:
    if hasattr(found, "distillation_loss"):
        raise RoleError(f"{name} is a distillation method: offer it by the entry point recbole_bd.methods")
    if not issubclass(found, GeneralRecommender) or found is GeneralRecommender:
        raise RoleError(
            f"{name} is no general recommender: it must inherit from recbole.model.abstract_recommender."
            "GeneralRecommender or from a model of RecBole"
        )
    traits = declared_traits(found)
    if traits is not None and not (isinstance(traits, BackboneTraits) and traits.scoring in FAMILIES):
        raise RoleError(f"{name}: bd_traits={traits!r}: expected BackboneTraits of a scoring of {', '.join(FAMILIES)}")
    if not isinstance(getattr(found, "input_type", None), InputType):
        raise RoleError(f"{name} has no input_type: set it to InputType.PAIRWISE or POINTWISE of recbole.utils")
    return found


def learns_by_gradient(name: str) -> bool:
    """Whether a model has parameters to train by gradient.

    Args:
        name: as `recommender_class` takes it.
    """
    model_class = recommender_class(name)
    # The type is for models without a line in the table of traits.
    return not traits_of_class(model_class).closed_form and model_class.type != ModelType.TRADITIONAL


def require_teachable(name: str, role: str) -> None:
    """Refuse a model that cannot learn in the distillation stage, before anything is built.

    Args:
        name: the model's name, e.g. `LightGCN`.
        role: `teacher` or `student`, named in the message.

    Raises:
        RoleError: the model has no parameters to train by gradient, needs its own trainer, or is unknown.
    """
    if not learns_by_gradient(name):
        raise RoleError(
            f"{role}: {name} has no parameters to train by gradient, so it cannot learn from the other role. "
            f"Choose e.g. BPR, or use {name} as the teacher of a one-way method (such as RRD, RD or CE)"
        )
    if own := traits_of_class(recommender_class(name)).own_trainer:
        raise RoleError(f"{role}: {name} needs {own.step}, which distillation does not run. Choose {own.choice}")
