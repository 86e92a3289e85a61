"""From files and command line to checked settings: one `BDConfig` for the run, one `RoleConfig` per role.

A block named as a model, `BD: {...}`, holds where that is the model that is run, above the top level of its layer.

Layers, the later above the earlier: RecBole's defaults, `properties/overall.yaml`, `properties/model/<method>.yaml`,
`properties/dataset/<dataset>.yaml`, configuration files, `config_dict`, command line. Inside a layer a role's block
(`teacher:`, `student:`) goes above the top level, which holds for both roles.
"""

import copy
import difflib
import inspect
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import recbole
import torch
from recbole.config import Config
from recbole.utils import dataset_arguments, evaluation_arguments, general_arguments, training_arguments

from recbole_bd.backbones import STUDENT, TEACHER, general_recommenders, recommender_class
from recbole_bd.distributed import group, has_gpu_for_each, local_rank, processes_here
from recbole_bd.errors import ConfigError, RoleError
from recbole_bd.options import Option, declared_options, is_name, load_yaml, write_value
from recbole_bd.plugins import options_beside
from recbole_bd.protocol import check_clipping, check_protocol, check_valid_metric

BLOCKS = (TEACHER, STUDENT)
# The one role of a baseline: a RecBole model trained alone, with the settings its backbone has as a teacher.
BASELINE = "model"
_RECBOLE_PROPERTIES = Path(recbole.__file__).parent / "properties"
# Read by the program from overall.yaml, but settings of a role.
_ROLE_OPTIONS = ("checkpoint", "distill_learning_rate", "distill_weight_decay")
# Settings of RecBole that a role may have for itself; the others (data, split, evaluation) hold for both.
_OF_A_ROLE = {*training_arguments, "enable_amp", "enable_scaler", "require_pow", "shuffle"}
# RecBole declares types but no ranges; these have one.
_RANGES = {
    "learning_rate": "(0, inf)",
    "train_batch_size": "[1, inf)",
    "eval_batch_size": "[1, inf)",
    "embedding_size": "[1, inf)",
    "eval_step": "[1, inf)",
    "seed": "[0, 4294967295]",
    "worker": "[0, inf)",
    "dropout_prob": "[0, 1)",
}
# Sources of settings that are no files.
_GIVEN = ("config_dict", "command line")
# RecBole picks a default silently when the learner is unknown.
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")


def properties_path(*parts: str) -> Path:
    """Path of a shipped property file: beside the package in a checkout, inside it when installed.

    Args:
        parts: names below properties/; the file need not be there.

    Raises:
        ConfigError: there is no properties/ at all.
    """
    package = Path(__file__).parent
    for root in (package / "properties", package.parent / "properties"):
        if (root / "overall.yaml").is_file():
            return root.joinpath(*parts)
    raise ConfigError(f"properties/ is missing beside {package}: reinstall recbole-bd")


@dataclass(frozen=True)
class Layer:
    """Settings from one source, as its user wrote them."""

    source: str
    values: dict[str, Any]


def expand_dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `{"teacher.embedding_size": 64}` into `{"teacher": {"embedding_size": 64}}`, leaving the rest as it is.

    Raises:
        ConfigError: one key is a value and a block.
    """
    expanded: dict[str, Any] = {}
    for key, value in settings.items():
        *path, last = key.split(".")
        block = expanded
        for name in path:
            block = block.setdefault(name, {})
            if not isinstance(block, dict):
                raise ConfigError(f"{key}: {name} is set to a value as well as to a block")
        if isinstance(value, Mapping) and isinstance(block.get(last), dict):
            block[last].update(copy.deepcopy(dict(value)))
        else:
            block[last] = copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value
    return expanded


def _command(files: Iterable[str], layers: Iterable[Layer]) -> str:
    """Write settings as the command line that gives them, to be read again word by word."""
    words = ["recbole-bd", "run"]
    if files:
        words += ["--config_files", *files]
    for key, value in dotted(_merged(layer.values for layer in layers)):
        words.append(f"--{key}={write_value(_plain(value))}")
    return shlex.join(words)


def _names(layers: Iterable[Layer], keys: Iterable[str]) -> dict[str, Any]:
    """The settings that decide what the others mean: a name each, or a list of them."""
    found = {key: value for layer in layers for key, value in layer.values.items() if key in keys}
    for key, value in found.items():
        names = value if key == "beside" and isinstance(value, list) else [value]
        if not all(map(is_name, names)):
            raise ConfigError(f"{key}={value!r}: expected a name")
        if key == "beside" and value is not names:
            raise ConfigError(f"beside={value!r}: expected a list of names")
    return found


def _scoped(layer: Layer, model: str, blocks: set[str]) -> Layer:
    """A layer with the block of the model that is run in place of the blocks named as models."""
    named = {key: value for key, value in layer.values.items() if key in blocks}
    for key, value in named.items():
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key}={value!r}: expected a block of settings of the model {key} ({layer.source})")
    rest = {key: value for key, value in layer.values.items() if key not in blocks}
    return Layer(layer.source, _merged([rest, named.get(model, {})]))


def _merged(blocks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for block in blocks:
        for key, value in block.items():
            both = key in BLOCKS and isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = {**merged[key], **value} if both else value
    return merged


def dotted(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Flatten settings: those of a role with its name in front, as `expand_dotted` takes them; all else as it is."""
    for key, value in settings.items():
        if key in BLOCKS and isinstance(value, Mapping):
            yield from ((f"{key}.{name}", setting) for name, setting in value.items())
        else:
            yield key, value


def _nearest(key: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f" Did you mean {match[0]}?" if match else ""


def _recbole_options() -> dict[str, Option]:
    """Every option of RecBole that a general recommender's run may set, with what RecBole declares of it."""
    keys = [*general_arguments, *training_arguments, *evaluation_arguments, *dataset_arguments]
    options = {key: Option(key, None, "", "", "RecBole") for key in keys}
    options["encoding"] = Option("encoding", None, "str", "Of the data files.", "RecBole")  # read, but declared nowhere
    for name in ("overall.yaml", "dataset/sample.yaml"):
        options |= declared_options(_RECBOLE_PROPERTIES / name)
    options["gpu_id"] = replace(options["gpu_id"], type="str or int")  # --gpu_id=1 is a number in YAML
    for key in ("neg_sampling", "training_neg_sample_num"):  # deprecated by RecBole, which only warns
        options.pop(key, None)
    return {key: _with_range(_or_none(option)) for key, option in options.items()}


def _backbone_options(model: str) -> dict[str, Option]:
    """Options of one of RecBole's models: those in its yaml and those its source reads."""
    model_class = recommender_class(model)
    source = inspect.getsource(sys.modules[model_class.__module__])
    keys = re.findall(r"""config\[\s*["']([\w-]+)["']\s*\]""", source)
    options = {key: Option(key, None, "", "", model) for key in keys}
    path = _RECBOLE_PROPERTIES / "model" / f"{model}.yaml"
    if path.is_file():
        options |= declared_options(path)
    recbole_keys = _recbole_options()
    return {key: _with_range(option) for key, option in options.items() if key not in recbole_keys}


def _or_none(option: Option) -> Option:
    """RecBole's own data set files set some of its text options to nothing."""
    if not isinstance(option.default, str):
        return option
    return replace(option, type=f"{option.type or 'str'} or ~")


def _with_range(option: Option) -> Option:
    """Give a RecBole option the range its default implies: sizes at least 1, other numbers not below 0."""
    if option.key in _RANGES:
        interval = _RANGES[option.key]
    elif isinstance(option.default, bool) or not isinstance(option.default, int | float) or option.default < 0:
        return option
    elif isinstance(option.default, int) and option.key.endswith("_size"):
        interval = "[1, inf)"
    else:
        interval = "[0, inf)"
    return replace(option, meaning=f"{option.meaning} Range: {interval}.")


class _HostConfig(Config):
    """RecBole's Config without its side effects: no `sys.argv`, no `eval`, no CUDA_VISIBLE_DEVICES, no nccl."""

    def _load_cmd_line(self) -> dict:
        return {}

    def _convert_config_dict(self, config_dict: dict) -> dict:
        return config_dict

    def _init_parameters_category(self) -> None:
        # RecBole appends to these module-level lists.
        self.parameters = {
            "General": list(general_arguments),
            "Training": list(training_arguments),
            "Evaluation": list(evaluation_arguments),
            "Dataset": list(dataset_arguments),
        }

    def _init_device(self) -> None:
        self.final_config_dict.update(single_spec=True, local_rank=0, device=self._choose_device())

    def _choose_device(self) -> torch.device:
        raise NotImplementedError


class BDConfig(_HostConfig):
    """Checked settings of a run.

    Args:
        model: a method of `recbole_bd.model`, a RecBole general recommender, or None to read it from the layers.
        dataset: name of the data set, or None to read it from the layers.
        config_file_list: yaml files, the later above the earlier.
        config_dict: settings above the files; keys may be dotted (`teacher.embedding_size`).
        command_line: settings above everything; keys may be dotted.
        methods: the distillation methods there are, by name; `recbole_bd.model.METHODS`.

    Attributes:
        command: the command line that gives these settings, however they were given.
        method_class: the method, a `Distiller`; None for a baseline.
        backbones: name of the RecBole model by role; of a baseline the one role is `model`.
        layers: what the settings were folded from, the later above the earlier.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range, or an unreadable file.
        RoleError: a model that RecBole does not have, or that cannot play its role in the method.
    """

    def __init__(
        self,
        model: str | None = None,
        dataset: str | None = None,
        config_file_list: Iterable[str | Path] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        command_line: Mapping[str, Any] | None = None,
        *,
        methods: Mapping[str, Any],
    ):
        named = {key: value for key, value in (("model", model), ("dataset", dataset)) if value is not None}
        files = [str(file) for file in config_file_list or ()]
        settings = [
            Layer(_GIVEN[0], expand_dotted({**(config_dict or {}), **named})),
            Layer(_GIVEN[1], expand_dotted(command_line or {})),
        ]
        settings = [*(Layer(file, expand_dotted(load_yaml(file))) for file in files), *settings]
        overall = Layer(str(properties_path("overall.yaml")), load_yaml(properties_path("overall.yaml")))
        model = _names((overall, *settings), ("model",))["model"]
        blocks = self._blocks = {*methods, *general_recommenders()}
        settings = [_scoped(layer, model, blocks) for layer in settings]
        names = _names((overall, *settings), ("model", "dataset", "teacher_model", "student_model", "beside"))
        shipped = [_scoped(layer, model, blocks) for layer in self._shipped_layers(model, names["dataset"])]
        self.layers = [overall, *shipped, *settings]
        self.method_class: Any = methods.get(names["model"])  # a Distiller, a block further on; None for a baseline
        if self.method_class is None:
            _require_model(names["model"], methods)
            self.backbones = {BASELINE: names["model"]}
        else:
            self.backbones = {role: names[f"{role}_model"] for role in BLOCKS}
            self.method_class.check_roles(self.backbones)
        self._pass_over_foreign(names, methods, self.layers[-len(settings) : -2])
        self.command = _command(files, self.layers[-2:])
        self._check()
        super().__init__(
            model=names["model"], dataset=names["dataset"], config_dict=_fold(self.layers, drop=(*BLOCKS, "backbones"))
        )
        self._check_evaluation()

    @staticmethod
    def _shipped_layers(model: str, dataset: str) -> list[Layer]:
        paths = [_method_yaml(model), properties_path("dataset", f"{dataset}.yaml")]
        return [Layer(str(path), load_yaml(path)) for path in paths if path.is_file()]

    def _pass_over_foreign(self, names: Mapping[str, Any], methods: Mapping[str, type], files: list[Layer]) -> None:
        """Drop what only models beside this one know; `beside` stays where a file needs it."""
        self._foreign: set[str] = set()
        if not names["beside"]:
            return
        known = self._known(self._name("model") if self.method_class else None, self.backbones.values()).keys()
        foreign: set[str] = set()
        for other in names["beside"]:
            if other in methods:
                foreign |= self._known(other, (names["teacher_model"], names["student_model"])).keys()
            else:
                _require_model(other, methods)
                foreign |= self._known(None, (other,)).keys()
        # A baseline has no blocks of roles, although the methods beside it have.
        foreign -= known if self.method_class else known - set(BLOCKS)
        self._foreign = foreign
        needed = any(foreign & layer.values.keys() for layer in files)
        drop = foreign if needed else {*foreign, "beside"}
        self.layers = [Layer(layer.source, _fold([layer], drop)) for layer in self.layers]

    @staticmethod
    def _known(method: str | None, backbones: Iterable[str]) -> dict[str, Option]:
        """Options that may stand at the top level."""
        top = _recbole_options() | package_options() | method_options(method)
        for backbone in backbones:
            top = _backbone_options(backbone) | top
        return top

    # --- seams of RecBole's Config -----------------------------------------------------------------------------
    def _get_model_and_dataset(self, model: str, dataset: str) -> tuple[str, type, str]:
        return model, self.method_class or recommender_class(model), dataset

    def _choose_device(self) -> torch.device:
        wanted, gpu_id = str(self["device"]), self.external_config_dict.get("gpu_id")
        together = group().size > 1  # each process on a machine has a card of its own
        if wanted == "auto":
            if not self["use_gpu"] or not torch.cuda.is_available():
                return torch.device("cpu")
            # A preset CUDA_VISIBLE_DEVICES already names the card; RecBole's gpu_id counts otherwise.
            named = gpu_id is not None and "CUDA_VISIBLE_DEVICES" not in os.environ and not together
            wanted = f"cuda:{gpu_id}" if named else "cuda"
        if not re.fullmatch(r"cpu|cuda(:\d+)?", wanted):
            raise ConfigError(f"device={wanted!r}: expected cpu, cuda, cuda:N or auto")
        if wanted == "cpu":
            return torch.device("cpu")
        if not torch.cuda.is_available():
            raise ConfigError(f"device={wanted!r}: this torch sees no GPU; use --device=cpu")
        if together and (":" in wanted or not has_gpu_for_each()):
            raise ConfigError(
                f"device={wanted!r}: {processes_here()} processes and {torch.cuda.device_count()} GPU(s) are on this "
                "machine, and each process needs one of its own: use --device=cuda with no more processes than GPUs, "
                "or --device=cpu"
            )
        if together:
            return torch.device("cuda", local_rank())
        if ":" in wanted and int(wanted.split(":")[1]) >= torch.cuda.device_count():
            raise ConfigError(f"device={wanted!r}: this machine has {torch.cuda.device_count()} GPU(s)")
        return torch.device(wanted)

    # --- checks --------------------------------------------------------------------------------------------------
    def _check(self) -> None:
        """Check every key of every layer against the options that the chosen models and method have."""
        top = self._known(self._name("model") if self.method_class else None, self.backbones.values())
        for layer in self.layers:
            for key, value in layer.values.items():
                if key in BLOCKS:
                    self._check_block(key, value, layer.source)
                elif key == "backbones":
                    self._check_backbones(value, layer.source)
                elif key not in top:
                    near = self._blocks if isinstance(value, Mapping) else {*top, *self._foreign}
                    raise ConfigError(self._unknown(key, key, near, layer.source))
                else:
                    _check_option(top[key], value, key, layer.source)

    def _check_block(self, role: str, block: Any, source: str) -> None:
        if not isinstance(block, Mapping):
            raise ConfigError(f"{role}={block!r}: expected a block of settings ({source})")
        if block and role not in self.backbones:
            raise ConfigError(
                f"{role}: {self._name('model')} is trained alone; set its keys at the top level ({source})"
            )
        if block:
            self._check_role_keys(self.backbones[role], block, role, source)

    def _check_backbones(self, backbones: Any, source: str) -> None:
        if not isinstance(backbones, Mapping):
            raise ConfigError(f"backbones={backbones!r}: expected {{model: {{teacher: {{...}}, student: {{...}}}}}}")
        for backbone, by_role in backbones.items():
            if not isinstance(by_role, Mapping | None):
                raise ConfigError(f"backbones.{backbone}={by_role!r}: expected blocks teacher and student ({source})")
            for role, block in (by_role or {}).items():
                where = f"backbones.{backbone}.{role}"
                if role not in BLOCKS or not isinstance(block, Mapping):
                    raise ConfigError(f"{where}: expected a block under teacher or student ({source})")
                self._check_role_keys(backbone, block, where, source)

    def _check_role_keys(self, backbone: str, block: Mapping[str, Any], where: str, source: str) -> None:
        known = role_options(backbone)
        for key, value in block.items():
            if key not in known and key in _recbole_options():
                raise ConfigError(f"{where}.{key}: holds for both roles; set it at the top level ({source})")
            if key not in known:
                raise ConfigError(self._unknown(f"{where}.{key}", key, known, source))
            _check_option(known[key], value, f"{where}.{key}", source)

    def _unknown(self, where: str, key: str, known: Iterable[str], source: str) -> str:
        return (
            f"unknown setting {where} ({source}).{_nearest(key, known)} Documented keys: `recbole-bd run --help` and, "
            f"for RecBole's own, {_RECBOLE_PROPERTIES / 'overall.yaml'} and model/*.yaml beside it"
        )

    def _name(self, key: str) -> str:
        return [layer.values[key] for layer in self.layers if key in layer.values][-1]

    def _check_evaluation(self) -> None:
        check_valid_metric(self["valid_metric"], self["metrics"], self["topk"])

    def _set_default_parameters(self) -> None:
        check_protocol(self.final_config_dict)
        try:
            super()._set_default_parameters()
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
            raise ConfigError(str(error)) from error

    def _set_train_neg_sample_args(self) -> None:
        try:
            super()._set_train_neg_sample_args()
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def _set_eval_neg_sample_args(self, phase: str) -> None:
        try:
            super()._set_eval_neg_sample_args(phase)
        except ValueError as error:
            raise ConfigError(f"eval_args: {error}") from error

    # --- roles ---------------------------------------------------------------------------------------------------
    def role(self, role: str) -> "RoleConfig":
        """Settings with which RecBole builds and trains the model in one role.

        Args:
            role: teacher or student; `model` for a baseline.

        Raises:
            ConfigError: settings that contradict each other, or an unknown learner.
        """
        return RoleConfig(self, role)

    def role_settings(self, role: str) -> dict[str, Any]:
        """Settings of one role that are above RecBole's defaults, folded over the layers; a copy.

        Args:
            role: teacher or student; `model` for a baseline.
        """
        backbone = self.backbones[role]
        own = package_options().keys() - set(_ROLE_OPTIONS) - _recbole_options().keys()
        own |= method_options(self.method_class and self._name("model")).keys()
        known = _recbole_options().keys() | role_options(backbone).keys()
        settings: dict[str, Any] = {}
        for layer in self.layers:
            settings.update({k: v for k, v in layer.values.items() if k in known and k not in own})
            by_role = (layer.values.get("backbones") or {}).get(backbone) or {}
            settings.update(by_role.get(TEACHER if role == BASELINE else role) or {})
            if role in BLOCKS:
                settings.update(layer.values.get(role) or {})
        return copy.deepcopy(settings)

    def as_dict(self) -> dict[str, Any]:
        """The resolved settings as plain data, which as a configuration file give the same run."""
        written = _fold(self.layers, drop=())
        package = package_options().keys() | method_options(self.method_class and self._name("model")).keys()
        keys = (_recbole_options().keys() | package) - {*BLOCKS, "backbones", "beside"}
        plain = {key: _plain(self[key]) for key in sorted(keys) if key in self}
        for key in ("data_path", "device"):  # RecBole appends the data set's name; the device is this machine's
            plain[key] = written.get(key, plain[key] if key == "device" else "dataset/")
        for role, backbone in self.backbones.items():
            config = self.role(role)
            block = {key: _plain(config[key]) for key in sorted(role_options(backbone)) if key in config}
            if role == BASELINE:
                plain |= block
            else:
                plain[role] = block
        for block in (plain, *(plain[role] for role in BLOCKS if role in plain)):
            if block.get("train_neg_sample_args", {}).get("distribution") == "none":
                block["train_neg_sample_args"] = None
        return plain


class RoleConfig(_HostConfig):
    """What RecBole sees when it builds, trains or evaluates the model of one role.

    Args:
        parent: settings of the run.
        role: teacher or student; `model` for a baseline.

    Raises:
        ConfigError: settings that contradict each other, or an unknown learner.
    """

    def __init__(self, parent: BDConfig, role: str):
        self._device = parent["device"]
        self._class = recommender_class(parent.backbones[role])
        super().__init__(
            model=parent.backbones[role], dataset=parent["dataset"], config_dict=parent.role_settings(role)
        )
        if str(self["learner"]).lower() not in _LEARNERS:
            raise ConfigError(f"{role}.learner={self['learner']!r}: must be one of {', '.join(_LEARNERS)}")
        check_clipping(self["clip_grad_norm"], f"{role}.clip_grad_norm")

    def _get_model_and_dataset(self, model: str, dataset: str) -> tuple[str, type, str]:
        return model, self._class, dataset

    def _choose_device(self) -> torch.device:
        return self._device


def package_options() -> dict[str, Option]:
    """Options of this package that hold for every method (`properties/overall.yaml`)."""
    return declared_options(properties_path("overall.yaml"))


def method_options(method: str | None) -> dict[str, Option]:
    """Options of one distillation method (`properties/model/<method>.yaml`); none for a baseline."""
    return declared_options(_method_yaml(method)) if method else {}


def _method_yaml(method: str) -> Path:
    shipped = properties_path("model", f"{method}.yaml")
    return shipped if shipped.is_file() else options_beside(method) or shipped


def options_unknown_to_host() -> set[str]:
    """Names of this package's options that mean nothing to RecBole."""
    return package_options().keys() - _recbole_options().keys() - {"model", "dataset"}


def role_options(backbone: str) -> dict[str, Option]:
    """Options that may stand in a role's block when `backbone` plays that role.

    Raises:
        RoleError: RecBole has no such model.
    """
    package = {key: option for key, option in package_options().items() if key in _ROLE_OPTIONS}
    host = {key: option for key, option in _recbole_options().items() if key in _OF_A_ROLE}
    return host | _backbone_options(backbone) | package


def _require_model(name: str, methods: Mapping[str, type]) -> None:
    try:
        recommender_class(name)
    except RoleError as error:
        nearest = difflib.get_close_matches(name.upper(), methods, n=1, cutoff=0.5)
        hint = f"Did you mean {nearest[0]}? " if nearest else ""
        raise RoleError(f"model={name!r} is no method of this package ({', '.join(methods)}). {hint}{error}") from error


def _fold(layers: Iterable[Layer], drop: Iterable[str]) -> dict[str, Any]:
    folded: dict[str, Any] = {}
    for layer in layers:
        folded.update({key: value for key, value in layer.values.items() if key not in set(drop)})
    return copy.deepcopy(folded)


def _check_option(option: Option, value: Any, where: str, source: str) -> None:
    try:
        option.check(value, where)
        numbers = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        for number in numbers:
            if isinstance(number, float) and number != number:
                raise ConfigError(f"{where}={value!r}: must hold finite numbers")
    except ConfigError as error:
        if source in _GIVEN:
            raise
        raise ConfigError(f"{error} ({source})") from error


def _plain(value: Any) -> Any:
    """A value as YAML and JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
