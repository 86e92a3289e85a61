"""How many examples a property is tried on: a moderate number, ten times as many with RECBOLE_BD_LONG=1."""

import os

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("RECBOLE_BD_LONG") == "1"
_PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


def tried(count: int) -> settings:
    """Settings of a property. An example that fails is made smaller in the long mode only, since that takes minutes."""
    return settings(
        max_examples=10 * count if LONG else count,
        deadline=None,
        phases=[*_PHASES, Phase.shrink] if LONG else _PHASES,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
