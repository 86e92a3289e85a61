"""Build a role: RecBole's model with its settings, and the faster layers and graphs of `backbones.acceleration`."""

import math
import re
from pathlib import Path
from typing import Any

from recbole.data.transform import construct_transform
from recbole.utils import FeatureType

from recbole_bd.backbones.acceleration.embedding_gradients import gather_gradients
from recbole_bd.backbones.acceleration.short_histories import skip_padding
from recbole_bd.backbones.acceleration.sparse_graphs import compress_graphs
from recbole_bd.backbones.acceleration.sparse_histories import read_histories_sparsely
from recbole_bd.backbones.checkpoint import settings_recorded_in
from recbole_bd.backbones.extra_state import note_attributes
from recbole_bd.backbones.recbole_pickle import pretrained_files_read_safely
from recbole_bd.backbones.recorded_split import check_recorded_split
from recbole_bd.backbones.registry import is_sequential, recommender_class
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.sampled_loss import sample_loss
from recbole_bd.backbones.traits import CLUSTERING, traits_of
from recbole_bd.errors import CheckpointError, RoleError, named_damage


def build_role(name: str, config: Any, dataset: Any, is_pretrained: bool = True) -> Role:
    """Build the RecBole model of a role.

    Args:
        name: `teacher`, `student`, or `model` for a baseline.
        config: settings of the role.
        dataset: the training part, from which RecBole models take sizes, graphs and histories.
        is_pretrained: whether the model may start from a file that its settings name.

    Raises:
        RoleError: the model is unknown, refuses its settings, needs a package that is missing, or starts from a file
            that it must not start from.
        CheckpointError: a file that the model's settings name cannot be read, asks for code to be run, or was trained
            on another split.
    """
    backbone = config["model"]
    read: list[str] = []

    def check(path: str, content: dict[str, Any]) -> None:
        if not is_pretrained:
            raise RoleError(f"{name}: {backbone} starts from {path}, so it is never untrained; leave the placebo out")
        with named_damage(f"file {path}", CheckpointError):
            recorded = settings_recorded_in(content)
        # The settings of the data, whose seed made the split: a role may warm up from another seed.
        own = {**dataset.config.final_config_dict, "checkpoint_split": config["checkpoint_split"]}
        check_recorded_split(f"pretrained file {path}", recorded, own, name)
        read.append(path)

    if config["transform"]:
        construct_transform(config)  # names the columns that the model reads in the batches
    if is_sequential(backbone) and "selected_features" in config:
        _check_features(name, config, dataset)
    try:
        with pretrained_files_read_safely(check):
            model = recommender_class(backbone)(config, dataset)
    except ImportError as error:
        raise RoleError(f"{name}: {backbone} needs the package {error.name}. Run: pip install {error.name}") from error
    except SystemExit as error:
        loss = config["loss_type"]
        raise RoleError(f"{name}: {backbone} cannot be built: it has no loss_type={loss!r}; leave it out") from error
    except (ValueError, TypeError, NotImplementedError, AssertionError, KeyError, RuntimeError) as error:
        problem = " ".join(str(error).split())
        if losses := re.fullmatch(r"Make sure 'loss_type' in \[(.*)\]!", problem):  # of RecBole's sequential models
            allowed = losses[1].replace("'", "")
            raise RoleError(
                f"{name}: {backbone}: loss_type={config['loss_type']!r}: must be one of {allowed}"
            ) from error
        raise RoleError(f"{name}: {backbone} cannot be built with these settings: {problem}") from error
    if is_sequential(backbone):
        model.sequences, model.n_users = dataset.sequences, dataset.user_num
    _check_clusters(name, model, config)
    _check_mask(name, config)
    _check_candidates(name, model, config)
    model = model.to(config["device"])
    _accelerate(model, config)
    note_attributes(model)
    role = Role(name, model, config, dataset if config["own_loss"] == "softmax" else None)
    role.pretrained = bool(read)
    return role


def _accelerate(model: Any, config: Any) -> None:
    """Change how an instance computes what its class does; `loss_items: sampled` also changes the loss."""
    compress_graphs(model)
    read_histories_sparsely(model)
    skip_padding(model)
    if config["loss_items"] == "sampled":
        sample_loss(model)
    if config["learner"].lower() != "sparse_adam":
        gather_gradients(model)


def _check_clusters(name: str, model: Any, config: Any) -> None:
    """Refuse more clusters than users or items, padding included, which faiss would refuse while training."""
    points = min(model.n_users, model.n_items)
    if traits_of(model).own_trainer is CLUSTERING and config["num_clusters"] > points:
        raise RoleError(
            f"{name}: {config['model']}: num_clusters={config['num_clusters']}: must be at most {points:,}, the "
            "smaller of the numbers of users and items"
        )


def _check_mask(name: str, config: Any) -> None:
    """Refuse histories of which BERT4Rec would mask less than one item, so that it would have nothing to learn."""
    ratio, length = config["mask_ratio"], config["MAX_ITEM_LIST_LENGTH"]
    if config["transform"] == "mask_itemseq" and int(ratio * length) < 1:
        raise RoleError(
            f"{name}: {config['model']}: mask_ratio={ratio}: less than one of MAX_ITEM_LIST_LENGTH={length} items is "
            f"masked; use mask_ratio={math.ceil(1000 / length) / 1000} or more, or longer histories"
        )


def _check_candidates(name: str, model: Any, config: Any) -> None:
    """Refuse lists of candidates that are longer than the catalogue, which torch would refuse in the first batch."""
    longest = max(getattr(model, "reranker_CAN_NUM", None) or [0])
    if longest >= model.n_items and model.n_facet_reranker:
        raise RoleError(
            f"{name}: {config['model']}: reranker_CAN_NUM={config['reranker_CAN_NUM']}: must be at most "
            f"{model.n_items - 1:,}, the number of items"
        )


def _check_features(name: str, config: Any, dataset: Any) -> None:
    """Refuse features of items that are not loaded, or that the model would leave out."""
    loaded = [] if dataset.item_feat is None else [key for key in dataset.item_feat if key != dataset.iid_field]
    chosen = config["selected_features"]
    where = f"{name}: {config['model']}: selected_features={chosen!r}"
    if not isinstance(chosen, list) or not chosen:
        raise RoleError(f"{where}: must name columns of {dataset.dataset_name}.item, such as [class]")
    file = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    if dataset.item_feat is None and not file.is_file():
        raise RoleError(
            f"{where}: data file {file} does not exist; write it with these columns, or choose a model that reads no "
            "features, such as SASRec or GRU4Rec"
        )
    for column in chosen:
        if column not in loaded:
            found = f"choose among {', '.join(loaded)}, or " if loaded else ""
            columns = ", ".join(dict.fromkeys([dataset.iid_field, *loaded, *map(str, chosen)]))
            raise RoleError(
                f"{where}: the column {column} of {dataset.dataset_name}.item is not loaded; {found}write "
                f"item: [{columns}] in load_col, beside inter"
            )
        kind = dataset.field2type[column]
        if kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ) and column not in config["numerical_features"]:
            raise RoleError(f"{where}: {column} is a column of numbers; name it in numerical_features as well")
