"""Hashes of the settings that can change a run's numbers: equal hashes mark equal runs or parts of runs."""

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import recbole

from recbole_bd.backbones.names import BASELINE, CONTINUED, DIRECTION_INTO, PAIR, PLACEBO, STUDENT, TEACHER
from recbole_bd.backbones.registry import is_sequential, recommender_class
from recbole_bd.backbones.traits import recbole_base, scores_with_noise
from recbole_bd.config.config import BDConfig
from recbole_bd.config.layers import dotted
from recbole_bd.config.option import WITHOUT_EFFECT
from recbole_bd.config.own_metrics import own_metrics
from recbole_bd.config.property_files import method_options
from recbole_bd.config.role_config import RoleConfig
from recbole_bd.evaluator.diversity import redefined
from recbole_bd.model import METHODS
from recbole_bd.runs.records import SCHEMA
from recbole_bd.system.random_state import seed_of_split

# Version of warm-ups, raised when the same settings would give another model.
_WARMUP_VERSION = 3
# Schema in the hash of a model trained alone, whose numbers no later one has changed.
_SCHEMA_ALONE = 1
# Settings that only distillation and its control read.
_OF_DISTILLATION = {
    "distill_batch_size", "distill_learning_rate", "distill_learning_rate_decay", "distill_weight_decay",
}  # fmt: skip
# Settings of the methods that rank items.
_OF_RANKING = {"rank_precision", "ranked_items"}
# Settings that a model trained alone does not read.
_OF_TWO_ROLES = {
    *_OF_DISTILLATION, *_OF_RANKING, "control", "controls", "distill_epochs", "early_stopping", "placebo",
    "rest_at_best", "stop_on", "student_model", "teacher_model",
}  # fmt: skip
# Offset of the seed of a student with its teacher's settings, far from the seeds of other runs.
_OF_A_DOUBLE = 2**16
# Settings that entered the hashes after runs were recorded, with the value that means the behaviour of those runs. This
# value is not hashed, so old hashes stay. Worker processes draw negatives with random states of their own.
_OF_A_DIRECTION = (
    "exchange", "temperature", "temperature_on", "guide", "guide_state", "eps", "rank_scale", "top_temperature",
    "cf_negatives", "guide_top", "lambda_schedule", "samples_per_positive",
)  # fmt: skip
_SINCE: dict[str, Any] = {
    **{f"{option}_{direction}": None for option in _OF_A_DIRECTION for direction in DIRECTION_INTO.values()},
    **dict.fromkeys(("guide_top", "split_seed", "softmax_negatives", "weights_average", "distill_batch_size")),
    **dict.fromkeys(("learning_rate_decay", "distill_learning_rate_decay", "softmax_temperature"), 1.0),
    "exchange_at": "rows",
    "ranks_at": "users",
    "exchange_history": "excluded",
    "guide": "other",
    "lambda_decay_epochs": 5.0,
    "guide_constant": 0.5,
    "pause": "never",
    "placebo": "auto",
    "ranks_of": "both",
    "student_start": "warm_up",
    "taught_by": "teacher",
    "worker": 0,
    "own_loss": "model",
    "softmax_cosine": False,
    "softmax_l2": 0.0,
    "loss_items": "all",
    "negatives_leak_held_out": False,
    "samples_of_user": "average",
}
# Settings that runs of earlier schemas lack, with the first schema that has them.
_SINCE_SCHEMA = {"early_stopping": 2}
# The setting that counts as what it makes of another one, `stopping_step`.
_RESOLVED = "stopping_epochs"
# Settings of RecBole's models that name a file to start from, and files that a model reads beside its data.
_PRETRAINED = {"mf_pretrain_path", "mlp_pretrain_path", "pre_model_path", "pretrain_path"}
_BESIDE_DATA = {"LDiffRec": "item_emb.npy"}
# Settings of this package's models that name a file which is the model.
_FILES_OF_MODELS = {"teacher_lists"}
# Settings of roles that name a file which a role starts from, or is.
FILES_OF_ROLES = ("checkpoint", *_FILES_OF_MODELS)
# The setting without effect that a role's block holds. Hashes contain its default, so that old hashes stay.
_LOGGED = {"loss_decimal_place": 4}
_ATOMIC = ("inter", "user", "item", "link", "kg", "net")


def warmup_hash(config: RoleConfig, fingerprint: str, with_seed: bool = True, split_seed: int | None = None) -> str:
    """Hash of everything that determines a warmed-up model.

    Args:
        config: settings of the role.
        fingerprint: fingerprint of the data and its split, see `other_columns.fingerprint_of_role`.
        with_seed: whether the hash depends on the seed.
        split_seed: seed of the split, and so of validation candidates, if it is another than that of the run.

    Returns:
        24 hex digits, as all hashes here.
    """
    drop = WITHOUT_EFFECT | _OF_DISTILLATION | {"checkpoint", "metrics_as", _RESOLVED}
    start = _contents(config["model"], config.final_config_dict, config["data_path"])
    plain = config.final_config_dict | start
    settings: dict[str, Any] = {
        key: str(value) for key, value in plain.items() if key not in drop and _is_hashed(key, value)
    }
    if not with_seed:
        del settings["seed"]
    settings |= {
        "fingerprint": fingerprint,
        "device": config["device"].type,
        "recbole": recbole.__version__,
        "version": _WARMUP_VERSION,
        **_entry(_evaluation_of_role(config)),
    }
    if split_seed is not None:
        settings["split_seed"] = split_seed
    if own := config.own_code():
        settings["own_code"] = own
    return _hash(settings)


def own_split_seed(config: BDConfig) -> int | None:
    """The seed of a run's split; None if it is the seed of the run."""
    seed = seed_of_split(config.final_config_dict)
    return None if seed == config["seed"] else seed


def evaluation_version(config: BDConfig) -> dict[str, str]:
    """How a run measures, where earlier versions measured otherwise; empty where they did not.

    Args:
        config: settings of the run.

    Returns:
        `candidates: shared`, with sampled evaluation: the candidates of a part are drawn once.
        `diversity: defined`, with a metric of `recbole_bd.evaluator.diversity` and without `metrics_as: recbole`.
        `noise: shared`, with a model that scores with noise: each evaluation of a part has the same.
    """
    versions = [_evaluation_of_role(config.role(role)) for role in config.backbones]
    return {name: value for version in versions for name, value in version.items()}


def _evaluation_of_role(config: RoleConfig) -> dict[str, str]:
    found = {}
    if any(mode not in ("full", "labeled") for mode in config["eval_args"]["mode"].values()):
        found["candidates"] = "shared"
    if redefined(config):
        found["diversity"] = "defined"
    if scores_with_noise(config):
        found["noise"] = "shared"
    return found


def _entry(version: dict[str, str]) -> dict[str, Any]:
    """Make the entry of an evaluation's version in a hash; none where the numbers are those of earlier versions."""
    return {"evaluation": version} if version else {}


def role_configs(config: BDConfig) -> dict[str, RoleConfig]:
    """Return the settings of each role, with the seed of its warm-up.

    This is the run's seed, except for a student that warms up with exactly its teacher's settings. With the same seed
    the two would be identical models, with nothing to learn from each other.
    """
    roles = {role: config.role(role) for role in config.backbones}
    warms_up = STUDENT in roles and roles[STUDENT]["checkpoint"] is None
    if warms_up and warmup_hash(roles[TEACHER], "") == warmup_hash(roles[STUDENT], ""):
        roles[STUDENT]["seed"] = (config["seed"] + _OF_A_DOUBLE) % 2**32
    return roles


def run_hashes(config: BDConfig, schema: int = SCHEMA) -> dict[str, str]:
    """Hash the settings and the data's files, before anything is loaded.

    Args:
        config: settings of the run.
        schema: of its result; the same settings give other numbers by an earlier one, unless a model is trained alone.

    Returns:
        Hashes by name. `config` covers everything that can change the run's numbers. The others leave the seed out:
        `settings` covers the whole run, each role's name its warm-up, and `control` (methods only) the continued
        control.
    """
    drop = WITHOUT_EFFECT | {"metrics_as", _RESOLVED} | {key for key, since in _SINCE_SCHEMA.items() if schema < since}
    before = _since(config["model"], config.backbones)
    settings = {
        key: value for key, value in config.as_dict().items() if key not in drop and before.get(key, ...) != value
    } | _entry(evaluation_version(config))
    for role in config.backbones:
        block = settings if role == BASELINE else settings[role]
        block["checkpoint"] = file_hash(block.get("checkpoint"))
        for key in ("checkpoint_split", "cuda_graphs", _RESOLVED):
            block.pop(key, None)
        block |= _contents(config.backbones[role], block, config["data_path"])
        if role in PAIR:
            block |= _LOGGED
        for key in [key for key, value in block.items() if not _is_hashed(key, value)]:
            del block[key]
    # Records of earlier versions have `control`, and no placebo.
    controls = settings.pop("controls")
    settings["control"] = CONTINUED in controls
    if PLACEBO in controls:
        settings["placebo"] = config["placebo"]
    else:
        settings.pop("placebo", None)
    if config.method_class is None:
        settings = {key: value for key, value in settings.items() if key not in _OF_TWO_ROLES}
        schema = _SCHEMA_ALONE
    settings |= {"device": config["device"].type, "schema": schema, "data": data_hash(config)}
    if own := config.own_code():
        settings["own_code"] = own
    roles = role_configs(config)
    if is_double := STUDENT in roles and roles[STUDENT]["seed"] != config["seed"]:
        settings["student_seed"] = "another"
    seedless = {key: value for key, value in settings.items() if key != "seed"}
    hashes = {"config": _hash(settings), "settings": _hash(seedless)}
    for role in config.backbones:
        start = settings[role]["checkpoint"] if role in PAIR else settings["checkpoint"]
        # A `split_seed` that equals one of several seeds counts too, so that their hashes without seed are equal.
        split_seed = settings.get("split_seed")
        hashes[role] = start or warmup_hash(roles[role], settings["data"], with_seed=False, split_seed=split_seed)
        if role == STUDENT and is_double:
            hashes[role] = _hash({"double": hashes[role]})
    if config.method_class is not None:
        methods_own = {"model", "placebo", *_OF_RANKING, *method_options(config["model"])}
        control_settings = {key: value for key, value in seedless.items() if key not in methods_own}
        learners = config.method_class.learners
        hashes["control"] = _hash(
            {"stage": control_settings, "learners": learners, "start": [hashes[role] for role in PAIR]}
        )
    return hashes


def settings_of_before(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add the settings that a record of an earlier version lacks, with the values that mean its behaviour."""
    return {**_since(settings.get("model", ""), {role: settings.get(f"{role}_model", "") for role in PAIR}), **settings}


def _since(model: str, backbones: Mapping[str, str]) -> dict[str, Any]:
    """`_SINCE` for a method with models by role: at first, sequential learners of all but BD learned at users."""
    learners = METHODS[model].learners if model in METHODS and model != "BD" else ()
    return _SINCE | {"exchange_at": "users"} if any(is_sequential(backbones[role]) for role in learners) else _SINCE


def changed_hashes(hashes: Mapping[str, str], changes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Hash a run whose settings changed on resume; no run with constant settings has these hashes.

    Args:
        hashes: result of `run_hashes`, or of this function for earlier changes.
        changes: the changed settings, see `Progress.check_settings`.
    """
    return {name: _hash({"before": value, "changes": list(changes)}) for name, value in hashes.items()}


def opening_record(config: BDConfig, status: str) -> dict[str, Any]:
    """Build the content of `result.json` at the start of a run.

    Args:
        config: settings of the run.
        status: `running`, or `failed` for a run that could not start.
    """
    hashes = run_hashes(config)
    less_is_better = [kind.__name__.lower() for kind in own_metrics(config["metrics"]) if kind.smaller]
    return {
        "schema": SCHEMA,
        "status": status,
        "method": config["model"],
        **({"label": config["label"]} if config["label"] else {}),
        "dataset": config["dataset"],
        "seed": config["seed"],
        "valid_metric": config["valid_metric"].lower(),
        **({"own_code": own_code} if (own_code := config.own_code()) else {}),
        **({"less_is_better": less_is_better} if less_is_better else {}),
        "learners": list(config.method_class.learners) if config.method_class else [],
        "config_hash": hashes["config"],
        "hashes": hashes,
        "command": config.command,
        **_entry(evaluation_version(config)),
    }


def data_hash(config: BDConfig) -> str:
    """Hash the data set's files that the settings load; files that are not there yet do not count."""
    folder, name = Path(config["data_path"]), config["dataset"]
    files = []
    for kind in config["load_col"] or _ATOMIC:
        for path in sorted({*folder.glob(f"{name}.{kind}"), *folder.glob(f"{name}.*.{kind}")}):
            about = path.stat()
            files.append((path, about.st_size, about.st_mtime_ns))
    return _hash_of_files(tuple(files))


@functools.cache  # all entries of a leaderboard share these files
def _hash_of_files(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Hash names and contents of files, each given by path, size and modification time."""
    digest = hashlib.sha256()
    for path, size, _ in files:
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()[:24]


def file_hash(path: str | None) -> str | None:
    """Hash a file's content, or its name if it does not exist, which the run refuses later; None of None."""
    if path is None:
        return None
    return hashlib.sha256(Path(path).read_bytes() if os.path.isfile(path) else str(path).encode()).hexdigest()[:24]


def file_hashes(settings: Mapping[str, Any]) -> dict[str, str]:
    """Hash the files that roles start from, or are, by the dotted setting that names them.

    Args:
        settings: the resolved settings of a run, as plain data.
    """
    named = {key: path for key, path in dotted(settings) if key.rpartition(".")[2] in FILES_OF_ROLES}
    return {key: found for key, path in named.items() if (found := file_hash(path)) is not None}


def _contents(model: str, settings: Mapping[str, Any], folder: str) -> dict[str, str | None]:
    """Hashes of the files that a model reads while it is built; a setting that names one is replaced by its hash.

    With a file to start from, `start` marks the version of its warm-up.

    Args:
        model: name of the model; a subclass reads what its RecBole model reads.
        settings: its settings.
        folder: folder of the data set's files.
    """
    found = {key: file_hash(settings[key]) for key in _PRETRAINED & settings.keys() if settings[key]}
    base = recbole_base(recommender_class(model))
    beside = Path(folder) / _BESIDE_DATA[base.__name__] if base and base.__name__ in _BESIDE_DATA else None
    if found:
        found["start"] = "candidate"  # what a pretrained model starts from may be its best state
    found |= {key: file_hash(settings[key]) for key in _FILES_OF_MODELS & settings.keys()}
    return found | ({beside.name: file_hash(str(beside))} if beside and beside.is_file() else {})


def _is_hashed(key: str, value: Any) -> bool:
    """Whether a setting is more than the value that older runs had without it."""
    return key not in _SINCE or value != _SINCE[key]


def _hash(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:24]
