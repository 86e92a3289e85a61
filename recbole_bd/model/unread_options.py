"""Options of Bidirectional Distillation that no direction of any arm reads, each with the reason."""

from collections.abc import Callable, Iterator
from typing import Any

from recbole_bd.backbones.names import DIRECTION_INTO, PLACEBO
from recbole_bd.backbones.registry import is_sequential
from recbole_bd.model.at_rows import ROWS
from recbole_bd.model.exchange import (
    CONSTANT,
    ONE_HOT,
    OTHER,
    SHUFFLED,
    TURNS,
    Exchange,
    exchange_into,
    placebo_guides,
)
from recbole_bd.model.schedule import DECAY, LINEAR

# Options that each direction may have for itself, beside the one for both.
_WITH_TWINS = (
    "lambda_schedule", "samples_per_positive", "exchange", "temperature", "temperature_on", "guide_state", "guide",
    "rank_scale", "guide_top", "top_temperature", "cf_negatives",
)  # fmt: skip
# Options that each direction has for itself alone. The value of `eps` for both depends on the shape.
_OF_ONE = ("list_positive", "sampling", "shape", "rank_order", "eps")


def unread_options(config: Any) -> dict[str, str]:
    """Options that nothing reads in this run, with the reason.

    Args:
        config: settings of the run, with BD's options.
    """
    arms = [config, *([config.with_values(placebo_guides(config))] if PLACEBO in config["controls"] else [])]
    found = {learner: [exchange_into(learner, arm) for arm in arms] for learner in DIRECTION_INTO}
    learning = {learner: [one for one in exchanges if one.weight] for learner, exchanges in found.items()}
    every = [one for exchanges in learning.values() for one in exchanges]
    unread = {
        **_of_one_direction(learning, config),
        **_of_placebos(every),
        **_of_schedules(every),
        **_of_shapes(every, config),
    }
    if config["exchange_at"] != ROWS:
        unread["exchange_history"] = "ranks are those of rows with exchange_at: rows alone"
    taught = [config.backbones[learner] for learner, exchanges in learning.items() if exchanges]
    if config["exchange_at"] == config["ranks_at"] == ROWS and taught and all(map(is_sequential, taught)):
        reason = "with ranks_at: rows, items are drawn in every step"
        unread |= dict.fromkeys(("refresh_period", "refresh_users"), reason)
    elif config["refresh_period"] == 1:
        unread["refresh_users"] = "refresh_period is 1, so that all users are refreshed in every epoch"
    return unread


def _of_one_direction(learning: dict[str, list[Exchange]], config: Any) -> dict[str, str]:
    """Options of one direction; and those of both, where neither direction reads them."""
    unread = {}
    for option in (*_WITH_TWINS, *_OF_ONE):
        reasons = {}
        for learner, direction in DIRECTION_INTO.items():
            own = f"{option}_{direction}"
            if reason := _reason(option, learner, learning[learner], config):
                unread[own] = reasons[own] = reason
            elif config[own] is not None:
                reasons[own] = f"{own} takes its place"
        if option in _WITH_TWINS and len(reasons) == len(DIRECTION_INTO):
            unread[option] = "; ".join(dict.fromkeys(reasons.values()))
    return unread


def _reason(option: str, learner: str, exchanges: list[Exchange], config: Any) -> str:
    """Why a direction reads an option in no arm; empty if it does."""
    if not exchanges:
        return f"the {learner} takes nothing from the other role"
    if (test := _READ_BY.get(option)) is None:
        return ""
    reasons = [reason for one in exchanges if (reason := test(one, config))]
    return reasons[0] if len(reasons) == len(exchanges) else ""


def _by_discrepancy(exchange: Exchange, config: Any) -> str:
    return "" if exchange.drawing.sampling == "rank_discrepancy" else _drawn(exchange)


def _by_head(exchange: Exchange, config: Any) -> str:
    return "" if exchange.drawing.sampling in ("top", "own_top") else _drawn(exchange)


def _drawn(exchange: Exchange) -> str:
    return f"the {exchange.learner}'s items are drawn with sampling: {exchange.drawing.sampling}"


def _in_lists(exchange: Exchange, config: Any) -> str:
    return "" if exchange.kind == "listwise" else f"the {exchange.learner}'s exchange is {exchange.kind}"


def _of_logits(exchange: Exchange, config: Any) -> str:
    is_fixed = exchange.target in (ONE_HOT, CONSTANT) and exchange.temperature_on != "both"
    return f"the {exchange.learner}'s target is {exchange.target}, which has no temperature" if is_fixed else ""


def _not_one(exchange: Exchange, config: Any) -> str:
    return f"the temperature of the {exchange.learner}'s exchange is 1" if exchange.temperature == 1 else ""


def _of_models(exchange: Exchange, config: Any) -> str:
    if exchange.target not in (OTHER, SHUFFLED):
        return f"the {exchange.learner}'s target is {exchange.target}"
    if (directions := config["directions"]) in TURNS:
        return f"with directions: {directions} each role learns from one that stands at its best state"
    return ""


# Tests of the options that not every direction reads: the reason why this one does not, or nothing.
_READ_BY: dict[str, Callable[[Exchange, Any], str]] = {
    "temperature": _of_logits,
    "temperature_on": _not_one,
    "guide_state": _of_models,
    "list_positive": _in_lists,
    "top_temperature": _by_head,
    **dict.fromkeys(("shape", "rank_order", "rank_scale", "eps", "guide_top"), _by_discrepancy),
}


def _of_placebos(every: list[Exchange]) -> dict[str, str]:
    found = [one for one in every if one.target != OTHER]
    unread = {}
    if not any(one.target == CONSTANT and one.kind != "listwise" for one in found):
        unread["guide_constant"] = "no direction has a constant target, item by item or in pairs"
    if not any(one.drawing.sampling in ("rank_discrepancy", "top") for one in found):
        unread["ranks_of"] = "no direction has a placebo and items chosen by the other role's ranks"
    return unread


def _of_schedules(every: list[Exchange]) -> dict[str, str]:
    kinds = {one.schedule for one in every}
    lengths = {LINEAR: "lambda_warmup_epochs", DECAY: "lambda_decay_epochs"}
    return {option: f"no weight has the schedule {kind}" for kind, option in lengths.items() if kind not in kinds}


def _of_shapes(every: list[Exchange], config: Any) -> dict[str, str]:
    shapes = set(_shapes_without_eps(every, config))
    reason = "no direction without an eps of its own draws items by rank discrepancy with the shape {}"
    return {
        option: reason.format(shape) for option, shape in (("eps_t", "tanh"), ("eps_e", "exp")) if shape not in shapes
    }


def _shapes_without_eps(every: list[Exchange], config: Any) -> Iterator[str]:
    for one in every:
        if one.drawing.sampling == "rank_discrepancy" and config[f"eps_{DIRECTION_INTO[one.learner]}"] is None:
            yield one.drawing.shape
