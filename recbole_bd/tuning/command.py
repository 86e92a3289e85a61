"""`recbole-bd tune`: settings searched on validation."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_bd.backbones.registry import is_sequential
from recbole_bd.config.arguments import count_of
from recbole_bd.config.chosen_loggers import require_loggers
from recbole_bd.config.config import BDConfig
from recbole_bd.config.former_settings import with_todays
from recbole_bd.config.layers import COMMAND_LINE, Layer, fold_layers
from recbole_bd.config.property_files import file_or_shipped
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.data.split import load_split
from recbole_bd.errors import ConfigError, Interrupted
from recbole_bd.model import METHODS
from recbole_bd.runs.hashes import data_hash
from recbole_bd.system.child_processes import cores
from recbole_bd.system.own_classes import short_name
from recbole_bd.tuning.outputs import summary, write_results
from recbole_bd.tuning.space import CHOICE, examples_of, is_range, read_space
from recbole_bd.tuning.study import Search, import_optuna, open_study, run_search

# Options of the search; every other key is a setting of every trial.
OPTIONS = ("space", "trials", "jobs", "storage", "study", "objective", "out", "engine")
# Settings on which the known options depend.
_NAMES = {"model", "dataset", "teacher_model", "student_model"}
OPTUNA, RAY = "optuna", "ray"
BOTH = "both"


def run_tuning(settings: Mapping[str, Any], config_files: Sequence[str] = ()) -> str:
    """Search settings, or resume a search.

    Args:
        settings: `space` (a file), `trials`, `jobs`, `storage`, `study`, `objective`, `out`, `engine`, and any setting
            of a run, which every trial has.
        config_files: yaml files of settings of a run.

    Returns:
        Text to print: the best trials and the paths of the files.

    Raises:
        BDError: an error that the user can fix, in one line; a failed trial is a row of the trials, not an error.
    """
    own = {key: settings[key] for key in OPTIONS if key in settings}
    import_optuna()
    if "space" not in own:
        raise ConfigError(
            "tune: --space=FILE is missing: name a file of settings to search, such as properties/tuning/BD.yaml"
        )
    space = read_space(Path(file_or_shipped(str(own["space"]))))
    files = tuple(Layer(file, with_todays(load_yaml(file), file)) for file in map(file_or_shipped, config_files))
    typed = _typed(settings, files, space)
    trials, jobs = (count_of(key, own.get(key, default)) for key, default in (("trials", 20), ("jobs", 1)))
    engine = own.get("engine", OPTUNA)
    if engine not in (OPTUNA, RAY):
        raise ConfigError(f"engine={engine!r}: must be one of {OPTUNA}, {RAY}")
    fixed = {key: value for key, value in space.items() if not is_range(value)}
    config = BDConfig(config_file_list=config_files, command_line={**typed, **fixed}, methods=METHODS)
    objective = _objective(own.get("objective"), config)
    _check_examples(config, space, str(own["space"]))
    # Check loggers, data and models once: an error there would fail every trial.
    require_loggers(config)
    load_split(config)
    name = str(own.get("study") or f"{short_name(config['model'])}-{config['dataset']}")
    folder = Path(str(own.get("out") or Path(config["checkpoint_dir"]) / f"tune-{name}"))
    storage = str(own.get("storage") or f"sqlite:///{folder / 'study.db'}")
    folder.mkdir(parents=True, exist_ok=True)
    # Controls do not help the selection; the run with the chosen settings trains them.
    of_trials = {"show_progress": False, **({} if config.method_class is None else {"controls": []})}
    threads = fold_layers(config.users_layers, ()).get("threads") or max(1, cores() // jobs)
    metric, about = str(config["valid_metric"]).lower(), (config["seed"], data_hash(config), files)
    search = Search(space, typed, of_trials, objective, metric, trials, jobs, threads, folder, *about)
    study = open_study(name, storage, search)
    _log_to_terminal()
    try:
        if engine == RAY:
            from recbole_bd.tuning.ray_engine import run_on_ray

            run_on_ray(study, search)
        else:
            run_search(study, search)
    except Interrupted:
        write_results(study, search)
        raise
    written = write_results(study, search)
    lines, best = [summary(study, search), "", *map(str, written)], folder / "best.yaml"
    if best in written:
        lines += ["", f"best settings: recbole-bd run --config_files={shlex.quote(str(best))}"]
    return "\n".join(lines)


def _typed(settings: Mapping[str, Any], files: Sequence[Layer], space: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run from the command line.

    If the search chooses among models, the sequential ones stand `beside` each trial, so that all have one split.
    """
    typed = {key: value for key, value in with_todays(settings, COMMAND_LINE).items() if key not in OPTIONS}
    choices = [space[key].get(CHOICE, ()) for key in sorted(_NAMES & space.keys()) if is_range(space[key])]
    sequential = [name for names in choices for name in names if is_sequential(str(name))]
    beside = fold_layers([*files, Layer(COMMAND_LINE, typed)], ()).get("beside") or ()
    return {**typed, "beside": [*beside, *sequential]} if sequential else typed


def _check_examples(config: BDConfig, space: Mapping[str, Any], source: str) -> None:
    """Check examples of what is searched, unless the options depend on it."""
    if not _NAMES & space.keys():
        for example in examples_of(space):
            config.check_more(example, source)


def _objective(wanted: Any, config: BDConfig) -> tuple[str, ...]:
    """The roles whose validation is maximised."""
    if not config["valid_metric_bigger"]:
        raise ConfigError(
            f"valid_metric={config['valid_metric']!r}: less of it is better, but a search takes the largest value; "
            "choose another valid_metric"
        )
    if config.method_class is None:
        if wanted not in (None, "model"):
            raise ConfigError(f"objective={wanted!r}: a baseline has a single model: leave --objective out")
        return ("model",)
    learners = config.method_class.learners
    choices = [*learners, *([BOTH] if len(learners) > 1 else [])]
    wanted = wanted or "student"
    if wanted not in choices:
        raise ConfigError(f"objective={wanted!r}: must be one of {', '.join(choices)}, the roles that learn")
    return learners if wanted == BOTH else (wanted,)


def _log_to_terminal() -> None:
    logger = logging.getLogger("recbole_bd.tuning")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.INFO)
