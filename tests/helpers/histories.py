"""Data in order of time, for sequential models: in each user's sequence an item decides the next one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from recbole_bd.data.batches import batch_stream
from recbole_bd.runs.prepare import build_distiller, prepare
from tests.helpers.data import write_inter
from tests.helpers.settings import for_method, make_config

N_ITEMS = 30
CHAINS = {"dataset": "chains", "metrics": ["NDCG"], "topk": [5], "valid_metric": "NDCG@5", "device": "cpu"}
# Settings of small sequential models, at the top level.
SMALL = {
    "embedding_size": 8, "hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1, "num_layers": 1,
    "reranker_CAN_NUM": "10",
}  # fmt: skip

# Settings of a run of a moment.
SHORT = {
    **CHAINS, "epochs": 3, "distill_epochs": 1, "checkpoint_seconds": 0, "refresh_period": 1, "learning_rate": 0.01,
    "train_batch_size": 64, "MAX_ITEM_LIST_LENGTH": 6, "seed": 7, "show_progress": False, "threads": 1,
    "backbones": {
        "GRU4Rec": {
            "teacher": {"embedding_size": 8, "hidden_size": 8}, "student": {"embedding_size": 4, "hidden_size": 4},
        },
        "SASRec": {
            "teacher": {"hidden_size": 8, "inner_size": 8, "n_layers": 1},
            "student": {"hidden_size": 4, "inner_size": 4, "n_layers": 1},
        },
        "BPR": {"teacher": {"embedding_size": 8}, "student": {"embedding_size": 4}},
    },
}  # fmt: skip


def next_items(n_users: int = 60, lengths: tuple[int, int] = (4, 14), seed: int = 0) -> list[tuple[str, str, int]]:
    """Users, items and times: from a random first item on, the next item is a fixed one of the one before."""
    generator = np.random.default_rng(seed)
    after = generator.permutation(N_ITEMS)
    rows = []
    for user in range(n_users):
        item, count = int(generator.integers(N_ITEMS)), int(generator.integers(*lengths))
        times = np.sort(generator.choice(10_000, count, replace=False))
        for time in times:
            rows.append((f"u{user}", f"i{item}", int(time)))
            item = int(after[item])
    return [rows[place] for place in generator.permutation(len(rows))]  # a file need not be in order


def write_chains(folder: Path, **how) -> Path:
    """Write the data set `chains` under a folder, which is returned; its items have a class and a price."""
    write_inter(folder, "chains", next_items(**how), header="user_id:token\titem_id:token\ttimestamp:float")
    items = [f"i{item}\tc{item % 3} c{item % 5}\t{item / 8}" for item in range(N_ITEMS)]
    header = "item_id:token\tclass:token_seq\tprice:float"
    (folder / "chains" / "chains.item").write_text("\n".join([header, *items]) + "\n")
    return folder


def items_in_time(**how) -> dict[str, list[str]]:
    """The items of every user in order of time, from the rows of the file themselves."""
    found: dict[str, list[str]] = {}
    for user, item, _ in sorted(next_items(**how), key=lambda row: row[2]):
        found.setdefault(user, []).append(item)
    return found


# Settings of pairs without dropout, whose methods are compared with their equations.
OF_SCENES = {
    "backbones": {
        "GRU4Rec": {
            "teacher": {"embedding_size": 8, "hidden_size": 8, "dropout_prob": 0.0},
            "student": {"embedding_size": 4, "hidden_size": 4, "dropout_prob": 0.0},
        },
        "CORE": {"teacher": {"embedding_size": 8, "inner_size": 8}, "student": {"embedding_size": 4, "inner_size": 4}},
    },
    "MAX_ITEM_LIST_LENGTH": 6, "train_batch_size": 32, "guide_state": "current", "samples_per_positive": 3,
    "refresh_period": 1, "learning_rate": 0.01,
}  # fmt: skip


def scenes(folder: Path) -> Callable:
    """A function from a teacher, a student and settings to the refreshed method, and the batches of an epoch."""
    write_chains(folder)

    def of(teacher: str, student: str, **more):
        settings = {**CHAINS, **OF_SCENES, "data_path": str(folder), "teacher_model": teacher, "student_model": student}
        config = make_config(for_method({**settings, **more}, more.get("model", "BD")), seed=5)
        split, roles = prepare(config)
        method = build_distiller(config, split, roles)
        method.refresh(0)
        stream = batch_stream({name: role.config for name, role in roles.items()}, split, lambda name: None)
        return method, list(stream)

    return of
