"""A search on Optuna: parallel trials, on one machine or several that share a storage; a stopped search resumes."""

import hashlib
import json
import logging
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from tqdm import tqdm

from recbole_bd.backbones.names import BASELINE
from recbole_bd.config.config import folded_settings
from recbole_bd.config.layers import COMMAND_LINE, Layer, fold_layers
from recbole_bd.errors import ConfigError, InstallationError, Interrupted
from recbole_bd.model import METHODS
from recbole_bd.runs.records import SCHEMA
from recbole_bd.system.process_pool import Child, ProcessPool
from recbole_bd.system.signals import stoppable
from recbole_bd.tuning.space import draw_settings, examples_of
from recbole_bd.tuning.trial import FAILED, PRUNED, STOPPED, TERMINATION, Outcome, TrialRun

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

# Attribute of a trial that failed by itself. Optuna also marks stopped and surplus trials as failed; they do not count.
ERROR = "error"
# Settings that name folders, which may move.
_FOLDERS = ("data_path", "checkpoint_dir")
# Seconds after which a running trial without a process is taken as lost: it is named right after the trial is begun.
_BEGINNING = 60.0
# Seconds before a database is opened again after an error.
_PAUSES = (0.2, 1.0)


@dataclass(frozen=True)
class Search:
    """Definition of a search.

    Attributes:
        space: from `read_space`.
        settings: settings of every trial on the command line; drawn settings override them.
        of_trials: further settings of trials, which best.yaml leaves out.
        objective: roles whose validation is maximised; of two, the geometric mean.
        metric: validation metric, e.g. `ndcg@10`.
        trials: number of trials in all.
        jobs: number of trials at a time, on this machine.
        threads: of each.
        folder: receives the logs.
        seed: seed of the draws; a trial draws with this plus its number.
        data: hash of the data set's files.
        files: layers of the configuration files, which `settings` override; keys may be dotted.
    """

    space: Mapping[str, Any]
    settings: Mapping[str, Any]
    of_trials: Mapping[str, Any]
    objective: tuple[str, ...]
    metric: str
    trials: int
    jobs: int
    threads: int
    folder: Path
    seed: int = 2020
    data: str = ""
    files: tuple[Layer, ...] = ()

    @property
    def identity(self) -> str:
        """Hash by which two searches are the same: space, settings except for folders, objective and metric.

        For searches of two roles it also depends on the schema of their results.
        """
        return self._hash(drop=_FOLDERS)

    @property
    def identities(self) -> tuple[str, str]:
        """The hash, and the one of earlier versions, which depends on the folders as well."""
        return self.identity, self._hash()

    def _hash(self, drop: Sequence[str] = ()) -> str:
        layers = [*self.files, Layer(COMMAND_LINE, dict(self.settings))]
        settings: Any = fold_layers(layers, drop)
        if not self._is_as_written(fold_layers(layers, ())):
            settings = [fold_layers([layer], drop) for layer in layers]
        schema = [] if BASELINE in self.objective else [SCHEMA]
        text = json.dumps([self.space, settings, self.objective, self.metric, *schema], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def run_settings(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of the run of a trial."""
        return self.settings_with({**self.of_trials, **drawn, "threads": self.threads})

    def settings_with(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of every trial with more of them on the command line, as one layer that gives the same run.

        Raises:
            ConfigError: a model's name is none, or a block is set to a value.
        """
        return folded_settings([*self.files, Layer(COMMAND_LINE, {**self.settings, **more})], METHODS)

    def _is_as_written(self, merged: Mapping[str, Any]) -> bool:
        """Whether files and command line mean the same key by key, so that no block of theirs hides a later setting."""
        return not self.files or all(
            folded_settings([Layer(COMMAND_LINE, {**merged, **example})], METHODS) == self.settings_with(example)
            for example in examples_of(self.space)
        )


def open_study(name: str, storage: str, search: Search) -> "optuna.Study":
    """Create a study, or open the one of that name to resume it.

    Args:
        name: of the study.
        storage: a database's address as SQLAlchemy has it, or a `.journal` file for machines that share a folder.
        search: definition of the search.

    Raises:
        InstallationError: Optuna is absent.
        ConfigError: the storage cannot be opened, or its study of that name is another search, or one on other data.
    """
    optuna = import_optuna()
    identities = search.identities
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Median pruning: a trial ends if its best so far is below the median of the others at the same epoch.
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=10)
    try:
        study = _created(storage, study_name=name, direction="maximize", load_if_exists=True, pruner=pruner)
        known, data = (study.user_attrs.get(name) for name in ("identity", "data"))
        if known is None:
            study.set_user_attr("identity", identities[0])
        if data is None and search.data:
            study.set_user_attr("data", search.data)
    except Exception as error:  # whatever a database's driver raises
        problem = str(error).strip().splitlines()[0][:200]
        way_out = "" if "://" in storage else "; write sqlite:///FILE, or FILE.journal for machines that share a folder"
        raise ConfigError(f"storage {storage} cannot be opened: {problem}{way_out}") from error
    if data not in (None, search.data):
        raise ConfigError(
            f"study {name} in {storage} was created for other data files of the same name; choose another --study or "
            "--storage"
        )
    if known not in (None, *identities):
        raise ConfigError(
            f"study {name} in {storage} was created for a different search space or different settings; choose another "
            "--study or --storage"
        )
    return study


def import_optuna() -> Any:
    """Optuna.

    Raises:
        InstallationError: it is absent.
    """
    try:
        import optuna
    except ImportError as error:
        raise InstallationError('searches need Optuna: pip install "recbole-bd[tune]"') from error
    return optuna


def _created(storage: str, **options: Any) -> "optuna.Study":
    """Create or open a study, also where another process creates the tables of the same new database."""
    from sqlalchemy.exc import DBAPIError  # comes with Optuna

    for pause in _PAUSES:
        try:
            return import_optuna().create_study(storage=_storage(storage), **options)
        except DBAPIError:  # the other process was first
            time.sleep(pause)
    return import_optuna().create_study(storage=_storage(storage), **options)


def _storage(address: str) -> Any:
    optuna = import_optuna()
    if not address.endswith(".journal"):
        return address
    journal = optuna.storages.journal
    return optuna.storages.JournalStorage(journal.JournalFileBackend(address))


def counting(study: "optuna.Study", before: int | None = None) -> list["optuna.trial.FrozenTrial"]:
    """Trials that count: those that ended with a result or an error of their own, and running ones.

    Args:
        study: the study.
        before: only those with a smaller number; None is all.
    """
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if (before is None or trial.number < before)
        and (trial.state.name in ("COMPLETE", "PRUNED", "RUNNING") or ERROR in trial.user_attrs)
    ]


def run_search(study: "optuna.Study", search: Search) -> None:
    """Run trials until the study has the requested number, on whichever machine they ran.

    Args:
        study: from `open_study`.
        search: definition of the search.

    Raises:
        Interrupted: Ctrl-C or SIGTERM: running trials are stopped, and the next call resumes them.
    """
    _take_over(study)
    running: dict[Child, tuple[Any, dict[str, Any], TrialRun]] = {}
    bar = tqdm(total=search.trials, initial=len(ended(study)), unit="trial", disable=not sys.stderr.isatty())
    with bar, stoppable() as stop, stop.deferred(), ProcessPool(search.jobs, TERMINATION) as pool:
        try:
            while True:
                while pool.has_room and (begun := _begin(study, search)) is not None:
                    run = _run_of(search, *begun)
                    running[run.start(pool)] = (*begun, run)
                if not running:
                    return
                for child in pool.wait():
                    trial, settings, run = running.pop(child)
                    outcome = run.outcome_of(child)
                    _tell(study, trial, settings, outcome)
                    bar.update(outcome.state != STOPPED)
                    bar.set_postfix_str(_best(study))
                    _log(search, trial, outcome)
                stop.check()
        except Interrupted as error:
            for child in pool.stop():
                trial, settings, run = running.pop(child)
                _tell(study, trial, settings, run.outcome_of(child))
            raise Interrupted(
                error.signal, f"stopped; {len(ended(study))} of {search.trials} trials have ended and are kept. Run "
                "the same command again to do the rest"
            ) from error  # fmt: skip


def _run_of(search: Search, trial: Any, settings: dict[str, Any]) -> TrialRun:
    log = search.folder / "logs" / f"trial-{trial.number}.log"
    return TrialRun(
        search.run_settings(settings), search.objective, search.metric, log, search.threads, judge_of(trial)
    )


def judge_of(trial: "optuna.Trial") -> Callable[[int, float], bool]:
    """Judge of a trial: reports its progress to Optuna and returns whether to prune it; see `TrialRun`."""

    def hopeless(epoch: int, best: float) -> bool:
        trial.report(best, epoch)
        return trial.should_prune()

    return hopeless


def _begin(study: "optuna.Study", search: Search) -> tuple[Any, dict[str, Any]] | None:
    """Next trial and its drawn settings; None if the study has enough trials."""
    if len(counting(study)) >= search.trials:
        return None
    trial = study.ask()
    # Trial numbers are unique: only one of several machines gets the last trial.
    if len(counting(study, trial.number)) >= search.trials:
        study.tell(trial, state=import_optuna().trial.TrialState.FAIL)
        return None
    # Seed by trial number: a resumed search or another machine does not repeat draws.
    study.sampler = import_optuna().samplers.TPESampler(
        seed=search.seed + trial.number, n_startup_trials=8, constant_liar=True
    )
    own = psutil.Process()
    trial.set_user_attr("process", [platform.node(), own.pid, own.create_time()])
    settings = draw_settings(search.space, trial)
    trial.set_user_attr("settings", settings)
    return trial, settings


def _tell(study: "optuna.Study", trial: Any, settings: dict[str, Any], outcome: Outcome) -> None:
    states = import_optuna().trial.TrialState
    if outcome.state == STOPPED:
        study.enqueue_trial(trial.params)
        study.tell(trial, state=states.FAIL)
        return
    about = {"values": outcome.values, "folder": outcome.folder, "seconds": outcome.seconds, ERROR: outcome.error}
    for name, value in about.items():
        if value:
            trial.set_user_attr(name, value)
    if outcome.state == FAILED:
        study.tell(trial, state=states.FAIL)
    elif outcome.state == PRUNED:
        study.tell(trial, state=states.PRUNED)
    else:
        study.tell(trial, outcome.objective)


def _take_over(study: "optuna.Study") -> None:
    """Queue trials again whose process on this machine is gone."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name != "RUNNING":
            continue
        if "process" in trial.user_attrs:
            node, pid, created = trial.user_attrs["process"]
            if node != platform.node() or _is_alive(pid, created):
                continue
        elif (datetime.now() - (trial.datetime_start or datetime.min)).total_seconds() < _BEGINNING:
            continue  # another machine has begun it just now and has not named its process yet
        logger.warning("trial %d was interrupted; it is run again", trial.number)
        if trial.params:
            study.enqueue_trial(trial.params)
        study.tell(trial.number, state=import_optuna().trial.TrialState.FAIL)


def _is_alive(pid: int, created: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - created) < 1.0
    except psutil.NoSuchProcess:
        return False


def ended(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    """Trials that count and have ended."""
    return [trial for trial in counting(study) if trial.state.is_finished()]


def _best(study: "optuna.Study") -> str:
    values = [trial.value or 0.0 for trial in counting(study) if trial.state.name == "COMPLETE"]
    return f"best {max(values):.4f}" if values else "nothing yet"


def _log(search: Search, trial: Any, outcome: Outcome) -> None:
    if outcome.state == FAILED:
        logger.warning("trial %d failed: %s", trial.number, outcome.error)
    elif outcome.objective is not None:
        logger.info("trial %d %s: %s %.4f", trial.number, outcome.state, search.metric, outcome.objective)
