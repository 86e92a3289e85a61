"""RecBole's Config without its side effects."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from recbole.config import Config
from recbole.utils import dataset_arguments, evaluation_arguments, general_arguments, training_arguments

from recbole_bd.backbones.registry import classes_with_options, is_own, loader_name, predicts_next_item
from recbole_bd.backbones.traits import recbole_base
from recbole_bd.config.layers import with_resolved_patience
from recbole_bd.config.own_metrics import smaller_is_better
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.system.own_classes import option_files


class HostConfig(Config):
    """RecBole's Config without its side effects.

    It reads no `sys.argv`, evaluates no code, sets no CUDA_VISIBLE_DEVICES and starts no nccl.
    """

    def _build_yaml_loader(self) -> type[yaml.FullLoader]:
        return _yaml_loader()

    def _update_internal_config_dict(self, file: str) -> dict[str, Any] | None:
        # A copy, because RecBole changes the values.
        values = copy.deepcopy(_internal_settings(file))
        self.internal_config_dict.update(values or {})
        return values

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        # A class of the user's own has the defaults of the RecBole model it inherits from, below those of its own file.
        base = recbole_base(model_class) if is_own(model) else None
        super()._load_internal_config_dict(base.__name__ if base else model, model_class, dataset)
        for path in reversed(option_files(classes_with_options(model_class))):
            self.internal_config_dict.update(load_yaml(path))
        if is_own(model):
            self.internal_config_dict["loader_model"] = loader_name(model_class)

    def _load_cmd_line(self) -> dict:
        return {}

    def _convert_config_dict(self, config_dict: dict) -> dict:
        return config_dict

    def _init_parameters_category(self) -> None:
        # Copies, because RecBole appends to these module-level lists.
        self.parameters = {
            "General": list(general_arguments),
            "Training": list(training_arguments),
            "Evaluation": list(evaluation_arguments),
            "Dataset": list(dataset_arguments),
        }

    def _set_default_parameters(self) -> None:
        if predicts_next_item(self.model_class, self.final_config_dict):
            self.final_config_dict["train_neg_sample_args"] = None  # RecBole refuses negatives beside such a loss
        super()._set_default_parameters()
        smaller = smaller_is_better(self.final_config_dict["valid_metric"], self.final_config_dict["metrics"])
        if smaller is not None:
            self.final_config_dict["valid_metric_bigger"] = not smaller
        settings = self.final_config_dict
        settings.update(with_resolved_patience(settings, settings["eval_step"]))

    def _init_device(self) -> None:
        self.final_config_dict.update(single_spec=True, local_rank=0, device=self._choose_device())

    def _choose_device(self) -> torch.device:
        raise NotImplementedError


@cache
def _yaml_loader() -> type[yaml.FullLoader]:
    """RecBole's loader, built once: each call of its builder adds one more pattern, which slows all later loads."""
    return Config._build_yaml_loader(None)


@cache
def _internal_settings(file: str) -> dict[str, Any] | None:
    """Settings in one of the files that RecBole ships, read once per process."""
    return yaml.load(Path(file).read_text(encoding="utf-8"), Loader=_yaml_loader())
