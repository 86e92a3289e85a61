"""Several layers of settings as one, which gives the same run: for a command, and for files that a search writes."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from recbole_bd.backbones.names import BASELINE, PAIR, TEACHER
from recbole_bd.config.known_options import options_of_run_alone
from recbole_bd.config.layers import Layer, with_directions, with_patience
from recbole_bd.config.property_files import options_of_run


def in_one_layer(layers: Iterable[Layer], method: str | None, backbones: Mapping[str, str]) -> dict[str, Any]:
    """Fold layers into one. A setting of a later layer is removed from the blocks of roles of earlier layers.

    Args:
        layers: without blocks of models; a later layer overrides an earlier one.
        method: name of the distillation method; None for a baseline.
        backbones: name of the RecBole model by role.

    Returns:
        A deep copy, without the settings in `backbones` of models that the run does not have.
    """
    options, of_run_alone = options_of_run(method), options_of_run_alone(method)
    folded: dict[str, Any] = {}
    for layer in layers:
        layer = _with_roles_of_models(layer, backbones)
        replaced = with_directions(with_patience(layer), options).values
        of_roles = {key: value for key, value in replaced.items() if key not in of_run_alone}
        for key in folded.keys() & replaced.keys() - set(PAIR):
            del folded[key]
        for role in PAIR:
            block = layer.values.get(role, {})
            if isinstance(folded.get(role), Mapping) and isinstance(block, Mapping):
                earlier = _without(_without(folded[role], of_roles), replaced.get(role, {}))
                folded[role] = {**earlier, **block}
            elif role in layer.values:
                folded[role] = block
        folded.update({key: value for key, value in layer.values.items() if key not in PAIR})
    return copy.deepcopy({key: value for key, value in folded.items() if key not in PAIR or value != {}})


def _without(block: Mapping[str, Any], replaced: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a role, without those that a later layer replaces."""
    kept = {key: value for key, value in block.items() if key not in replaced}
    if "stopping_step" in kept and "stopping_epochs" in replaced:
        kept["stopping_epochs"] = replaced["stopping_epochs"]  # beside a stopping_step alone it would not hold
    return kept


def _with_roles_of_models(layer: Layer, backbones: Mapping[str, str]) -> Layer:
    """Move the settings in `backbones` of the models that are run to their roles, below what the roles' blocks have."""
    by_model = layer.values.get("backbones")
    if not isinstance(by_model, Mapping):
        return layer
    values = {key: value for key, value in layer.values.items() if key != "backbones"}
    for role, backbone in backbones.items():
        by_role = by_model.get(backbone)
        block = by_role.get(TEACHER if role == BASELINE else role) if isinstance(by_role, Mapping) else None
        if not isinstance(block, Mapping):
            continue
        if role == BASELINE:
            values |= block
        elif isinstance(values.get(role, {}), Mapping):
            values[role] = {**block, **values.get(role, {})}
    return Layer(layer.source, values)
