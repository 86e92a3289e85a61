"""Checks of what a model needs for its training: negatives, labels, a known learner."""

from collections.abc import Mapping
from typing import Any

from recbole.data.dataloader import TrainDataLoader
from recbole.data.utils import get_dataloader
from recbole.utils import InputType

from recbole_bd.backbones.names import BASELINE
from recbole_bd.backbones.registry import (
    is_sequential,
    learns_by_gradient,
    loader_name,
    predicts_next_item,
    recommender_class,
)
from recbole_bd.backbones.softmax_loss import softmax_problem
from recbole_bd.backbones.traits import recbole_base, traits_of_class
from recbole_bd.config.evaluation_settings import may_have
from recbole_bd.config.recbole_blocks import check_clipping
from recbole_bd.errors import ConfigError

# RecBole falls back to Adam for any other learner, with no more than a warning.
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")
# Value of `own_loss` for the softmax in the place of the loss of a model.
SOFTMAX = "softmax"
# Settings of training by one loss and one optimizer, with the values that change nothing. A model without parameters
# reads no learning rate, and so no decay of it.
_OWN_TRAINING = {"own_loss": "model", "weights_average": None}
_DECAYS = {"learning_rate_decay": 1.0, "distill_learning_rate_decay": 1.0}  # a model trained alone reads the first
# `train_neg_sample_args` of a softmax, as RecBole completes it for no negatives.
NO_NEGATIVES = {"distribution": "none", "sample_num": "none", "alpha": "none", "dynamic": False, "candidate_num": 0}
_WAY_OUT = "leave it out, or write {distribution: uniform, sample_num: 1}"


def reads_negatives(backbone: str) -> bool:
    """Whether RecBole draws negatives for a model, by its loader; autoencoders get users instead."""
    model_class = recommender_class(backbone)
    about = {"model": loader_name(model_class), "MODEL_TYPE": model_class.type}
    return get_dataloader(about, "train") is TrainDataLoader


def draws_negatives(backbone: str, settings: Mapping[str, Any]) -> bool:
    """Whether negatives are drawn for a model: by RecBole's loader, or for a loss over sampled items.

    Args:
        backbone: name of the model.
        settings: settings of the role.
    """
    if settings["own_loss"] == SOFTMAX or predicts_next_item(recommender_class(backbone), settings):
        return False
    return reads_negatives(backbone) or settings["loss_items"] == "sampled"


def learns_from_pairs(backbone: str, settings: Any) -> bool:
    """Whether a model learns from pairs of a positive and a negative.

    Args:
        backbone: name of the model.
        settings: settings of the role, as RecBole completes them.
    """
    return reads_negatives(backbone) and settings["MODEL_INPUT_TYPE"] == InputType.PAIRWISE


def needs_labels(backbone: str, settings: Any) -> bool:
    """Whether a model learns from labels in the data, as it draws no negatives.

    Args:
        backbone: name of the RecBole model.
        settings: settings of the role, as RecBole completes them.
    """
    if settings["own_loss"] == SOFTMAX or predicts_next_item(recommender_class(backbone), settings):
        return False
    is_pointwise = (
        learns_by_gradient(backbone) and reads_negatives(backbone) and not learns_from_pairs(backbone, settings)
    )
    return is_pointwise and settings["train_neg_sample_args"]["distribution"] == "none"


def check_training(role: str, backbone: str, settings: Mapping[str, Any]) -> None:
    """Check the settings by which a role is trained, before any data are loaded.

    Args:
        role: teacher or student; `model` for a baseline. Named in errors.
        backbone: name of the RecBole model.
        settings: settings of the role, as RecBole completes them.

    Raises:
        ConfigError: an unknown learner, or negatives or labels that the model needs and does not get.
    """
    prefix = "" if role == BASELINE else f"{role}."
    if str(settings["learner"]).lower() not in _LEARNERS:
        raise ConfigError(f"{prefix}learner={settings['learner']!r}: must be one of {', '.join(_LEARNERS)}")
    check_clipping(settings["clip_grad_norm"], f"{prefix}clip_grad_norm")
    _check_own_training(prefix, backbone, settings)
    _check_sampled_loss(prefix, backbone, settings)
    if settings.get("own_loss") == SOFTMAX or predicts_next_item(recommender_class(backbone), settings):
        return
    where, negatives = f"{prefix}train_neg_sample_args", settings["train_neg_sample_args"]
    if negatives["dynamic"] and not reads_negatives(backbone):
        raise ConfigError(f"{where}: dynamic=True chooses among negatives, but {backbone} draws none")
    has_negatives = negatives["distribution"] != "none" and not settings["repeatable"]
    if settings["negatives_leak_held_out"] and draws_negatives(backbone, settings) and not has_negatives:
        raise ConfigError(
            f"{prefix}negatives_leak_held_out=True: needs negatives that are no training items; leave repeatable and "
            "train_neg_sample_args at their defaults"
        )
    if not settings["LABEL_FIELD"] and reads_negatives(backbone) and not learns_from_pairs(backbone, settings):
        raise ConfigError(
            f"LABEL_FIELD={settings['LABEL_FIELD']!r}: must name the column of labels that {backbone} is trained with"
        )
    if negatives["distribution"] != "none" or not learns_by_gradient(backbone) or not reads_negatives(backbone):
        return
    if learns_from_pairs(backbone, settings):
        raise ConfigError(f"{where}=None: {backbone} learns from pairs of items and needs negatives; {_WAY_OUT}")
    if not settings.get("threshold") and not may_have(settings["LABEL_FIELD"], settings):
        raise ConfigError(
            f"{where}=None: without negatives {backbone} learns from labels, and the column "
            f"{settings['LABEL_FIELD']} (LABEL_FIELD) is not loaded; name it in load_col, or {_WAY_OUT}"
        )


def _check_own_training(prefix: str, backbone: str, settings: Mapping[str, Any]) -> None:
    """Refuse what RecBole's trainer does not do for a model that is not trained by one loss and one optimizer."""
    model_class = recommender_class(backbone)
    is_trained = learns_by_gradient(backbone)
    for key, default in (_OWN_TRAINING | _DECAYS if is_trained else _OWN_TRAINING).items():
        if key.startswith("distill_") and not prefix:
            continue
        if (given := settings.get(key, default)) == default:
            continue
        where, way_out = f"{prefix}{key}={given}", "set it for the other role only, or leave it out"
        if not is_trained:
            raise ConfigError(f"{where}: {backbone} has no parameters to train by gradient; {way_out}")
        if own := traits_of_class(model_class).own_trainer:
            raise ConfigError(f"{where}: {backbone} needs {own.step}; {way_out}, or choose {own.choice}")
    if settings.get("own_loss") != SOFTMAX:
        return
    if is_sequential(backbone):
        raise ConfigError(
            f"{prefix}own_loss=softmax: {backbone} has a softmax of its own; use loss_type=CE, and own_loss for the "
            "other role only"
        )
    if problem := softmax_problem(backbone, model_class, settings):
        raise ConfigError(f"{prefix}{problem}")
    if settings["train_neg_sample_args"]["dynamic"]:
        raise ConfigError(
            f"{prefix}train_neg_sample_args: dynamic=True chooses negatives, but own_loss=softmax has none"
        )


def _check_sampled_loss(prefix: str, backbone: str, settings: Mapping[str, Any]) -> None:
    """Refuse `loss_items: sampled` for other models than CDAE, other losses, and without negatives."""
    if settings["loss_items"] != "sampled":
        return
    base, where = recbole_base(recommender_class(backbone)), f"{prefix}loss_items=sampled"
    if base is not recommender_class(backbone) or base.__name__ != "CDAE":
        raise ConfigError(f"{where}: {backbone} has no such loss; set it in the block of a role that CDAE plays")
    if settings["own_loss"] == SOFTMAX:
        raise ConfigError(f"{where}: own_loss=softmax takes the place of that loss; leave out one of them")
    if settings["loss_type"] != "BCE":
        raise ConfigError(f"{where}: needs loss_type=BCE, but it is {settings['loss_type']}")
    if settings["train_neg_sample_args"]["distribution"] == "none" or settings["repeatable"]:
        raise ConfigError(f"{where}: needs negatives; leave repeatable and train_neg_sample_args at their defaults")
