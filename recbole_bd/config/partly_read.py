"""Notes on settings of which a part is not read: keys inside blocks, labels, a placebo where nothing is taught."""

from collections.abc import Iterator
from typing import Any

from recbole_bd.backbones.names import BASELINE, PLACEBO
from recbole_bd.backbones.registry import learns_by_gradient
from recbole_bd.config.evaluation_settings import modes
from recbole_bd.config.known_options import recbole_options
from recbole_bd.config.recbole_blocks import SOURCES
from recbole_bd.config.training_settings import draws_negatives, needs_labels


def partly_read(config: Any) -> Iterator[str]:
    """Say what nothing reads of settings that are read otherwise, one line each.

    Args:
        config: settings of the run, a `BDConfig`.
    """
    yield from _unread_inside(config)
    yield from _label_notes(config)
    has_stage = config.method_class is not None and config["distill_epochs"] > 0
    if has_stage and PLACEBO in config["controls"] and (reason := config.method_class.nothing_taught(config)):
        yield f"controls: the placebo is one more continued control: {reason}"


def _unread_inside(config: Any) -> Iterator[str]:
    """Keys inside RecBole's blocks that nothing reads."""
    default = recbole_options()["eval_args"].default
    if config["benchmark_filename"]:
        for key in ("split", "group_by", "order"):
            if (value := config["eval_args"][key]) != default[key]:
                yield f"eval_args: {key}={value!r} is not read in this run: benchmark_filename names the parts"
    elif (kind := next(iter(config["eval_args"]["split"]))) != "RS" and config["eval_args"]["group_by"] != "user":
        group = config["eval_args"]["group_by"]
        yield f"eval_args: group_by={group!r} is not read in this run: the split {kind} is always made user by user"
    for source in config["load_col"] or {}:
        if source not in SOURCES[:3] and source not in (config["additional_feat_suffix"] or ()):
            yield f"load_col: {source} is not read in this run: no model that may take a role reads such a file"
    for role, backbone in config.backbones.items():
        negatives = config.role(role)["train_neg_sample_args"]
        where = "train_neg_sample_args" if role == BASELINE else f"{role}.train_neg_sample_args"
        if not draws_negatives(backbone, config.role(role)) or negatives["distribution"] == "none":
            continue
        if negatives["distribution"] != "popularity" and negatives["alpha"] != 1.0:
            yield f"{where}: alpha={negatives['alpha']} is not read in this run: distribution is not popularity"
        if negatives["candidate_num"] and not negatives["dynamic"]:
            yield f"{where}: candidate_num={negatives['candidate_num']} is not read in this run: dynamic is False"


def _label_notes(config: Any) -> Iterator[str]:
    """Models that take every training row as a positive where labels are measured."""
    if "labeled" not in modes(config.final_config_dict):
        return
    for role, backbone in config.backbones.items():
        if learns_by_gradient(backbone) and not needs_labels(backbone, config.role(role)):
            yield (
                f"eval_args: mode: labeled: {backbone} takes every training row as a positive; "
                "only a pointwise model with train_neg_sample_args: ~ learns from labels"
            )
