"""Settings of earlier versions of this package, which are still read."""

from collections.abc import Mapping
from typing import Any

from recbole_bd.backbones.names import CONTINUED
from recbole_bd.errors import ConfigError


def with_todays(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Write settings as they are written today.

    Args:
        settings: as a file, a record or the user gives them.
        source: where they stand, named in errors.

    Returns:
        `controls: [continued]` for `control: True`, `controls: []` for `control: False`, and the rest as it is.

    Raises:
        ConfigError: `control` is no bool, or stands beside `controls`.
    """
    if "control" not in settings:
        return dict(settings)
    if not isinstance(settings["control"], bool):
        raise ConfigError(
            f"control={settings['control']!r}: expected bool; write controls: [{CONTINUED}] or [] ({source})"
        )
    if "controls" in settings:
        raise ConfigError(f"control: controls, which is set too, has replaced it; leave control out ({source})")
    todays = {key: value for key, value in settings.items() if key != "control"}
    return {**todays, "controls": [CONTINUED] if settings["control"] else []}
