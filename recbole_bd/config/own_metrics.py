"""Metrics by name: RecBole's, and those of the user's own."""

from collections.abc import Iterable

from recbole.evaluator import metric_types
from recbole.evaluator.base_metric import AbstractMetric
from recbole.utils import EvaluatorType

from recbole_bd.compat import add_metric
from recbole_bd.errors import ConfigError, did_you_mean
from recbole_bd.system.own_classes import METRICS, is_import_name, offered_classes, own_class, short_name

# RecBole's own names, as they are before any metric is added.
RECBOLE_METRICS = frozenset(metric_types)
# Data that RecBole's collector can give to a metric.
_NEEDS = {
    "rec.items", "rec.topk", "rec.meanrank", "rec.score", "data.num_items", "data.num_users", "data.count_items",
    "data.count_users", "data.label",
}  # fmt: skip


def own_metric(name: str) -> type[AbstractMetric] | None:
    """Import a metric of the user's own.

    Args:
        name: `my_package.module:Class`, or the name of an entry point.

    Returns:
        The class; None if the name is RecBole's, or no metric's.

    Raises:
        ConfigError: it cannot be imported, is no metric, or has the name of one of RecBole's.
        InstallationError: a metric of an entry point cannot be imported.
    """
    if name.lower() in RECBOLE_METRICS or (found := own_class(name, METRICS)) is None:
        return None
    if not issubclass(found, AbstractMetric):
        raise ConfigError(
            f"metrics: {name} must inherit from TopkMetric or another class of recbole.evaluator.base_metric"
        )
    if found.__name__.lower() in RECBOLE_METRICS:
        raise ConfigError(f"metrics: {name} has the name of a metric of RecBole, {found.__name__}: rename the class")
    if not isinstance(getattr(found, "metric_type", None), EvaluatorType):
        raise ConfigError(f"metrics: {name} has no metric_type: set it to EvaluatorType.RANKING or VALUE")
    needs = getattr(found, "metric_need", None)
    if not isinstance(needs, list) or not needs or not _NEEDS.issuperset(needs):
        known = ", ".join(sorted(_NEEDS))
        raise ConfigError(f"metrics: {name}: metric_need={needs!r}: expected a list of some of {known}")
    return found


def result_name(name: str) -> str:
    """Name of a metric in results: in lower case, of the user's own that of the class.

    Args:
        name: as `own_metric` takes it, or RecBole's.
    """
    found = own_metric(name)
    return (name if found is None else found.__name__).lower()


def add_own_metrics(names: Iterable[str]) -> None:
    """Check the names of metrics, and make those of the user's own known to RecBole.

    Args:
        names: as the setting `metrics` has them.

    Raises:
        ConfigError: an unknown metric; one that `own_metric` refuses; or two with the same name in results.
        InstallationError: see `own_metric`.
    """
    shown: dict[str, str] = {}
    for name in names:
        found = own_metric(name)
        if found is None and name.lower() not in RECBOLE_METRICS:
            known = sorted(RECBOLE_METRICS) + list(offered_classes(METRICS))
            hint = did_you_mean(name, known)
            raise ConfigError(f"metrics: unknown metric {name!r}.{hint} Available metrics: {', '.join(known)}")
        if found is None:
            continue
        short = found.__name__.lower()
        if shown.setdefault(short, name) != name:
            raise ConfigError(f"metrics: {shown[short]} and {name} are both called {short} in results: rename one")
        add_metric(name.lower(), short, found)


def own_metrics(names: Iterable[str]) -> list[type[AbstractMetric]]:
    """Classes of those metrics that are the user's own.

    Args:
        names: as the setting `metrics` has them.
    """
    return [found for name in names if (found := own_metric(name)) is not None]


def smaller_is_better(valid_metric: str, names: Iterable[str]) -> bool | None:
    """Whether smaller values of the validation metric are better; None if it is not of the user's own.

    Args:
        valid_metric: such as `MyMetric@10`.
        names: as the setting `metrics` has them.
    """
    wanted = valid_metric.partition("@")[0].lower()
    return next((bool(kind.smaller) for kind in own_metrics(names) if kind.__name__.lower() == wanted), None)


def is_own_metric(name: str) -> bool:
    """Whether a name is that of a metric of the user's own; nothing is imported."""
    return isinstance(name, str) and (is_import_name(name) or short_name(name) in offered_classes(METRICS))
