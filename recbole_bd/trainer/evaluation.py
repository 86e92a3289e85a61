"""RecBole's evaluation of one role, or of the mean of several models."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.data.evaluation_loader import histories_before
from recbole_bd.data.split import Split
from recbole_bd.evaluator.per_user import PerUser, UserCollector, UserEvaluator
from recbole_bd.evaluator.shared_noise import shared_noise
from recbole_bd.model.kdcl import standardised
from recbole_bd.sampler.seen_items import indices_of
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
    return _evaluated(role_trainer(role, journal, arm), split, loader, f"{role.name}/{arm}", show_progress, per_user)


def evaluate_mean(
    roles: Sequence[Role],
    shares: Sequence[float],
    split: Split,
    loader: Any,
    journal: Journal,
    name: str,
    per_user: PerUser | None = None,
) -> dict[str, float]:
    """RecBole's evaluation of the weighted mean of several models' standardised scores.

    s_u = sum over models m of w_m * (z_m,u - mean of z_m,u) / deviation of z_m,u

    Mean and deviation are over the items that are ranked for the user. Each sequential model reads histories of its
    own length.

    Args:
        roles: the models in their current states, of one split; the first one's settings hold.
        shares: w, a number for each model.
        split, loader, journal, per_user: see `evaluate`.
        name: the values of the users come under `name/metric`.

    Returns, raises: see `evaluate`.
    """
    trainers = [role_trainer(role, journal, name) for role in roles]
    pairs = list(zip(roles, trainers, strict=True))
    # RecBole evaluates through one of these two. Both give the scores of a batch, -inf where an item is not ranked.
    for method in ("_full_sort_batch_eval", "_neg_sample_batch_eval"):
        scorings = [_after_own_histories(role, loader, getattr(trainer, method)) for role, trainer in pairs]
        setattr(trainers[0], method, _mean_of(trainers, scorings, shares))
    with ExitStack() as scopes:
        for role in roles[1:]:
            role.forget()
            scopes.callback(role.forget)
            role.model.eval()
            scopes.enter_context(shared_noise(role, loader))
        return _evaluated(trainers[0], split, loader, name, False, per_user)


def _evaluated(
    trainer: Any, split: Split, loader: Any, name: str, show_progress: bool, per_user: PerUser | None
) -> dict[str, float]:
    """Evaluate by a trainer; the values of the users come under `name/metric`."""
    if per_user is not None:
        trainer.eval_collector, trainer.evaluator = UserCollector(trainer.config), UserEvaluator(trainer.config)
    trainer.eval_collector.data_collect(_TrainingData(split))
    result = trainer.evaluate(loader, show_progress=show_progress)
    if per_user is not None:
        per_user.add(name, trainer.eval_collector.users, trainer.evaluator.values)
    return {metric: float(value) for metric, value in result.items()}


def _after_own_histories(role: Role, loader: Any, scoring: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Scoring of a batch after the histories of a role's own model; that of a general model stays as it is."""
    if not role.scores.reads_histories:
        return scoring

    def score(batch: Any) -> Any:
        interaction, *others = batch
        users = interaction[role.config["USER_ID_FIELD"]]
        own = histories_before(role.model, loader.part, users)
        return scoring((Interaction({**interaction.interaction, **own.interaction}), *others))

    return score


def _mean_of(trainers: Sequence[Any], scorings: Sequence[Callable], shares: Sequence[float]) -> Callable[[Any], Any]:
    """Scoring of a batch as in RecBole, (interaction, scores [B, n_items], rows, items), by the mean of the models."""

    def score(batch: Any) -> Any:
        for trainer in trainers[1:]:  # what RecBole sets when a trainer evaluates
            for setting in ("tot_item_num", "item_tensor", "test_batch_size"):
                setattr(trainer, setting, getattr(trainers[0], setting))
        scored = [scoring(batch) for scoring in scorings]
        mean = sum(share * standardised_rows(found[1]) for share, found in zip(shares, scored, strict=True))
        return (scored[0][0], mean, *scored[0][2:])

    return score


def standardised_rows(scores: Tensor) -> Tensor:
    """Subtract each row's mean and divide by its standard deviation, both over finite scores.

    Args:
        scores: [B, n]; -inf where an item is not ranked.

    Returns:
        float32 [B, n]; -inf stays; rows of equal scores become 0.
    """
    left_out = scores == -torch.inf
    return standardised(scores.float(), indices_of(left_out)).masked_fill(left_out, -torch.inf)


class _TrainingData:
    """Stands in for a training loader, of which RecBole's collector reads only the data set."""

    def __init__(self, split: Split):
        self.dataset = split.train
