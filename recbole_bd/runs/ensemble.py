"""Two trained models together: the weighted mean of their standardised scores.

It is what serving both would give. It also shows what they could learn from each other, as a model that learns from
another one moves towards their mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from recbole_bd.backbones.registry import is_sequential
from recbole_bd.errors import ComparisonError
from recbole_bd.evaluator.per_user import PerUser
from recbole_bd.evaluator.significance import compare
from recbole_bd.runs.other_columns import differing
from recbole_bd.runs.trained_model import Trained
from recbole_bd.trainer.evaluation import evaluate, evaluate_mean
from recbole_bd.trainer.journal import Journal

# Shares of the first model that are tried; the rest is the second's.
SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Ensemble:
    """Two models and their means.

    Attributes:
        metric: the metric that selects the share, and selected the epoch of the first model.
        valid: this metric of each model on the validation part.
        valid_by_share: of the means, by the share of the first model.
        better: the model with the better validation, 0 or 1; the first one if they are level.
        share: the share of the mean with the best validation.
        test: all metrics on the test part, of the first model, the second and this mean.
        p: of the paired t test over test users between this mean and the better model, in `metric`; None where it is no
            mean over users, or all users differ by the same.
    """

    metric: str
    valid: tuple[float, float]
    valid_by_share: Mapping[float, float]
    better: int
    share: float
    test: tuple[Mapping[str, float], Mapping[str, float], Mapping[str, float]]
    p: float | None


def ensemble(models: Sequence[Trained]) -> Ensemble:
    """Evaluate two models and their means. The first model's settings choose metrics and ranked items.

    Args:
        models: two models of one data set and split, on one device.

    Raises:
        ComparisonError: the models are the same one, or have other data, another split, other metrics or
            other ranked items.
        TrainingError: a score is not finite.
    """
    _check(models)
    roles = [model.role for model in models]
    are_sequential = [is_sequential(model.about["model"]) for model in models]
    # A general model scores the users of a sequential model's split, and not the reverse.
    split = models[are_sequential.index(True) if any(are_sequential) else 0].split
    # Two sequential models may read histories of different lengths, so each is evaluated on its own split.
    splits = [model.split if own else split for model, own in zip(models, are_sequential, strict=True)]
    config, journal = roles[0].config, Journal()
    metric = str(config["valid_metric"]).lower()
    sign = 1 if config["valid_metric_bigger"] else -1

    found = [evaluate(role, own, own.valid_loader, journal, "alone") for role, own in zip(roles, splits, strict=True)]
    if metric not in found[1]:
        first, second = (model.path for model in models)
        raise ComparisonError(
            f"{second} was evaluated in {', '.join(found[1])} and not in {metric}, which selected {first}: name models "
            "of runs with the same metrics and topk"
        )
    valid = [values[metric] for values in found]
    together = partial(evaluate_mean, roles, split=split, journal=journal, name="mean")
    valid_by_share = {share: together((share, 1 - share), loader=split.valid_loader)[metric] for share in SHARES}
    share = max(SHARES, key=lambda one: sign * valid_by_share[one])
    better = int(sign * valid[1] > sign * valid[0])
    evaluations = [
        partial(evaluate, role, own, own.test_loader, journal, "alone") for role, own in zip(roles, splits, strict=True)
    ]
    values, test = [], []
    for evaluation in (*evaluations, partial(together, (share, 1 - share), loader=split.test_loader)):
        per_user = PerUser(split)
        test.append(evaluation(per_user=per_user))
        values.append(next((array for name, array in per_user.values.items() if name.endswith(f"/{metric}")), None))
    of_better, of_mean = values[better], values[2]
    p = None if of_better is None or of_mean is None else compare(of_better, of_mean).t_p
    return Ensemble(metric, (valid[0], valid[1]), valid_by_share, better, share, (test[0], test[1], test[2]), p)


def _check(models: Sequence[Trained]) -> None:
    """Refuse models that were not evaluated on the same items of the same users."""
    first, second = models
    if first.path.resolve() == second.path.resolve():
        raise ComparisonError(f"{first.path} is named twice: name two models")
    columns = [model.about.get("columns", {}) for model in models]
    if first.about["fingerprint"] != second.about["fingerprint"] or differing(*columns):
        raise ComparisonError(
            f"{first.path} and {second.path} were trained on other data or splits: name models of the same data, with "
            "the same seed or split_seed where the split is random"
        )
    if len({str(model.split.statistics().get("candidates")) for model in models}) > 1:
        raise ComparisonError(
            f"{first.path} and {second.path} were evaluated among other items: name models of runs with the same "
            "eval_args, and the same split_seed or seed where candidates are sampled"
        )
    if first.split.repeatable != second.split.repeatable:
        seen, unseen = (model.path for model in sorted(models, key=lambda model: not model.split.repeatable))
        raise ComparisonError(
            f"{seen} also ranks items that the user has seen, as sequential models do, and {unseen} does not; train "
            "both in one run or one leaderboard"
        )
