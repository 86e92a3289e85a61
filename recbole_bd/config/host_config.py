"""RecBole's Config without its side effects."""

import torch
from recbole.config import Config
from recbole.utils import dataset_arguments, evaluation_arguments, general_arguments, training_arguments


class HostConfig(Config):
    """RecBole's Config without its side effects.

    It reads no `sys.argv`, evaluates no code, sets no CUDA_VISIBLE_DEVICES and starts no nccl.
    """

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

    def _init_device(self) -> None:
        self.final_config_dict.update(single_spec=True, local_rank=0, device=self._choose_device())

    def _choose_device(self) -> torch.device:
        raise NotImplementedError
