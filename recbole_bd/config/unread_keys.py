"""Settings that a user gave and that nothing in the run reads.

An unknown key is an error. This is its twin: a known key without a reader is told by name. A value that equals the
default is not told, so that the resolved `config.yaml` of a run, which holds every key, is read back in silence.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import recbole.trainer

from recbole_bd.backbones.names import BASELINE, DIRECTION_INTO, PAIR
from recbole_bd.backbones.registry import (
    classes_with_options,
    is_sequential,
    learns_by_gradient,
    loader_name,
    recommender_class,
)
from recbole_bd.backbones.traits import PACKAGE
from recbole_bd.config.chosen_loggers import WANDB, chosen_loggers
from recbole_bd.config.evaluation_settings import metric_notes, modes
from recbole_bd.config.known_options import PACKAGE_OPTIONS_OF_A_ROLE, backbone_options
from recbole_bd.config.layers import Layer, fold_layers, with_resolved_patience
from recbole_bd.config.partly_read import partly_read
from recbole_bd.config.property_files import method_options, options_of_run, properties_path
from recbole_bd.config.training_settings import (
    SOFTMAX,
    draws_negatives,
    learns_from_pairs,
    reads_negatives,
)
from recbole_bd.config.yaml_text import write_value
from recbole_bd.data.times import reads_times
from recbole_bd.system.own_classes import source_of

# Settings of RecBole that every run reads.
READ = frozenset({
    "gpu_id", "use_gpu", "seed", "reproducibility", "state", "data_path", "checkpoint_dir", "show_progress", "worker",
    "log_wandb", "shuffle",
    "train_batch_size", "eval_step", "enable_amp",
    "eval_args", "repeatable", "metrics", "topk", "valid_metric", "eval_batch_size", "metric_decimal_place",
    "field_separator", "seq_separator", "encoding", "USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "LABEL_FIELD",
    "NEG_PREFIX", "load_col", "unload_col", "unused_col", "rm_dup_inter", "val_interval",
    "filter_inter_by_user_or_item", "user_inter_num_interval", "item_inter_num_interval", "benchmark_filename",
})  # fmt: skip
_KNOWLEDGE = "only knowledge-based models read it"
_FEATURES = "only models that read features of users and items use it"
# Settings of RecBole that no run reads, with the reason.
NOT_READ = {
    "config_file": "files are named by --config_files",
    "save_dataset": "the data set is always read from its files",
    "dataset_save_path": "the data set is always read from its files",
    "save_dataloaders": "the split is always made anew, from its seed",
    "dataloaders_save_path": "the split is always made anew, from its seed",
    "loss_decimal_place": "losses are logged with four decimal places, and written in full",
    "POSITION_FIELD": "no model that may take a role reads it",
    **dict.fromkeys(
        (
            "HEAD_ENTITY_ID_FIELD", "TAIL_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "ENTITY_ID_FIELD", "kg_reverse_r",
            "entity_kg_num_interval", "relation_kg_num_interval", "alias_of_entity_id", "alias_of_relation_id",
        ),
        _KNOWLEDGE,
    ),
    **dict.fromkeys(("additional_feat_suffix", "preload_weight"), _FEATURES),
}  # fmt: skip
# Settings of RecBole that are refused, see `recbole_blocks`.
REFUSED = frozenset({"transform"})
# Settings that a model reads to learn by gradient.
_OF_GRADIENT = ("epochs", "learner", "learning_rate", "weight_decay", "stopping_step", "clip_grad_norm")
# Settings of this package that a role reads only while it learns.
_OF_OWN_LOSS = (
    "learning_rate_decay", "own_loss", "softmax_negatives", "softmax_temperature", "softmax_cosine", "softmax_l2",
    "weights_average",
)  # fmt: skip
# Settings of a role that its warm-up alone reads.
_OF_WARM_UP = ("epochs", "learning_rate_decay")
# Settings that the distillation stage and its controls alone read.
_OF_DISTILLATION = (
    "controls", "distill_batch_size", "distill_learning_rate", "distill_learning_rate_decay", "distill_weight_decay",
    "early_stopping", "placebo", "rest_at_best", "stop_on",
)  # fmt: skip
# Options of methods that decide whether anything is taught.
_DECIDING = ("directions", *(f"lambda_{direction}" for direction in DIRECTION_INTO.values()))
# Settings that a model trained alone does not read.
_OF_TWO_ROLES = (
    *_OF_DISTILLATION, "distill_epochs", "rank_precision", "ranked_items", "student_model", "teacher_model",
)  # fmt: skip

Settings = Mapping[str, Any]
Readers = tuple[str, ...]


def _reads_values(settings: Settings, backbones: Readers) -> bool:
    """Whether anything reads numbers of the interactions: a model, labels, or the order of time."""
    measures = reads_times(settings["eval_args"]) or "labeled" in modes(settings)
    return measures or any("RATING_FIELD" in _keys_read(name) for name in backbones)


def _is_loaded(columns: Any, settings: Settings) -> bool:
    load_col = settings["load_col"]
    listed = ["*"] if load_col is None else [name for names in load_col.values() for name in names]
    return "*" in listed or any(column in listed for column in columns or ())


def _read_by_source(key: str) -> Callable[[Settings, Readers], bool]:
    return lambda _, backbones: any(key in _keys_read(name) for name in backbones)


_OF_HISTORIES = ("ITEM_LIST_LENGTH_FIELD", "LIST_SUFFIX", "MAX_ITEM_LIST_LENGTH")
_NUMBERS = ("normalize_field", "normalize_all", "numerical_features", "discretization")
# Settings of RecBole that some runs read: whether this one does, by settings and models, and the reason if not.
READ_IF: dict[str, tuple[Callable[[Settings, Readers], bool], str]] = {
    "enable_scaler": (lambda settings, _: settings["device"].type == "cuda", "only a GPU scales gradients"),
    "wandb_project": (lambda settings, _: WANDB in chosen_loggers(settings), "wandb is not among the loggers"),
    "valid_metric_bigger": (lambda *_: False, "it follows from valid_metric"),
    "threshold": (lambda settings, _: "labeled" in modes(settings), "labels need eval_args: mode: labeled"),
    "RATING_FIELD": (_read_by_source("RATING_FIELD"), "no model of this run reads ratings"),
    "require_pow": (_read_by_source("require_pow"), "no model of this run reads it"),
    "train_neg_sample_args": (
        lambda settings, names: any(draws_negatives(name, settings) for name in names),
        "no model draws negatives",
    ),
    **dict.fromkeys(_OF_GRADIENT, (lambda _, names: any(map(learns_by_gradient, names)), "no model is trained by it")),
    **dict.fromkeys(_NUMBERS, (_reads_values, "no model of this run reads numbers of the interactions")),
    "alias_of_user_id": (lambda settings, _: _is_loaded(settings["alias_of_user_id"], settings), "load_col lacks them"),
    "alias_of_item_id": (lambda settings, _: _is_loaded(settings["alias_of_item_id"], settings), "load_col lacks them"),
    **dict.fromkeys(_OF_HISTORIES, (lambda _, names: any(map(is_sequential, names)), "only sequential models read it")),
    "seq_len": (_read_by_source("selected_features"), _FEATURES),
    "tail_ratio": (
        lambda settings, _: "tailpercentage" in [name.lower() for name in settings["metrics"]],
        "only the metric TailPercentage reads it",
    ),
}
# The same of this package's settings of a role.
OWN_READ_IF: dict[str, tuple[Callable[[Settings, Readers], bool], str]] = {
    "stopping_epochs": READ_IF["stopping_step"],
    "learning_rate_decay": READ_IF["learning_rate"],
    "negatives_leak_held_out": READ_IF["train_neg_sample_args"],
    "samples_of_user": (lambda _, names: not all(map(reads_negatives, names)), "no model reads whole users"),
}


@cache
def _keys_read(backbone: str) -> frozenset[str]:
    """Keys in the source of a model, of the classes it inherits from, and of its own trainer."""
    model_class = recommender_class(backbone)
    trainer = getattr(recbole.trainer, f"{loader_name(model_class)}Trainer", None)
    classes = [*model_class.__mro__, *([trainer] if trainer else [])]
    recboles = [found for found in classes if found.__module__.startswith("recbole.")]
    source = "".join([*map(inspect.getsource, recboles), *map(source_of, classes_with_options(model_class))])
    return frozenset(re.findall(r"""config\[\s*["']([\w-]+)["']\s*\]""", source))


class _ReadOnce:
    """Settings of a run, each of whose roles is resolved once: what is read here changes nothing."""

    def __init__(self, config: Any):
        self._config, self.role = config, cache(config.role)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)

    def __getitem__(self, key: str) -> Any:
        return self._config[key]


def settings_notes(config: Any) -> list[str]:
    """Say which of the user's settings nothing in the run reads, and which metrics mean less than they seem to.

    Args:
        config: settings of the run, a `BDConfig`.

    Returns:
        One line for each, which names the setting and the reason.
    """
    config = _ReadOnce(config)
    names = [name for role, name in config.backbones.items() if learns_from_pairs(name, config.role(role))]
    by_pairs = list(dict.fromkeys(names))
    about_metrics = metric_notes(config.final_config_dict, by_pairs)
    notes = [*_unread(config), *_patience_notes(config), *partly_read(config), *about_metrics]
    return list(dict.fromkeys(notes))


def _unread(config: Any) -> Iterator[str]:
    users = [layer for layer in config.users_layers if not _is_shipped(layer)]
    own = len(config.layers) - len(config.users_layers)
    shipped = [*config.layers[:own], *(layer for layer in config.layers[own:] if _is_shipped(layer))]
    top = config.final_config_dict
    given = fold_layers(users, drop=(*PAIR, "backbones"))
    defaults = config.internal_config_dict | fold_layers(shipped, drop=())
    backbones = tuple(config.backbones.values())
    if BASELINE in config.backbones:
        given |= config.role_settings(BASELINE, users)
        defaults |= config.role(BASELINE).internal_config_dict | config.role_settings(BASELINE, shipped)
    defaults = with_resolved_patience(defaults, top["eval_step"])
    for key, value in given.items():
        if not _is_default(key, value, top.get(key, value), defaults) and (reason := _reason(key, config, backbones)):
            yield f"{key}={value!r} is not read in this run: {reason}"
    for role in PAIR if BASELINE not in config.backbones else ():
        resolved = config.role(role)
        defaults = resolved.internal_config_dict | config.role_settings(role, shipped)
        defaults = with_resolved_patience(defaults, resolved["eval_step"])
        for key, value in _own_settings(users, config.backbones[role], role).items():
            final = resolved.final_config_dict.get(key, value)
            if _is_default(key, value, final, defaults) or final == top.get(key, ...):
                continue
            if reason := _reason(key, config, (config.backbones[role],), role):
                yield f"{role}.{key}={value!r} is not read in this run: {reason}"


def _is_shipped(layer: Layer) -> bool:
    """Whether settings are those of a whole file of this package, such as BD-paper.yaml: nobody chose each of them."""
    path = Path(layer.source)
    return path.is_file() and path.resolve().is_relative_to(properties_path().resolve())


def _divides_at_random(settings: Settings) -> bool:
    """Whether the split, or the candidates of sampled evaluation, are drawn at random."""
    is_sampled = any(mode not in ("full", "labeled") for mode in modes(settings))
    return is_sampled or (not settings["benchmark_filename"] and settings["eval_args"]["order"] == "RO")


def _patience_notes(config: Any) -> Iterator[str]:
    """Values of `stopping_step` beside `stopping_epochs`, which replaces it, unless they say the same."""
    for layer in config.users_layers:
        for role in ("", *(name for name in PAIR if name in config.backbones)):
            block, resolved = (layer.values.get(role) or {}, config.role(role)) if role else (layer.values, config)
            epochs, steps = block.get("stopping_epochs"), block.get("stopping_step")
            if None not in (epochs, steps) and steps != resolved["stopping_step"]:
                where = f"{role}.stopping_step" if role else "stopping_step"
                yield f"{where}={steps} is not read in this run: stopping_epochs={epochs} replaces it"


def _own_settings(layers: Iterable[Layer], backbone: str, role: str) -> dict[str, Any]:
    """Settings that layers have for one role alone, or for its model in this role."""
    own: dict[str, Any] = {}
    for layer in layers:
        own |= ((layer.values.get("backbones") or {}).get(backbone) or {}).get(role) or {}
        own |= layer.values.get(role) or {}
    return own


def _is_default(key: str, value: Any, resolved: Any, defaults: Mapping[str, Any]) -> bool:
    """Whether a value changes nothing: the default, or what RecBole makes of the other settings."""
    if key == "valid_metric_bigger":
        return value == resolved
    if key == "train_neg_sample_args" and value is None:
        return True  # as RecBole's users write it for models that draw no negatives
    return resolved == defaults.get(key)


def _reason(key: str, config: Any, backbones: Readers, role: str = "") -> str:
    """Why no model reads a setting; empty if one does."""
    if key in NOT_READ:
        return NOT_READ[key]
    if key in _OF_HISTORIES and config.has_split_of_beside:
        return ""  # the models beside it read it
    if key in READ_IF or key in OWN_READ_IF:
        test, reason = READ_IF.get(key) or OWN_READ_IF[key]
        roles = {one: config.role(one) for one in ([role] if role else config.backbones)}
        settings = {one: config.final_config_dict | own.final_config_dict for one, own in roles.items()}
        if not any(test(settings[one], (config.backbones[one],)) for one in roles):
            return reason
    if key == "train_neg_sample_args" and all(one["own_loss"] == SOFTMAX for one in _readers(config, role)):
        return "own_loss: softmax draws items of its own"
    if reason := _unmet_condition(key, config, role):
        return reason
    if key == "split_seed" and not _divides_at_random(config.final_config_dict):
        return "nothing in the split is random"
    if BASELINE in config.backbones:
        is_told = key in _OF_TWO_ROLES and not config.beside
        return f"{backbones[0]} is trained alone" if is_told else _not_of_models(key, backbones)
    if role and key.startswith("distill_") and role not in config.method_class.learners:
        return f"the {role} does not learn in the distillation stage"
    if reason := _without_a_stage(key, config, role):
        return reason
    if role and config.role(role)["checkpoint"] and key in _OF_OWN_LOSS and role not in config.method_class.learners:
        return f"the {role} starts from a checkpoint and does not learn"
    method, is_of_method = config.method_class, key in method_options(config["model"])
    may_decide = key in _DECIDING and config["distill_epochs"] > 0
    if is_of_method and not may_decide and (reason := method.nothing_taught(config)):
        return str(reason)
    if reason := method.not_read(config).get(key):
        return str(reason)
    return _not_of_models(key, backbones)


def _without_a_stage(key: str, config: Any, role: str) -> str:
    """Say which stage this run does not have, for a setting that only this stage reads; empty if it has it."""
    if key in _OF_DISTILLATION and config["distill_epochs"] == 0:
        return "distill_epochs is 0"
    if key in _OF_WARM_UP:
        reasons = [_no_warm_up(one, config.role(one), key) for one in ([role] if role else PAIR)]
        return reasons[0] if all(reasons) else ""
    return ""


def _no_warm_up(role: str, settings: Any, key: str) -> str:
    if settings["checkpoint"]:
        return f"the {role} starts from a checkpoint, without a warm-up"
    return f"epochs of the {role} is 0" if settings["epochs"] == 0 and key != "epochs" else ""


def _readers(config: Any, role: str) -> list[Any]:
    """Settings of a role, or of every role where the setting holds for all."""
    return [config.role(name) for name in ([role] if role else config.backbones)]


def _unmet_condition(key: str, config: Any, role: str) -> str:
    """Say which other setting would have to differ for an option of this package to be read; empty if none."""
    options = options_of_run(config["model"] if config.method_class else None)
    if BASELINE in config.backbones and key in _OF_TWO_ROLES:
        return ""
    for other, values in options[key].conditions.items() if key in options else ():
        holders = _readers(config, role) if other in PACKAGE_OPTIONS_OF_A_ROLE else [config]
        if not any(holder[other] in values for holder in holders):
            named = ["~" if value is None else write_value(value) for value in values]
            return f"it is read with {other}: {' or '.join(named)}"
    return ""


def _not_of_models(key: str, backbones: Readers) -> str:
    """Why no model reads an option of a model; empty if one does, or if a model is not RecBole's own."""
    declared = any(key in backbone_options(name) for name in backbones)
    if not declared or any(key in _keys_read(name) for name in backbones):
        return ""
    if not all(recommender_class(name).__module__.startswith(f"{PACKAGE}.") for name in backbones):
        return ""
    return f"{' and '.join(dict.fromkeys(backbones))} does not read it"
