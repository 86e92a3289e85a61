"""RecBole's full-ranking evaluation of one role."""

from typing import Any

from recbole_bd.backbones.role import Role
from recbole_bd.data.split import Split
from recbole_bd.evaluator.per_user import PerUser, UserCollector, UserEvaluator
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.role_trainer import role_trainer


def evaluate(
    role: Role,
    split: Split,
    loader: Any,
    journal: Journal,
    arm: str,
    show_progress: bool = False,
    per_user: PerUser | None = None,
) -> dict[str, float]:
    """RecBole's own evaluation of a role's model in its current state.

    Args:
        role: the role.
        split: the data; item and user counts come from its training part.
        loader: `split.valid_loader` or `split.test_loader`.
        journal: receives the duration.
        arm: `separate`, `distilled` or `continued`.
        show_progress: whether to draw a progress bar.
        per_user: receives each user's values of the metrics, under `role/arm/metric`.

    Returns:
        Metric name, e.g. `ndcg@10`, to value, rounded to `metric_decimal_place`.

    Raises:
        TrainingError: a parameter or a score is not finite.
    """
    trainer = role_trainer(role, journal, arm)
    if per_user is not None:
        trainer.eval_collector, trainer.evaluator = UserCollector(role.config), UserEvaluator(role.config)
    trainer.eval_collector.data_collect(_TrainingData(split))
    result = trainer.evaluate(loader, show_progress=show_progress)
    if per_user is not None:
        per_user.add(f"{role.name}/{arm}", trainer.eval_collector.users, trainer.evaluator.values)
    return {name: float(value) for name, value in result.items()}


class _TrainingData:
    """Stands in for a training loader, of which RecBole's collector reads only the data set."""

    def __init__(self, split: Split):
        self.dataset = split.train
