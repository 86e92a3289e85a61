"""Preview of a run as text, for `--dry-run`."""

import json

from recbole_bd.backbones.names import DIRECTION_INTO
from recbole_bd.config.chosen_loggers import require_loggers
from recbole_bd.config.config import BDConfig
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.config.yaml_text import to_yaml
from recbole_bd.data.split_warnings import split_warnings
from recbole_bd.model.exchange import option_of_direction
from recbole_bd.runs.prepare import kept_states, prepare, read_checkpoint, size_notes


def describe(config: BDConfig) -> str:
    """Describe what a run would do, after loading the data and building its roles.

    Args:
        config: settings of the run.

    Returns:
        The resolved settings as YAML, the data with its warnings, each role's size, an estimate of memory in MiB, and
        warnings of settings that nothing reads.

    Raises:
        BDError: the settings, the data or the models do not fit together; the message is one line.
    """
    require_loggers(config)
    split, roles = prepare(config)
    for role in roles.values():
        if role.config["checkpoint"]:
            read_checkpoint(role, split, kept_states(config, role.name))
    users, items = split.n_users, split.n_items
    lines = ["resolved configuration:", to_yaml(config.as_dict()).rstrip()]
    lines += ["", f"data: {json.dumps(split.statistics())}"]
    lines += [f"warning: data: {warning.message}" for warning in split_warnings(split)]
    lines.append(f"device: {config['device']}")
    parameters = 0
    for role in roles.values():
        parameters += role.parameter_count
        lines.append(f"{role.name}: {role.config['model']}, {role.parameter_count:,} parameters")
    # Parameters are counted six times: weights, gradients, Adam's two moments, best states. Scores are counted four
    # times: those of one evaluation batch and RecBole's masks.
    batch_users = max(config["eval_batch_size"] // items, 1)
    scores = min(batch_users, users) * items
    options = [option_of_direction("samples_per_positive", learner, config) for learner in DIRECTION_INTO]
    per_positive = sum(config[option] or 0 for option in options)
    samples = len(split.train) * per_positive * (config["refresh_period"] or 0)
    estimate = 300 * 2**20 + parameters * 4 * 6 + scores * 4 * 4 + samples * 8
    lines.append(f"estimated memory: {estimate / 2**20:,.0f} MiB (including about 300 MiB for Python and torch)")
    if notes := [*settings_notes(config), *size_notes(roles)]:
        lines += ["", *(f"warning: {note}" for note in notes)]
    return "\n".join(lines)
