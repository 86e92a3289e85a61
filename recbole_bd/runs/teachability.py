"""Whether the student of a run can teach: both roles before distillation, compared on the validation part."""

from collections.abc import Mapping

from recbole_bd.backbones.names import PAIR, SEPARATE, STUDENT, TEACHER
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import Snapshot, restore_snapshot
from recbole_bd.data.split import Split
from recbole_bd.evaluator.complementarity import Complementarity, complementarity, ratio
from recbole_bd.evaluator.per_user import PerUser
from recbole_bd.trainer.evaluation import evaluate
from recbole_bd.trainer.journal import Journal


def validation_values(
    roles: Mapping[str, Role], split: Split, start: Mapping[str, Snapshot], journal: Journal, metric: str
) -> tuple[PerUser, dict[str, float]]:
    """Evaluate both roles before distillation on the validation part.

    Args:
        roles: teacher and student; their models have the states of `start` afterwards.
        split: the data.
        start: the state of each role before distillation.
        journal: receives the durations.
        metric: the selecting metric, e.g. `ndcg@10`.

    Returns:
        The values of the validation users, `role/separate/metric`, none where the metric is no mean over users. Then
        the metric by role, rounded as in results.
    """
    per_user, means = PerUser(split), {}
    for name, role in roles.items():
        restore_snapshot(role.model, start[name])
        means[name] = evaluate(role, split, split.valid_loader, journal, SEPARATE, per_user=per_user)[metric]
    per_user.keep(metric)
    return per_user, means


def teachability(
    per_user: PerUser, means: Mapping[str, float], metric: str, less_is_better: bool
) -> dict[str, float | None]:
    """Compare the roles by what `validation_values` returns.

    Args:
        per_user, means: values of the users, and metric by role.
        metric: the selecting metric.
        less_is_better: whether lower values of it are better.

    Returns:
        The fields of `Complementarity`, teacher first. Where the metric is no mean over users, only `ratio` is known.
    """
    of_teacher, of_student = (per_user.values.get(f"{name}/{SEPARATE}/{metric}") for name in PAIR)
    if of_teacher is None or of_student is None:
        return vars(Complementarity(None, ratio(means[TEACHER], means[STUDENT]), None))
    return vars(complementarity(of_teacher, of_student, less_is_better))
