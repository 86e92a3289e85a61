"""The data set, split once for both roles, with RecBole's evaluation loaders."""

import hashlib
import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.utils import init_seed

from recbole_bd.data.dataset import AtomicDataset, RoundedTimesDataset, interaction_files
from recbole_bd.data.evaluation_loader import ArraySampledLoader, make_evaluation_loader
from recbole_bd.data.explanations import explain
from recbole_bd.data.labels import check_labels
from recbole_bd.data.negative_sampler import evaluation_samplers
from recbole_bd.data.sequences import attach_sequences
from recbole_bd.data.text_file import shown
from recbole_bd.errors import ConfigError, DataError
from recbole_bd.system.random_state import seed_of_split

logger = logging.getLogger(__name__)


@dataclass
class Split:
    """The loaded data set and its three parts, shared by both roles.

    Attributes:
        dataset: the whole data set; RecBole's inner ids count from 1, and 0 is padding.
        train, valid, test: RecBole data sets of the parts.
        valid_loader, test_loader: RecBole's evaluation loaders, shared by both roles.
    """

    dataset: Dataset
    train: Dataset
    valid: Dataset
    test: Dataset
    valid_loader: Any
    test_loader: Any
    _fingerprint: str = field(default="", repr=False)

    @property
    def n_users(self) -> int:
        """Number of users, padding user 0 included."""
        return self.dataset.user_num

    @property
    def n_items(self) -> int:
        """Number of items, padding item 0 included."""
        return self.dataset.item_num

    @property
    def repeatable(self) -> bool:
        """Whether users interact with the same item again, so that no ranking leaves out what they have seen."""
        return bool(self.dataset.config["repeatable"])

    def pairs(self, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Users and items of one part's interactions.

        Args:
            part: train, valid or test.

        Returns:
            Two int64 tensors of the part's length: RecBole's inner ids, without padding; pairs may repeat.
        """
        features = getattr(self, part).inter_feat
        return features[self.dataset.uid_field], features[self.dataset.iid_field]

    @cached_property
    def trained(self) -> tuple[np.ndarray, np.ndarray]:
        """Which users, and which items, have training interactions: two bool arrays by inner id; padding has none."""
        users, items = (np.zeros(size, dtype=bool) for size in (self.n_users, self.n_items))
        for flags, ids in zip((users, items), self.pairs("train"), strict=True):
            flags[ids.numpy()] = True
        return users, items

    @property
    def fingerprint(self) -> str:
        """Hash of both id maps and all interactions of all parts, 16 hex digits."""
        if not self._fingerprint:
            digest = hashlib.sha256()
            for name in (self.dataset.uid_field, self.dataset.iid_field):
                digest.update("\n".join(map(str, self.dataset.field2id_token[name])).encode())
            for part in ("train", "valid", "test"):
                for tensor in self.pairs(part):
                    digest.update(f"{part}{len(tensor)}".encode() + tensor.numpy().tobytes())
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    def statistics(self) -> dict[str, Any]:
        """Describe the data.

        Returns:
            Counts of `users` and `items` (without padding) and `interactions`, `split` by part, and `fingerprint`.
            `candidates`: hashes of the candidates of the parts with sampled evaluation, if there are any.
        """
        loaders = {"valid": self.valid_loader, "test": self.test_loader}
        sampled = {part: loader for part, loader in loaders.items() if isinstance(loader, ArraySampledLoader)}
        candidates = {part: loader.fingerprint for part, loader in sampled.items()}
        return {
            "users": self.n_users - 1,
            "items": self.n_items - 1,
            "interactions": self.dataset.inter_num,
            "split": {part: len(getattr(self, part)) for part in ("train", "valid", "test")},
            "fingerprint": self.fingerprint,
            **({"candidates": candidates} if candidates else {}),
        }


def load_split(config: Config, dataset_class: type[Dataset] = AtomicDataset) -> Split:
    """Load, filter and split the data set as RecBole does, and check that both roles can learn from it.

    RecBole divides by the global generators. They are seeded by `split_seed` where it is given, and by `seed` again
    afterwards, so that of a run's draws only those of the split depend on it.

    Args:
        config: settings of the run.
        dataset_class: what reads and divides the data.

    Raises:
        DataError: a file is missing, empty or malformed, or the data is too small for distillation.
        ConfigError: a cut-off is above the number of items, or a setting names no column, encoding or separator.
    """
    name = config["dataset"]
    init_seed(seed_of_split(config.final_config_dict), config["reproducibility"])
    _check_files(config)
    try:
        dataset = dataset_class(config)
        _check_size(dataset, config)
        check_labels(dataset, config)
        built = dataset.build()
        for part, rows in zip(("training", "validation", "test"), built, strict=True):
            if len(rows) == 0:
                raise DataError(f"data set {name}: the {part} part is empty; {_against_empty_parts(config)}")
        valid_sampler, test_sampler = evaluation_samplers(config, built)
        train, valid, test = built
        parts = {"train": train, "valid": valid, "test": test}
        if config["has_sequences"]:
            attach_sequences(parts, config)
        valid_loader = make_evaluation_loader(config, "valid", parts, valid_sampler)
        test_loader = make_evaluation_loader(config, "test", parts, test_sampler)
    except (ValueError, KeyError, NotImplementedError, AssertionError, UnicodeDecodeError) as error:
        raise DataError(f"data set {name}: {explain(error)}") from error
    if seed_of_split(config.final_config_dict) != config["seed"]:
        init_seed(config["seed"], config["reproducibility"])  # of the split's seed nothing else may depend
    return Split(dataset, train, valid, test, valid_loader, test_loader)


def load_split_of(config: Config, fingerprint: str) -> Split:
    """Load the split on which a model was trained, perhaps by an earlier version, which rounded times.

    Args:
        config: settings of its run.
        fingerprint: fingerprint of its split.

    Returns:
        The split of this fingerprint; if no version makes it from the data, that of this version.

    Raises:
        BDError: see `load_split`.
    """
    split = load_split(config)
    if split.fingerprint == fingerprint or split.dataset.time_field not in split.dataset.inter_feat:
        return split
    rounded = load_split(config, RoundedTimesDataset)
    if rounded.fingerprint != fingerprint:
        return split
    logger.warning(
        "data set %s: the split of this run was made by an earlier version, from times rounded to float32; "
        "train again to divide it by exact times", config["dataset"],
    )  # fmt: skip
    return rounded


def _check_files(config: Config) -> None:
    """Check, before anything is read, that the files exist and that the settings can name columns."""
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD"):
        if not config[key]:
            raise ConfigError(f"{key}={config[key]!r}: must name a column of the data")
    for kind, columns in (config["load_col"] or {}).items():
        if columns != "*" and not (isinstance(columns, list | tuple) and all(isinstance(c, str) for c in columns)):
            raise ConfigError(f"load_col: {kind}={columns!r}: expected a list of columns, or '*' for all")
        if kind == "inter" and columns != "*":
            for key in ("USER_ID_FIELD", "ITEM_ID_FIELD"):
                if config[key] not in columns:
                    raise ConfigError(f"load_col: inter={columns!r}: lacks {config[key]}, the column that {key} names")
    folder, name = Path(config["data_path"]), config["dataset"]
    try:
        if not folder.exists():
            return  # RecBole may be able to download it
    except OSError as error:
        raise DataError(f"data_path: {shown(str(folder), 200)}: {error.strerror}") from error
    for file in (folder / own for own in interaction_files(name, config["benchmark_filename"])):
        if not file.is_file():
            raise DataError(
                f"data file {file} does not exist: put it there, or set --data_path to the folder above {name}/"
            )


def _against_empty_parts(config: Config) -> str:
    """Say how to have interactions in every part."""
    if config["benchmark_filename"] or config["eval_args"]["split"] != {"LS": "valid_and_test"}:
        return "change eval_args or benchmark_filename"
    otherwise = "" if config["has_sequences"] else ", or another split in eval_args"
    return (
        f"split {{LS: valid_and_test}} needs users with three interactions or more; use data that has some{otherwise}"
    )


def _check_size(dataset: Dataset, config: Config) -> None:
    users, items = dataset.user_num - 1, dataset.item_num - 1
    if users < 2 or items < 2:
        raise DataError(
            f"{users} user(s) and {items} item(s) are left after filtering; distillation needs at least two of each"
        )
    if max(config["topk"]) > items:
        raise ConfigError(
            f"topk={config['topk']}: above the number of items, {items}: use smaller cut-offs, in valid_metric too"
        )
