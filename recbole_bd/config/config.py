"""From files and command line to checked settings: one `BDConfig` for the run, one `RoleConfig` per role.

A block named as a model, `BD: {...}`, holds where that is the model that is run, above the top level of its layer.

Layers, the later above the earlier: RecBole's defaults, `properties/overall.yaml`, `properties/model/<method>.yaml`,
`properties/dataset/<dataset>.yaml`, configuration files, `config_dict`, command line. Inside a layer a role's block
(`teacher:`, `student:`) goes above the top level, which holds for both roles.
"""

import copy
import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from recbole_bd.backbones.names import BASELINE, PAIR, TEACHER
from recbole_bd.backbones.registry import general_recommenders, recommender_class
from recbole_bd.config.checks import _LEARNERS, _check_option, _nearest
from recbole_bd.config.evaluation_settings import check_clipping, check_protocol, check_valid_metric
from recbole_bd.config.host_config import _HostConfig
from recbole_bd.config.known_options import (
    _RECBOLE_PROPERTIES,
    _ROLE_OPTIONS,
    _backbone_options,
    _method_yaml,
    _recbole_options,
    method_options,
    package_options,
    properties_path,
    role_options,
)
from recbole_bd.config.layers import _GIVEN, Layer, _command, _fold, _names, _plain, _scoped, expand_dotted
from recbole_bd.config.option import Option
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import ConfigError, RoleError
from recbole_bd.system.distributed import group, has_gpu_for_each, local_rank, processes_here


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
            self.backbones = {role: names[f"{role}_model"] for role in PAIR}
            self.method_class.check_roles(self.backbones)
        self._pass_over_foreign(names, methods, self.layers[-len(settings) : -2])
        self.command = _command(files, self.layers[-2:])
        self._check()
        super().__init__(
            model=names["model"], dataset=names["dataset"], config_dict=_fold(self.layers, drop=(*PAIR, "backbones"))
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
        foreign -= known if self.method_class else known - set(PAIR)
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
                if key in PAIR:
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
                if role not in PAIR or not isinstance(block, Mapping):
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
            if role in PAIR:
                settings.update(layer.values.get(role) or {})
        return copy.deepcopy(settings)

    def as_dict(self) -> dict[str, Any]:
        """The resolved settings as plain data, which as a configuration file give the same run."""
        written = _fold(self.layers, drop=())
        package = package_options().keys() | method_options(self.method_class and self._name("model")).keys()
        keys = (_recbole_options().keys() | package) - {*PAIR, "backbones", "beside"}
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
        for block in (plain, *(plain[role] for role in PAIR if role in plain)):
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


def _require_model(name: str, methods: Mapping[str, type]) -> None:
    try:
        recommender_class(name)
    except RoleError as error:
        nearest = difflib.get_close_matches(name.upper(), methods, n=1, cutoff=0.5)
        hint = f"Did you mean {nearest[0]}? " if nearest else ""
        raise RoleError(f"model={name!r} is no method of this package ({', '.join(methods)}). {hint}{error}") from error
