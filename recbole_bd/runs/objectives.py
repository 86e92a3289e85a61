"""The loss that each arm of a run minimises, as text."""

from recbole_bd.backbones.names import CONTINUED, DISTILLED, PLACEBO, SEPARATE
from recbole_bd.config.config import BDConfig
from recbole_bd.model.objective import objective_text, own_loss_text
from recbole_bd.runs.prepare import settings_of


def objectives(config: BDConfig) -> dict[str, dict[str, str]]:
    """Write the losses of a run, from its settings alone.

    Args:
        config: settings of the run.

    Returns:
        By arm and by role that learns in it, e.g. `loss(student) = BPR`.
    """
    found = {
        SEPARATE: {
            role: objective_text(role, own_loss_text(config.role(role), model))
            for role, model in config.backbones.items()
        }
    }
    if config.method_class is not None:
        found[DISTILLED] = config.method_class.objective_of(config, config.backbones)
        if CONTINUED in config["controls"]:
            found[CONTINUED] = config.method_class.objective_of(config, config.backbones, control=True)
        if PLACEBO in config["controls"]:
            found[PLACEBO] = config.method_class.objective_of(settings_of(config, PLACEBO), config.backbones)
    return found
