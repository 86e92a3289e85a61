"""All known options: of RecBole, of its models, of this package and of its methods."""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import recbole
from recbole.utils import dataset_arguments, evaluation_arguments, general_arguments, training_arguments

from recbole_bd.backbones.registry import classes_with_options, is_sequential, recommender_class, recommenders
from recbole_bd.backbones.traits import recbole_base
from recbole_bd.config.option import Option, declared_options
from recbole_bd.config.property_files import method_options, options_of_run, package_options, properties_path
from recbole_bd.system.own_classes import option_files, source_of

RECBOLE_PROPERTIES = Path(recbole.__file__).parent / "properties"
LISTS = "teacher_lists"  # the option of the model Lists
# Names of columns that RecBole's transforms of batches tell a model through its settings.
_COLUMNS_OF_BATCHES = ("INVERSE_ITEM_SEQ", "MASK_INDEX", "MASK_ITEM_SEQ", "NEG_ITEMS", "POS_ITEMS")
# A setting that the source of a model reads.
_READ_KEY = r"""config\[\s*["']([\w-]+)["']\s*\]"""


# Options declared in overall.yaml that each role may have for itself.
PACKAGE_OPTIONS_OF_A_ROLE = (
    "checkpoint", "checkpoint_split", "cuda_graphs", "distill_batch_size", "distill_learning_rate",
    "distill_learning_rate_decay", "distill_weight_decay", "learning_rate_decay", "loss_items",
    "negatives_leak_held_out", "own_loss", "softmax_negatives", "softmax_temperature", "softmax_cosine", "softmax_l2",
    "stopping_epochs", "weights_average",
)  # fmt: skip
# Options declared in overall.yaml that hold for the run, and that a role's evaluation reads.
PACKAGE_OPTIONS_OF_EVALUATION = ("metrics_as",)


# Options of RecBole that each role may have for itself. The others (data, split, evaluation) hold for both roles.
_RECBOLE_OPTIONS_OF_A_ROLE = {*training_arguments, "enable_amp", "enable_scaler", "require_pow", "shuffle"}


# Ranges of some of RecBole's options, which RecBole does not declare.
_RANGES = {
    "learning_rate": "(0, inf)",
    "train_batch_size": "[1, inf)",
    "eval_batch_size": "[1, inf)",
    "embedding_size": "[1, inf)",
    "eval_step": "[1, inf)",
    "seed": "[0, 4294967295]",
    "worker": "[0, inf)",
    "dropout_prob": "[0, 1)",
    "hidden_dropout_prob": "[0, 1)",
    "attn_dropout_prob": "[0, 1)",
    "sess_dropout": "[0, 1)",
    "item_dropout": "[0, 1)",
    "mask_ratio": "(0, 1]",
    "ft_ratio": "[0, 1]",
    "temperature": "(0, inf)",
}


@cache
def recbole_options() -> MappingProxyType[str, Option]:
    """Options of RecBole that a run may set, with RecBole's own declarations."""
    keys = [*general_arguments, *training_arguments, *evaluation_arguments, *dataset_arguments]
    options = {key: Option(key, None, "", "", "RecBole") for key in keys}
    options["encoding"] = Option(
        "encoding", None, "str", "Encoding of the data files.", "RecBole"
    )  # not declared by RecBole
    options["tail_ratio"] = Option(
        "tail_ratio",
        None,
        "float or ~",
        "Rarest items of TailPercentage: a share, or above 1 a count. Range: (0, inf).",
        "RecBole",
    )
    for name in ("overall.yaml", "dataset/sample.yaml"):
        options |= declared_options(RECBOLE_PROPERTIES / name)
    options["gpu_id"] = replace(options["gpu_id"], type="str or int")  # --gpu_id=1 is a number in YAML
    for key in ("neg_sampling", "training_neg_sample_num"):  # deprecated by RecBole, which only warns
        options.pop(key, None)
    return MappingProxyType({key: _with_range(_or_none(option)) for key, option in options.items()})


def backbone_options(model: str) -> dict[str, Option]:
    """Options of a model: those in its yaml file and those that its source reads.

    A class of the user's own has those of the RecBole model it inherits from too.

    Args:
        model: as `registry.recommender_class` takes it.

    Raises:
        RoleError: there is no such model.
    """
    model_class = recommender_class(model)
    own = classes_with_options(model_class)
    return _options_of_classes(model, model_class, own) if own else dict(_recboles_options(model))


@cache
def _recboles_options(model: str) -> dict[str, Option]:
    """Options of a model of RecBole, whose files do not change."""
    return _options_of_classes(model, recommender_class(model), [])


def _options_of_classes(model: str, model_class: type, own: list[type]) -> dict[str, Option]:
    base = recbole_base(model_class)
    kinds = [*own, *([base] if base else [])]
    keys = [key for kind in reversed(kinds) for key in re.findall(_READ_KEY, source_of(kind))]
    options = {key: Option(key, None, "", "", model) for key in keys if key not in _COLUMNS_OF_BATCHES}
    path = RECBOLE_PROPERTIES / "model" / f"{base.__name__ if base else model}.yaml"
    if path.is_file():
        options |= declared_options(path)
    recbole_keys = recbole_options()
    options = {key: _with_range(option) for key, option in options.items()}
    for file in reversed(option_files(own)):
        options |= declared_options(file)
    return {key: option for key, option in options.items() if key not in recbole_keys}


def models_with(key: str) -> list[str]:
    """Names of the methods and RecBole's models whose yaml files declare an option.

    Args:
        key: the option, e.g. `n_layers`.
    """
    files = {path.stem: path for path in properties_path("model").glob("*.yaml") if "-" not in path.stem}
    files |= {name: yaml_of_model(name) for name in recommenders()}
    return sorted(name for name, path in files.items() if path.is_file() and key in declared_options(path))


def yaml_of_model(name: str) -> Path:
    """Path of the file that declares the options of a model of RecBole or of this package; it need not exist.

    Args:
        name: one of `registry.recommenders`.
    """
    if is_sequential(name):  # without the time that it takes to import RecBole's package of them
        return RECBOLE_PROPERTIES / "model" / f"{name}.yaml"
    beside = option_files(classes_with_options(recommender_class(name)))
    return beside[0] if beside else RECBOLE_PROPERTIES / "model" / f"{name}.yaml"


def _or_none(option: Option) -> Option:
    """Allow null for a text option, because RecBole's own data set files set some of them to null."""
    if not isinstance(option.default, str):
        return option
    return replace(option, type=f"{option.type or 'str'} or ~")


def _with_range(option: Option) -> Option:
    """Give an option of RecBole the range that its default implies: sizes at least 1, other numbers at least 0."""
    if option.key in _RANGES:
        interval = _RANGES[option.key]
    elif isinstance(option.default, bool) or not isinstance(option.default, int | float) or option.default < 0:
        return option
    elif isinstance(option.default, int) and option.key.endswith("_size"):
        interval = "[1, inf)"
    else:
        interval = "[0, inf)"
    return replace(option, meaning=f"{option.meaning} Range: {interval}.")


def options_unknown_to_recbole() -> set[str]:
    """Names of this package's options that mean nothing to RecBole."""
    return package_options().keys() - recbole_options().keys() - {"model", "dataset"}


def role_options(backbone: str) -> dict[str, Option]:
    """Options that may stand in the block of a role.

    Args:
        backbone: name of the RecBole model that plays the role.

    Raises:
        RoleError: RecBole has no such model.
    """
    package = {key: option for key, option in package_options().items() if key in PACKAGE_OPTIONS_OF_A_ROLE}
    host = {key: option for key, option in recbole_options().items() if key in _RECBOLE_OPTIONS_OF_A_ROLE}
    return host | backbone_options(backbone) | package


def options_of_run_alone(method: str | None) -> set[str]:
    """Names of options that at the top level hold for the run, and not for its roles.

    A model's option of the same name, such as `temperature`, is set in the block of its role.

    Args:
        method: name of the distillation method; None for a baseline.
    """
    own = package_options().keys() - set(PACKAGE_OPTIONS_OF_A_ROLE) - recbole_options().keys()
    return (own | method_options(method).keys()) - set(PACKAGE_OPTIONS_OF_EVALUATION)


def top_level_options(method: str | None, backbones: Iterable[str]) -> dict[str, Option]:
    """Options that may stand at the top level of a layer.

    Args:
        method: name of the distillation method; None for a baseline.
        backbones: names of the RecBole models that play the roles.

    Raises:
        RoleError: RecBole has no such model.
    """
    options = recbole_options() | options_of_run(method)
    for backbone in backbones:
        options = backbone_options(backbone) | options
    return options
