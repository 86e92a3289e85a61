"""Settings from files and command line, folded and checked: one `BDConfig` for the run, one `RoleConfig` per role.

Settings come in layers, and a later layer overrides an earlier one:

1. RecBole's defaults
2. `properties/overall.yaml`
3. `properties/model/<method>.yaml`
4. `properties/dataset/<dataset>.yaml`
5. configuration files, in the given order
6. `config_dict`
7. command line

Inside a layer, the top level holds for both roles, and a role's block (`teacher:`, `student:`) overrides it. A block
with a model's name, such as `BD: {...}`, is used only if that model is run. It also overrides the top level of its
layer. In the same way `temperature` holds for both directions, and `temperature_teacher_to_student` of the same or a
later layer overrides it for one.
"""

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from recbole_bd.backbones.names import BASELINE, PAIR, TEACHER
from recbole_bd.backbones.registry import (
    own_backbones,
    own_classes_of,
    recommender_class,
    recommenders,
)
from recbole_bd.config.checks import LayerChecks, check_model
from recbole_bd.config.device import choose_device
from recbole_bd.config.evaluation_settings import check_protocol, check_valid_metric
from recbole_bd.config.former_settings import with_todays
from recbole_bd.config.host_config import HostConfig
from recbole_bd.config.known_options import (
    LISTS,
    PACKAGE_OPTIONS_OF_EVALUATION,
    options_of_run_alone,
    recbole_options,
    role_options,
    top_level_options,
)
from recbole_bd.config.layers import (
    COMMAND_LINE,
    CONFIG_DICT,
    Layer,
    command_of,
    expand_dotted,
    fold_layers,
    plain_value,
    read_names,
    refuse_other_blocks,
    unwrap_model_block,
    with_directions,
    with_patience,
)
from recbole_bd.config.one_layer import in_one_layer
from recbole_bd.config.own_metrics import own_metrics
from recbole_bd.config.own_names import import_names, names_given, refuse_untrusted, with_names
from recbole_bd.config.property_files import (
    file_or_shipped,
    method_yaml,
    options_of_run,
    properties_path,
)
from recbole_bd.config.recorded_paths import absolute
from recbole_bd.config.role_config import RoleConfig
from recbole_bd.config.sequence_settings import (
    needs_sequences,
    sequence_layer,
    sequential_among,
    sequential_only_beside,
)
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.system.own_classes import identity_of

# Settings that name models or the data set, which decide the options there are.
_NAMES = ("model", "dataset", "teacher_model", "student_model", "beside")


class BDConfig(HostConfig):
    """Checked settings of a run.

    Args:
        model: a method of `recbole_bd.model`, a recommender of RecBole, or None to read it from the layers.
        dataset: name of the data set, or None to read it from the layers.
        config_file_list: yaml files; a later file overrides an earlier one.
        config_dict: settings that override the files; keys may be dotted (`teacher.embedding_size`).
        command_line: settings that override all others; keys may be dotted.
        methods: all distillation methods by name: `recbole_bd.model.METHODS`.
        trusted: names of classes that may be imported; None for those in `users_layers`, see `own_names`.

    Attributes:
        command: a command line that gives these settings, even if they came from Python.
        method_class: the method, a `Distiller`; None for a baseline.
        backbones: name of the RecBole model by role; the one role of a baseline is `model`.
        layers: the layers that were folded; a later layer overrides an earlier one.
        users_layers: those of `layers` that the user gave.
        beside: other models that share the files with this one.
        has_split_of_beside: whether a sequential model in `beside` alone is why the data is divided in order of time.

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
        trusted: Collection[str] | None = None,
    ):
        given = {key: value for key, value in (("model", model), ("dataset", dataset)) if value is not None}
        files = [str(file) for file in config_file_list or ()]
        users_layers = _layers_of_user(files, {**(config_dict or {}), **given}, command_line or {}, methods)
        overall = _overall()
        model, blocks = _model_and_blocks(users_layers, methods)
        # A block without a dot may come from a file, which several models share.
        typed = Layer(COMMAND_LINE, expand_dotted({k: v for k, v in (command_line or {}).items() if "." in k}))
        users_layers = [_todays(unwrap_model_block(layer, model, blocks)) for layer in users_layers]
        implied = _implied_by(users_layers)
        names = read_names((overall, *implied, *users_layers), _NAMES)
        shipped = [unwrap_model_block(layer, model, blocks) for layer in _shipped_layers(model, names["dataset"])]
        if sequential_among(names, methods):
            implied.append(sequence_layer([*shipped, *users_layers]))
        refuse_other_blocks(typed, blocks, [model, *(names["beside"] or ())])
        self.layers = [overall, *shipped, *implied, *users_layers]
        refuse_untrusted(fold_layers(self.layers, ()), names_given(users_layers) if trusted is None else trusted)
        self.method_class: Any = methods.get(names["model"])  # a Distiller, which this package does not import
        if self.method_class is None:
            check_model(names["model"], methods)
            self.backbones = {BASELINE: names["model"]}
        else:
            self.backbones = {role: names[f"{role}_model"] for role in PAIR}
            self.method_class.check_roles(self.backbones)
        self.beside: list[str] = names["beside"]
        self.has_split_of_beside = sequential_only_beside(names, methods)
        self._method = names["model"] if self.method_class else None
        known = top_level_options(self._method, self.backbones.values())
        ignored: set[str] = set()
        if names["beside"]:
            ignored = self._ignored_keys(names, methods, known)
            self._drop_ignored(ignored, self.layers[-len(users_layers) : -2])
        self.users_layers = self.layers[-len(users_layers) :]
        self.command = command_of(files, in_one_layer(self.layers[-2:], self._method, self.backbones))
        of_run = options_of_run(self._method)
        self.layers = [with_directions(with_patience(layer), of_run) for layer in self.layers]
        self._checks = LayerChecks(known, self.backbones, blocks, ignored, of_run)
        for layer in self.layers:
            self._checks.check(layer)
        settings = fold_layers(self.layers, drop=(*PAIR, "backbones"))
        super().__init__(model=names["model"], dataset=names["dataset"], config_dict=settings)
        check_valid_metric(self["valid_metric"], self["metrics"], self["topk"])
        for role in self.backbones:
            self.role(role)  # raises where a role's settings contradict each other

    def _ignored_keys(self, names: Mapping[str, Any], methods: Iterable[str], known: Iterable[str]) -> set[str]:
        """Keys that this run ignores, as only the models in `beside`, which share a file with this one, have them."""
        others: set[str] = set()
        for other in names["beside"]:
            if other in methods:
                others |= top_level_options(other, (names["teacher_model"], names["student_model"])).keys()
            else:
                check_model(other, methods)
                others |= top_level_options(None, (other,)).keys()
        # The keys `teacher` and `student` are options of every run, but a baseline beside methods ignores these blocks.
        return others - set(known) if self.method_class else others - (set(known) - set(PAIR))

    def _drop_ignored(self, ignored: set[str], files: Iterable[Layer]) -> None:
        """Drop ignored keys from all layers, and `beside` unless a file holds such a key or it decides the split."""
        is_needed = self.has_split_of_beside or any(ignored & layer.values.keys() for layer in files)
        drop = ignored if is_needed else {*ignored, "beside"}
        self.layers = [Layer(layer.source, fold_layers([layer], drop)) for layer in self.layers]

    def check_more(self, settings: Mapping[str, Any], source: str) -> None:
        """Check settings that a run with this configuration may have in addition, such as those of a search.

        Args:
            settings: values by key; keys may be dotted.
            source: where they stand, named in errors.

        Raises:
            ConfigError: an unknown key, a wrong type, or a value out of range.
        """
        self._checks.check(Layer(source, with_todays(expand_dotted(settings), source)))

    def with_values(self, values: Mapping[str, Any]) -> "BDConfig":
        """The same settings, but for some resolved values: what one arm of a run reads otherwise."""
        changed = copy.copy(self)
        changed.final_config_dict = {**self.final_config_dict, **values}
        return changed

    def own_code(self) -> list[str]:
        """Identity of each class of the user's own that the run uses, for hashes; empty if there is none."""
        backbones = [recommender_class(name) for name in self.backbones.values()]
        return identity_of([*chain(*map(own_classes_of, backbones)), *own_metrics(self["metrics"])])

    # --- overrides of RecBole's Config -----------------------------------------------------------------------------
    def _get_model_and_dataset(self, model: str, dataset: str) -> tuple[str, type, str]:
        return model, self.method_class or recommender_class(model), dataset

    def _choose_device(self) -> torch.device:
        return choose_device(str(self["device"]), self["use_gpu"], self.external_config_dict.get("gpu_id"))

    def _set_default_parameters(self) -> None:
        check_protocol(self.final_config_dict)
        self.final_config_dict["has_sequences"] = needs_sequences(self.backbones.values(), self.final_config_dict)
        super()._set_default_parameters()

    # --- roles ---------------------------------------------------------------------------------------------------
    def role(self, role: str) -> "RoleConfig":
        """Settings for RecBole to build and train the model in one role.

        Args:
            role: teacher or student; `model` for a baseline.

        Raises:
            ConfigError: settings that contradict each other, or an unknown learner.
        """
        return RoleConfig(role, self.backbones[role], self["dataset"], self.role_settings(role), self["device"])

    def role_settings(self, role: str, layers: Iterable[Layer] | None = None) -> dict[str, Any]:
        """Fold the layers' settings of one role, without RecBole's defaults.

        Args:
            role: teacher or student; `model` for a baseline.
            layers: the layers to fold; all by default.

        Returns:
            A deep copy.
        """
        backbone = self.backbones[role]
        own = options_of_run_alone(self._method)
        known = recbole_options().keys() | role_options(backbone).keys() | set(PACKAGE_OPTIONS_OF_EVALUATION)
        settings: dict[str, Any] = {}
        for layer in self.layers if layers is None else layers:
            settings.update({k: v for k, v in layer.values.items() if k in known and k not in own})
            by_role = (layer.values.get("backbones") or {}).get(backbone) or {}
            settings.update(by_role.get(TEACHER if role == BASELINE else role) or {})
            if role in PAIR:
                settings.update(layer.values.get(role) or {})
        return copy.deepcopy(settings)

    def as_dict(self) -> dict[str, Any]:
        """The resolved settings as plain data. Written as a configuration file, they give the same run.

        Paths that are read, such as `data_path` and `checkpoint`, are absolute, so that the file can be used from any
        folder.
        """
        written = fold_layers(self.layers, drop=())
        keys = (recbole_options().keys() | options_of_run(self._method).keys()) - {*PAIR, "backbones", "beside"}
        plain = {key: plain_value(self[key]) for key in sorted(keys) if key in self}
        for key in ("data_path", "device"):  # RecBole changes the path, and a chosen device is only this machine's
            plain[key] = written.get(key, plain[key] if key == "device" else "dataset/")
        plain["data_path"] = absolute(plain["data_path"])
        for role, backbone in self.backbones.items():
            config = self.role(role)
            block = {key: plain_value(config[key]) for key in sorted(role_options(backbone)) if key in config}
            block |= {key: absolute(block[key]) for key in ("checkpoint", LISTS) if key in block}
            if role == BASELINE:
                plain |= block
            else:
                plain[role] = block
            if config["transform"]:  # its model has it by itself
                plain.pop("transform", None)
        for block in (plain, *(plain[role] for role in PAIR if role in plain)):
            if block.get("train_neg_sample_args", {}).get("distribution") == "none":
                block["train_neg_sample_args"] = None
        return plain


def _layers_of_user(
    files: Iterable[str], config_dict: Mapping[str, Any], command_line: Mapping[str, Any], methods: Mapping[str, Any]
) -> list[Layer]:
    """The layers that the user gave: configuration files, `config_dict`, command line."""
    return [
        *(Layer(file, expand_dotted(load_yaml(file))) for file in map(file_or_shipped, files)),
        Layer(CONFIG_DICT, with_names(expand_dotted(config_dict), methods)),
        Layer(COMMAND_LINE, with_names(expand_dotted(command_line), methods)),
    ]


def _overall() -> Layer:
    return Layer(str(properties_path("overall.yaml")), load_yaml(properties_path("overall.yaml")))


def _model_and_blocks(users_layers: Sequence[Layer], methods: Mapping[str, Any]) -> tuple[str, set[str]]:
    """The model that is run, and the names of all models, which blocks of settings may have."""
    model = read_names((_overall(), *users_layers), ("model",))["model"]
    return model, {*methods, *recommenders(), *own_backbones(), *import_names(fold_layers(users_layers, ()))}


def folded_settings(layers: Iterable[Layer], methods: Mapping[str, Any]) -> dict[str, Any]:
    """Fold settings that are not checked into one layer, which gives the same run.

    Args:
        layers: those of the user; keys may be dotted, and a later layer overrides an earlier one.
        methods: all distillation methods by name.

    Returns:
        Settings without the blocks of models that are not run.

    Raises:
        ConfigError: a model's name is none, or a block is set to a value.
    """
    layers = [Layer(layer.source, expand_dotted(layer.values)) for layer in layers]
    model, blocks = _model_and_blocks(layers, methods)
    layers = [_todays(unwrap_model_block(layer, model, blocks)) for layer in layers]
    names = read_names((_overall(), *_implied_by(layers), *layers), _NAMES)
    if model not in methods:
        return in_one_layer(layers, None, {BASELINE: model})
    return in_one_layer(layers, model, {role: names[f"{role}_model"] for role in PAIR})


def _todays(layer: Layer) -> Layer:
    return Layer(layer.source, with_todays(layer.values, layer.source))


def _implied_by(users_layers: Iterable[Layer]) -> list[Layer]:
    """The layer below the user's in which lists of a teacher name its model, `Lists`; none without lists."""
    blocks = [block for layer in users_layers for block in (layer.values, layer.values.get(TEACHER))]
    has_lists = any(isinstance(block, Mapping) and block.get(LISTS) for block in blocks)
    return [Layer(LISTS, {"teacher_model": "Lists"})] if has_lists else []


def _shipped_layers(model: str, dataset: str) -> list[Layer]:
    paths = [method_yaml(model), properties_path("dataset", f"{dataset}.yaml")]
    return [Layer(str(path), load_yaml(path)) for path in paths if path.is_file()]
