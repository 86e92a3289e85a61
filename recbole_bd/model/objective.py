"""The loss that a role minimises, as one line of text."""

from collections.abc import Sequence
from typing import Any

from recbole_bd.backbones.registry import recommender_class
from recbole_bd.backbones.softmax_loss import ALL, negatives_of
from recbole_bd.system.own_classes import short_name


def objective_text(role: str, own_loss: str, terms: Sequence[str] = ()) -> str:
    """Write the loss of one role as a sum.

    Args:
        role: the learner.
        own_loss: result of `own_loss_text`.
        terms: the distillation terms, each with its weight.

    Returns:
        E.g. `loss(student) = BPR + 0.5 * pointwise(...)`.
    """
    return f"loss({role}) = {' + '.join([own_loss, *terms])}"


def own_loss_text(config: Any, backbone: str) -> str:
    """Write the loss of a role alone.

    Args:
        config: settings of the role.
        backbone: name of its model.

    Returns:
        The name of the model whose loss it is, or e.g. `softmax(512 shared items, temperature 0.2, cosine, L2 0.01)`.
    """
    if config["own_loss"] != "softmax":
        return short_name(backbone)
    negatives = negatives_of(recommender_class(backbone), config["softmax_negatives"])
    facts = [
        "all items" if negatives == ALL else f"{negatives} shared items",
        temperature_text(config["softmax_temperature"]),
        "cosine" if config["softmax_cosine"] else "",
        f"L2 {number(config['softmax_l2'])}" if config["softmax_l2"] else "",
    ]
    return f"softmax({', '.join(fact for fact in facts if fact)})"


def term_text(weight: float, name: str, *facts: str) -> str:
    """Write a distillation term as a weighted function.

    Args:
        weight: lambda.
        name: name of the loss.
        facts: what it takes; an empty one is left out.

    Returns:
        E.g. `2.0 * listwise(10 uniform items, target teacher's best state)`.
    """
    return f"{number(weight)} * {name}({', '.join(fact for fact in facts if fact)})"


def temperature_text(temperature: float, on: str = "target") -> str:
    """Write a temperature; nothing where it is 1.

    Args:
        temperature: divides the target's logits.
        on: `target`, or `both` where it divides the learner's logits too.
    """
    if temperature == 1:
        return ""
    return f"temperature {number(temperature)}" + (" on both" if on == "both" else "")


def number(value: float) -> str:
    """Write a number with the digits that tell it from others: 2.0, 0.001, 1e-10."""
    return repr(float(value))


def whole(value: float) -> str:
    """Write a number without the `.0` of a whole one: 50, 12.5."""
    return number(value).removesuffix(".0")
