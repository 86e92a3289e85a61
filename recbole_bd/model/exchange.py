"""Direction of Bidirectional Distillation: one learner, its guide, and the options of the exchange."""

from collections.abc import Callable
from dataclasses import dataclass

from recbole.config import Config
from torch import Tensor

from recbole_bd.backbones.names import DIRECTION_INTO, STUDENT, TEACHER
from recbole_bd.model import losses
from recbole_bd.model.objective import number, temperature_text, term_text, whole
from recbole_bd.sampler.direction import Direction

EXCHANGE_LOSSES = {
    "pointwise": losses.pointwise_exchange,
    "listwise": losses.listwise_exchange,
    "pairwise": losses.pairwise_exchange,
}


@dataclass(frozen=True)
class Exchange:
    """One direction of the distillation.

    Attributes:
        learner, guide: the role that learns and the role that teaches it.
        weight: lambda of the settings, before any schedule; 0 where the learner takes nothing.
        kind: name of the exchange loss: `pointwise`, `listwise` or `pairwise`.
        loss: the exchange loss, a function of the learner's logits, the guide's logits, `temperature` and
            `temperature_on`.
        temperature: divides the guide's logits.
        temperature_on: `target`, or `both` to divide the learner's logits too.
        takes_positive: whether the positive is column 0 of the logits, before the drawn items.
        from_best: whether the guide is in its best state so far; False takes it as it is.
        drawing: how the items are drawn.
    """

    learner: str
    guide: str
    weight: float
    kind: str
    loss: Callable[[Tensor, Tensor, float, str], Tensor]
    temperature: float
    temperature_on: str
    takes_positive: bool
    from_best: bool
    drawing: Direction


def exchange_into(learner: str, config: Config) -> Exchange:
    """Read the options of one direction.

    Args:
        learner: the role that learns.
        config: settings of the run, with BD's options. An option of one direction stands above that of both.

    Returns:
        The direction into `learner`.
    """
    direction = DIRECTION_INTO[learner]
    kind = config[f"exchange_{direction}"] or config["exchange"]
    return Exchange(
        learner=learner,
        guide=STUDENT if learner == TEACHER else TEACHER,
        weight=config[f"lambda_{direction}"] if config["directions"] in ("both", direction) else 0.0,
        kind=kind,
        loss=EXCHANGE_LOSSES[kind],
        temperature=config[f"temperature_{direction}"] or config["temperature"],
        temperature_on=config["temperature_on"],
        takes_positive=kind == "pairwise" or (kind == "listwise" and bool(config[f"list_positive_{direction}"])),
        from_best=config["guide_state"] == "best",
        drawing=_drawing_into(learner, config),
    )


def _drawing_into(learner: str, config: Config) -> Direction:
    direction = DIRECTION_INTO[learner]
    shape = config[f"shape_{direction}"]
    return Direction(
        sampling=config["sampling"] or config[f"sampling_{direction}"],
        shape=shape,
        eps=config["eps_t" if shape == "tanh" else "eps_e"],
        rank_order=config[f"rank_order_{direction}"],
        rank_scale=config["rank_scale"],
        top_temperature=config["top_temperature"],
    )


def exchange_text(exchange: Exchange, config: Config) -> str:
    """Write a direction as a weighted term.

    Args:
        exchange: the direction.
        config: settings of the run, with BD's options.

    Returns:
        E.g. `2.0 * listwise(10 of the student's own top 50, target teacher's best state)`.
    """
    positive = "the positive and " if exchange.takes_positive else ""
    is_linear = config["lambda_schedule"] == "linear"
    return term_text(
        exchange.weight,
        exchange.kind,
        f"{positive}{config['samples_per_positive']} {_drawing_text(exchange)}",
        f"target {exchange.guide}'s {'best' if exchange.from_best else 'current'} state",
        temperature_text(exchange.temperature, exchange.temperature_on),
        f"weight linear over {config['lambda_warmup_epochs']} epochs" if is_linear else "",
        "the first item also the negative" if config["cf_negatives"] == "distilled" else "",
    )


def _drawing_text(exchange: Exchange) -> str:
    drawing = exchange.drawing
    if drawing.sampling == "uniform":
        return "uniform items"
    if drawing.sampling == "rank_discrepancy":
        scale = f"{drawing.rank_scale} ranks, {drawing.rank_order} order"
        return f"by rank discrepancy ({drawing.shape} {number(drawing.eps)}, {scale})"
    listed = f"{exchange.learner}'s own" if drawing.sampling == "own_top" else f"{exchange.guide}'s"
    return f"of the {listed} top {whole(drawing.top_temperature)}"
