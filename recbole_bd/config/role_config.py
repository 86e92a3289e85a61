"""Settings of one role, as RecBole reads them."""

from collections.abc import Mapping
from typing import Any

import torch

from recbole_bd.backbones.registry import own_classes_of, recommender_class
from recbole_bd.config.host_config import HostConfig
from recbole_bd.config.own_metrics import own_metrics
from recbole_bd.config.training_settings import NO_NEGATIVES, SOFTMAX, check_training
from recbole_bd.system.own_classes import identity_of


class RoleConfig(HostConfig):
    """RecBole's configuration for building, training and evaluating the model of one role.

    Args:
        role: teacher or student; `model` for a baseline. Named in errors.
        backbone: name of the RecBole model that plays the role.
        dataset: name of the data set.
        settings: the role's settings above RecBole's defaults.
        device: the device of the run.

    Raises:
        ConfigError: settings that contradict each other, an unknown learner, or negatives that the model lacks.
    """

    def __init__(self, role: str, backbone: str, dataset: str, settings: Mapping[str, Any], device: torch.device):
        self._device = device
        self._class = recommender_class(backbone)
        super().__init__(model=backbone, dataset=dataset, config_dict=settings)
        check_training(role, backbone, self.final_config_dict)
        if self["own_loss"] == SOFTMAX:
            self.final_config_dict["train_neg_sample_args"] = dict(NO_NEGATIVES)

    def own_code(self) -> list[str]:
        """Identity of each class of the user's own that a warm-up uses, for hashes; empty if there is none."""
        return identity_of([*own_classes_of(self._class), *own_metrics(self["metrics"])])

    def _get_model_and_dataset(self, model: str, dataset: str) -> tuple[str, type, str]:
        return model, self._class, dataset

    def _choose_device(self) -> torch.device:
        return self._device
