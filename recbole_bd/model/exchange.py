"""Direction of Bidirectional Distillation: one learner, its guide, and the options of the exchange."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from recbole.config import Config
from torch import Tensor

from recbole_bd.backbones.names import DIRECTION_INTO, STUDENT, TEACHER
from recbole_bd.backbones.registry import is_sequential
from recbole_bd.errors import ConfigError
from recbole_bd.model import losses
from recbole_bd.model.at_rows import ROWS
from recbole_bd.model.objective import number, temperature_text, term_text, whole
from recbole_bd.model.schedule import CONSTANT as CONSTANT_WEIGHT
from recbole_bd.model.schedule import DECAY, LINEAR
from recbole_bd.sampler.direction import Direction

EXCHANGE_LOSSES = {
    "pointwise": losses.pointwise_exchange,
    "listwise": losses.listwise_exchange,
    "pairwise": losses.pairwise_exchange,
}

# Values of `directions` with which the roles learn one after the other, and who learns first.
TURNS = {"teacher_first": (TEACHER, STUDENT), "student_first": (STUDENT, TEACHER)}
BOTH_WAYS = ("both", *TURNS)

# Targets of a learner: the other role, or a placebo in its place.
OTHER, ONE_HOT, CONSTANT, SHUFFLED, UNTRAINED, SELF = TARGETS = (
    "other", "one_hot", "constant", "shuffled", "untrained", "self",
)  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """One direction of the distillation.

    Attributes:
        learner, guide: the role that learns and the role that teaches it.
        weight: lambda of the settings, before any schedule; 0 where the learner takes nothing.
        schedule: how the weight changes over the epochs, see `share_of_weight`.
        kind: name of the exchange loss: `pointwise`, `listwise` or `pairwise`.
        loss: the exchange loss, a function of the learner's logits, the guide's logits, `temperature` and
            `temperature_on`.
        temperature: divides the guide's logits.
        temperature_on: `target`, or `both` to divide the learner's logits too.
        takes_positive: whether the positive is column 0 of the logits, before the drawn items.
        from_best: whether the guide is in its best state so far; False takes it as it is.
        drawing: how the items are drawn.
        samples: items drawn per training interaction and epoch.
        target: what the learner is given as target, one of `TARGETS`.
        constant: target probability with `target: constant`, in (0, 1).
        ranks_of: `both`, or `learner` where the guide's ranks do not choose items, unless it is the target.
        is_negative: whether the first drawn item is also the negative of the learner's own loss.
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
    samples: int
    target: str = OTHER
    constant: float = 0.5
    ranks_of: str = "both"
    is_negative: bool = False
    schedule: str = CONSTANT_WEIGHT

    @property
    def ranker(self) -> str:
        """Name of what ranks items in the guide's place; with `ranks_of: both` the guide itself."""
        if self.ranks_of == "both":
            return self.guide
        return {
            OTHER: self.guide,
            SHUFFLED: f"{self.guide} for another user",
            UNTRAINED: f"untrained {self.guide}",
            SELF: f"{self.learner}'s best state",
        }.get(self.target, "random order")


def exchange_into(learner: str, config: Config) -> Exchange:
    """Read the options of one direction.

    Args:
        learner: the role that learns.
        config: settings of the run, with BD's options. An option of one direction stands above that of both.

    Returns:
        The direction into `learner`.

    Raises:
        ConfigError: the direction is on, and its target is a positive that its exchange does not hold.
    """
    direction = DIRECTION_INTO[learner]
    kind = _of_direction("exchange", learner, config)
    exchange = Exchange(
        learner=learner,
        guide=STUDENT if learner == TEACHER else TEACHER,
        weight=config[f"lambda_{direction}"] if config["directions"] in (*BOTH_WAYS, direction) else 0.0,
        kind=kind,
        loss=EXCHANGE_LOSSES[kind],
        temperature=_of_direction("temperature", learner, config),
        temperature_on=_of_direction("temperature_on", learner, config),
        takes_positive=kind == "pairwise" or (kind == "listwise" and bool(config[f"list_positive_{direction}"])),
        from_best=_of_direction("guide_state", learner, config) == "best" or config["directions"] in TURNS,
        drawing=_drawing_into(learner, config),
        samples=_of_direction("samples_per_positive", learner, config),
        target=_of_direction("guide", learner, config),
        constant=config["guide_constant"],
        ranks_of=config["ranks_of"],
        is_negative=_of_direction("cf_negatives", learner, config) == "distilled",
        schedule=_of_direction("lambda_schedule", learner, config),
    )
    if exchange.target == ONE_HOT and exchange.weight and not exchange.takes_positive:
        raise ConfigError(
            f"guide=one_hot: the {learner} learns from items without the positive; use list_positive_{direction}=True "
            f"with exchange_{direction}=listwise, or exchange_{direction}=pairwise, or guide_{direction}=constant"
        )
    return exchange


def placebo_guides(config: Config) -> dict[str, str]:
    """Choose the placebo of each direction, by `placebo`.

    Args:
        config: settings of the run, with BD's options.

    Returns:
        Values of the options `guide_<direction>`. `auto` is one-hot where the list holds the positive, else constant.

    Raises:
        ConfigError: `one_hot` for a direction that is on and does not hold the positive.
    """
    found = {}
    for learner, direction in DIRECTION_INTO.items():
        exchange = exchange_into(learner, config)
        wanted = config["placebo"]
        if wanted == "auto":
            wanted = ONE_HOT if exchange.takes_positive else CONSTANT
        elif wanted == ONE_HOT and exchange.weight and not exchange.takes_positive:
            raise ConfigError(
                f"placebo=one_hot: the {learner} learns from items without the positive; use placebo=auto, which is "
                "constant there"
            )
        found[f"guide_{direction}"] = wanted
    return found


def option_of_direction(option: str, learner: str, config: Config) -> str:
    """Name of the option that one direction reads: its own, or where that is ~ the one for both.

    Args:
        option: name of the one for both.
        learner: the role that learns.
        config: settings of the run, with BD's options.
    """
    own = f"{option}_{DIRECTION_INTO[learner]}"
    return option if config[own] is None else own


def _of_direction(option: str, learner: str, config: Config) -> Any:
    return config[option_of_direction(option, learner, config)]


def _drawing_into(learner: str, config: Config) -> Direction:
    direction = DIRECTION_INTO[learner]
    shape, eps = config[f"shape_{direction}"], config[f"eps_{direction}"]
    return Direction(
        sampling=config["sampling"] or config[f"sampling_{direction}"],
        shape=shape,
        eps=config["eps_t" if shape == "tanh" else "eps_e"] if eps is None else eps,
        rank_order=config[f"rank_order_{direction}"],
        rank_scale=_of_direction("rank_scale", learner, config),
        top_temperature=_of_direction("top_temperature", learner, config),
        guide_top=_of_direction("guide_top", learner, config),
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
    over_time = {
        LINEAR: f"weight linear over {config['lambda_warmup_epochs']} epochs",
        DECAY: f"weight exp(-epoch / {number(config['lambda_decay_epochs'])})",
    }
    has_temperature = exchange.target not in (ONE_HOT, CONSTANT) or exchange.temperature_on == "both"
    return term_text(
        exchange.weight,
        exchange.kind,
        f"{positive}{exchange.samples} {_drawing_text(exchange)}",
        _target_text(exchange),
        temperature_text(exchange.temperature, exchange.temperature_on) if has_temperature else "",
        over_time.get(exchange.schedule, ""),
        "the first item also the negative" if exchange.is_negative else "",
        *_times_text(exchange, config),
    )


def may_pause(config: Config) -> bool:
    """Whether the teacher may skip batches: `pause: switokd`, which is read with `directions: both` alone."""
    return (config["directions"], config["pause"]) == ("both", "switokd")


def _times_text(exchange: Exchange, config: Config) -> Iterator[str]:
    if config["exchange_at"] == config["ranks_at"] == ROWS and is_sequential(config.backbones[exchange.learner]):
        yield "ranks after each row's history"
    if order := TURNS.get(config["directions"]):
        yield f"in the {'first' if exchange.learner == order[0] else 'second'} half of the epochs"
    if may_pause(config) and exchange.learner == TEACHER:
        yield "paused while the student is far behind"


def _target_text(exchange: Exchange) -> str:
    state = f"{exchange.guide}'s {'best' if exchange.from_best else 'current'} state"
    uniform = "uniform over the list" if exchange.kind == "listwise" else f"constant {number(exchange.constant)}"
    return (
        "target "
        + {
            OTHER: state,
            ONE_HOT: "one-hot positive",
            CONSTANT: uniform,
            SHUFFLED: f"{state} for another user's row",
            UNTRAINED: f"untrained {exchange.guide}",
            SELF: f"{exchange.learner}'s own best state",
        }[exchange.target]
    )


def _drawing_text(exchange: Exchange) -> str:
    drawing, guide = exchange.drawing, exchange.ranker
    if drawing.sampling == "uniform":
        return "uniform items"
    if drawing.sampling == "rank_discrepancy":
        scale = f"{drawing.rank_scale} ranks, {drawing.rank_order} order"
        stand_in = "" if guide == exchange.guide else f", {guide} in the {exchange.guide}'s place"
        within = "" if drawing.guide_top is None else f", of the {guide}'s first {drawing.guide_top}"
        return f"by rank discrepancy ({drawing.shape} {number(drawing.eps)}, {scale}{stand_in}{within})"
    width = f"top {whole(drawing.top_temperature)}"
    if drawing.sampling == "own_top":
        return f"of the {exchange.learner}'s own {width}"
    return f"of the {guide}'s {width}" if guide == exchange.guide else f"of the {width} of {guide}"
