"""`recbole-bd export`: a trained model in the formats of other programs."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config

from recbole_bd.backbones.registry import is_recboles
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import take_snapshot
from recbole_bd.config.known_options import options_unknown_to_recbole
from recbole_bd.config.recorded_paths import absolute
from recbole_bd.data.sequences import WHOLE
from recbole_bd.errors import ExportError, InstallationError
from recbole_bd.runs.trained_model import Trained
from recbole_bd.serving.onnx_graph import NOT_WRITTEN, onnx_bytes
from recbole_bd.serving.recommender import Recommender, excluded_by_user, ids_of, sequences_of
from recbole_bd.system.atomic_write import write_atomically, write_whole

_CHECKED_USERS = 64
_MEASURED_USERS = 1000


@dataclass(frozen=True)
class Vectors:
    """User and item vectors of an inner-product model. The user of a sequential one is the vector of all its items.

    The logit of user u and item i is

        logit(u, i) = users[u] @ items[i]

    Attributes:
        user_ids, item_ids: original ids of the data set, unicode [n], without padding.
        users, items: vectors in the order of the ids, float32 [n, d].
        excluded_starts, excluded_items: items that the test's ranking leaves out, int64. Those of the user in row u are
            the rows `excluded_items[excluded_starts[u] : excluded_starts[u + 1]]` of the items.
    """

    user_ids: np.ndarray
    item_ids: np.ndarray
    users: np.ndarray
    items: np.ndarray
    excluded_starts: np.ndarray
    excluded_items: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of numbers by their names in files."""
        return {
            "user_embedding": self.users,
            "item_embedding": self.items,
            "excluded_starts": self.excluded_starts,
            "excluded_items": self.excluded_items,
        }


def vectors_of(trained: Trained) -> Vectors:
    """Compute the user and item vectors of a model, such as the output of its graph convolutions.

    Raises:
        ExportError: the model's logits are not inner products.
    """
    role, dataset = trained.role, trained.split.dataset
    with role.scoring(), role.at(WHOLE):
        found = role.embeddings()
    if found is None:
        name = trained.about["model"]
        able = {"onnx": name not in NOT_WRITTEN, "recbole": is_recboles(name)}
        others = " or ".join(f"--format={form}" for form, is_able in able.items() if is_able)
        raise ExportError(f"{name} is not an inner product of user and item vectors: use {others}")
    user_ids, item_ids = (ids_of(dataset, field) for field in (dataset.uid_field, dataset.iid_field))
    users, items = (table[1:].float().cpu().numpy() for table in found)
    excluded = excluded_by_user(trained.split)
    return Vectors(
        np.array(user_ids),
        np.array(item_ids),
        np.ascontiguousarray(users),
        np.ascontiguousarray(items),
        excluded.starts[1:].numpy(),
        excluded.items.numpy() - 1,
    )


def export_npz(trained: Trained, folder: Path, count: int) -> list[Path]:
    """Write `ROLE.npz`: `user_ids`, `item_ids`, and the arrays of `Vectors`."""
    vectors = vectors_of(trained)
    path = folder / f"{trained.role.name}.npz"
    arrays: dict[str, Any] = {"user_ids": vectors.user_ids, "item_ids": vectors.item_ids, **vectors.arrays()}
    write_atomically(path, lambda stream: np.savez(stream, **arrays))
    return [path]


def export_safetensors(trained: Trained, folder: Path, count: int) -> list[Path]:
    """Write `ROLE.safetensors` with the arrays of `Vectors`, and a JSON file with the ids of their rows.

    Raises:
        ExportError: the model's logits are not inner products.
        InstallationError: safetensors is not installed.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise InstallationError('--format=safetensors needs safetensors: pip install "recbole-bd[export]"') from error
    vectors = vectors_of(trained)
    path, ids = (folder / f"{trained.role.name}.safetensors{ending}" for ending in ("", ".ids.json"))
    about = {name: trained.about[name] for name in ("model", "role", "method", "dataset", "fingerprint")}
    write_whole(path, save(vectors.arrays(), metadata=about))
    _write_json(ids, {"users": vectors.user_ids.tolist(), "items": vectors.item_ids.tolist()})
    return [path, ids]


def export_onnx(trained: Trained, folder: Path, count: int) -> list[Path]:
    """Write `ROLE.onnx`, which gives the best `count` items, and two files to use it with.

    A JSON file maps inner ids to original ids. An npz file has the items that the test's ranking leaves out: those of
    user u are `items[starts[u] : starts[u + 1]]`, int64, in inner ids. For a sequential model, whose ranking leaves
    out none, it has in the same form the sequence of each user, in order of time.
    """
    role, split = trained.role, trained.split
    recommender = Recommender(role, split, count)
    known = recommender.excluded_items(torch.arange(1, min(split.n_users, _CHECKED_USERS + 1)))
    sequences, excluded = sequences_of(role), recommender.excluded
    of_users = "excluded" if sequences is None else "sequences"
    path, ids, lists = (folder / f"{role.name}.onnx{ending}" for ending in ("", ".ids.json", f".{of_users}.npz"))
    write_whole(path, onnx_bytes(role, recommender.count, known))
    arrays = {"starts": excluded.starts.numpy(), "items": excluded.items.numpy()}
    if sequences is not None:
        arrays = {
            "starts": np.append(sequences.starts.numpy(), len(sequences.items)),
            "items": sequences.items.numpy(),
        }
    write_atomically(lists, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]
    dataset = split.dataset
    users = {name: number for number, name in enumerate(ids_of(dataset, dataset.uid_field), start=1)}
    _write_json(ids, {"users": users, "items": [None, *ids_of(dataset, dataset.iid_field)]})
    return [path, ids, lists]


def export_recbole(trained: Trained, folder: Path, count: int) -> list[Path]:
    """Write `ROLE-recbole.pth`, which `recbole.quick_start.load_data_and_model` of RecBole 1.2.1 reads.

    Raises:
        ExportError: the model is not RecBole's, which finds none by another package's name.
    """
    if not is_recboles(trained.about["model"]):
        raise ExportError(f"{trained.about['model']} is not a model of RecBole: use another format than recbole")
    path = folder / f"{trained.role.name}-recbole.pth"
    snapshot = take_snapshot(trained.role.model)
    content = {
        "config": recbole_config(trained.role),
        "epoch": 0,
        "cur_step": 0,
        "best_valid_score": trained.valid.get(str(trained.role.config["valid_metric"]).lower(), 0.0),
        "state_dict": snapshot.state,
        "other_parameter": snapshot.other,
        "optimizer": {},
    }
    write_atomically(path, lambda stream: torch.save(content, stream))
    return [path]


def recbole_config(role: Role) -> Config:
    """Copy a role's settings into RecBole's own Config, on the CPU, which is unpickled without this package.

    The path of the data is absolute, because RecBole reads the data from there.
    """
    settings = role.config.final_config_dict
    foreign = options_unknown_to_recbole()
    plain = {key: value for key, value in settings.items() if key not in foreign}
    here = {"device": torch.device("cpu"), "use_gpu": False, "data_path": absolute(plain["data_path"])}
    config = Config.__new__(Config)
    own = {name: value for name, value in vars(role.config).items() if not name.startswith("_")}
    config.__dict__.update(own, final_config_dict={**plain, **here})
    for name in ("external_config_dict", "variable_config_dict", "internal_config_dict"):
        config.__dict__[name] = {key: value for key, value in own[name].items() if key in plain}
    return config


FORMATS: dict[str, Callable[[Trained, Path, int], list[Path]]] = {
    "npz": export_npz,
    "safetensors": export_safetensors,
    "onnx": export_onnx,
    "recbole": export_recbole,
}


def export_index(trained: Trained, folder: Path, count: int) -> tuple[Path, float]:
    """Write an HNSW index of the item vectors for approximate nearest-neighbor search.

    Args:
        trained: an inner-product model.
        folder: receives `ROLE.hnsw.faiss`, whose numbers are the rows of `ROLE.npz`.
        count: cut-off of the recall.

    Returns:
        The file, and the recall of the index in [0, 1]: the mean share of the exact `count` best items that it finds.
        The mean is over up to 1,000 users, without excluded items.

    Raises:
        ExportError: the model's logits are not inner products.
        InstallationError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise InstallationError('--index=hnsw needs faiss: pip install "recbole-bd[export]"') from error
    vectors = vectors_of(trained)
    index = faiss.IndexHNSWFlat(vectors.items.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 200, max(128, 2 * count)
    index.add(vectors.items)
    path = folder / f"{trained.role.name}.hnsw.faiss"
    write_whole(path, faiss.serialize_index(index).tobytes())
    count = min(count, len(vectors.items))
    users = vectors.users[np.linspace(0, len(vectors.users) - 1, min(_MEASURED_USERS, len(vectors.users))).astype(int)]
    found = index.search(users, count)[1]
    exact = np.argpartition(-(users @ vectors.items.T), count - 1, axis=1)[:, :count]
    recall = np.mean([len(np.intersect1d(*rows)) / count for rows in zip(found, exact, strict=True)])
    return path, float(recall)


def _write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, ensure_ascii=False))
