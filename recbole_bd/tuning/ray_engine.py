"""The same trials on Ray Tune, for users of a Ray cluster."""

import importlib
from typing import TYPE_CHECKING, Any

from recbole_bd.errors import InstallationError
from recbole_bd.tuning.space import CHOICE, draw_settings, is_range
from recbole_bd.tuning.study import ERROR, Search, ended, import_optuna
from recbole_bd.tuning.trial import FAILED, run_trial

if TYPE_CHECKING:
    import optuna


def run_on_ray(study: "optuna.Study", search: Search) -> None:
    """Run the trials that the study lacks on Ray Tune, which draws at random and stops what is below the median.

    Args:
        study: receives the trials when all have ended.
        search: definition of the search; `jobs` trials at a time, `threads` cores each.

    Raises:
        InstallationError: Ray is absent, or does not work here.
    """
    tune, schedulers = _ray()
    missing = search.trials - len(ended(study))
    if missing <= 0:
        return
    ranges = {key: value for key, value in search.space.items() if is_range(value)}

    def objective(drawn: dict[str, Any]) -> None:
        settings = draw_settings(search.space, import_optuna().trial.FixedTrial(drawn))  # three digits, as elsewhere
        number = tune.get_context().get_trial_id()

        def tell(epoch: int, best: float) -> bool:
            tune.report({"objective": best, "epoch": epoch + 1})
            return False

        log = search.folder.absolute() / "logs" / f"trial-{number}.log"
        outcome = run_trial(search.run_settings(settings), search.objective, search.metric, log, search.threads, tell)
        if outcome.state == FAILED:
            raise RuntimeError(outcome.error)
        tune.report({"objective": outcome.objective, "epoch": len(outcome.curve) + 1, "outcome": vars(outcome)})

    tuner = tune.Tuner(
        tune.with_resources(objective, {"cpu": search.threads}),
        param_space={key: _domain(tune, value) for key, value in ranges.items()},
        tune_config=tune.TuneConfig(
            metric="objective",
            mode="max",
            num_samples=missing,
            max_concurrent_trials=search.jobs,
            scheduler=schedulers.MedianStoppingRule(time_attr="epoch", grace_period=10, min_samples_required=5),
        ),
        run_config=tune.RunConfig(name="ray", storage_path=str(search.folder.absolute())),
    )
    for result in tuner.fit():
        study.add_trial(_trial(search, ranges, result))


def _ray() -> tuple[Any, Any]:
    """Ray Tune and its schedulers; by name, since RecBole's pin is to a Ray of other interfaces."""
    try:
        tune, schedulers = (importlib.import_module(name) for name in ("ray.tune", "ray.tune.schedulers"))
    except ImportError as error:
        raise InstallationError(
            f'--engine=ray needs a Ray that works here ({error}): pip install "ray[tune]>=2.40"'
        ) from error
    if not hasattr(tune, "RunConfig"):
        raise InstallationError('--engine=ray needs a newer Ray, beside RecBole\'s pin: pip install "ray[tune]>=2.40"')
    return tune, schedulers


def _domain(tune: Any, value: dict[str, Any]) -> Any:
    (kind, numbers), *_ = value.items()
    if kind == CHOICE:
        return tune.choice(numbers)
    if kind == "quniform" and all(isinstance(number, int) for number in numbers):
        return tune.qrandint(*numbers)
    return getattr(tune, kind)(*numbers)


def _trial(search: Search, ranges: dict[str, Any], result: Any) -> "optuna.trial.FrozenTrial":
    """Result of Ray as a trial of the study."""
    optuna = import_optuna()
    states = optuna.trial.TrialState
    fixed = optuna.trial.FixedTrial(dict(result.config))
    settings = draw_settings(search.space, fixed)
    metrics = result.metrics or {}
    outcome = metrics.get("outcome")
    about: dict[str, Any] = {"settings": settings}
    if outcome:
        about |= {name: outcome[name] for name in ("values", "folder", "seconds")}
        state = states.COMPLETE
    elif result.error:
        about[ERROR] = str(result.error).strip().splitlines()[-1]
        state = states.FAIL
    else:
        state = states.PRUNED
    return optuna.trial.create_trial(
        state=state,
        value=None if state == states.FAIL else metrics["objective"],
        params=fixed.params,
        distributions=fixed.distributions,
        user_attrs=about,
    )
