"""`recbole-bd serve-bench`: latency and size of teacher and student when they answer requests."""

import io
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_bd.backbones.stored import stored_bytes
from recbole_bd.runs.folder import machine, versions
from recbole_bd.runs.plots import empty_figure
from recbole_bd.runs.text_table import grid
from recbole_bd.runs.trained_model import Trained
from recbole_bd.serving.names import MEASURED
from recbole_bd.serving.recommender import Recommender
from recbole_bd.system.atomic_write import write_whole

_COLOURS = {"teacher": "#000000", "student": "#0072B2", "model": "#E69F00"}


def measure(
    models: Sequence[Trained], count: int = 10, batches: Sequence[int] = (1, 256), requests: int = 200, seed: int = 2020
) -> dict[str, Any]:
    """Time requests for the best items of random users.

    A request scores all items, excludes those that the test's ranking leaves out and sorts the best. The models take
    turns, so that other load on the machine affects all of them alike. A part that does not depend on the user, such as
    a graph convolution, is computed once beforehand, as a server would do.

    Args:
        models: models of one run.
        count: items per user.
        batches: sizes of requests, in users.
        requests: number of timed requests of each size. A tenth as many run before them without being timed.
        seed: seed of the random users, which are the same for every model.

    Returns:
        A record with `k` (`count`, or the number of items if that is smaller), `requests`, `excluded` (one of
        `EXCLUDED`), `machine`, `versions` and `models`. By role, `models` holds `model`, `parameters`, `bytes`,
        `vector_bytes` and `batches`. `bytes` counts the model's state in memory, of a closed-form model what it
        stores. `vector_bytes` counts its user and item vectors, or is None if its logit is not an inner product. By
        size of request, `batches` holds `p50_ms`, `p95_ms` and `p99_ms` of a request, and `users_per_second`.
    """
    recommenders = {one.role.name: Recommender(one.role, one.split, count) for one in models}
    seconds: dict[str, dict[int, list[float]]] = {name: {size: [] for size in batches} for name in recommenders}
    generator = torch.Generator().manual_seed(seed)
    untimed = max(1, requests // 10)
    with ExitStack() as scopes:
        for one in models:
            scopes.enter_context(one.role.scoring())
        for size in batches:
            for number in range(untimed + requests):
                users = torch.randint(1, models[0].split.n_users, (size,), generator=generator)
                for name, recommender in recommenders.items():
                    began = time.perf_counter()
                    recommender.top(users)
                    if number >= untimed:
                        seconds[name][size].append(time.perf_counter() - began)
    return {
        "k": min(recommender.count for recommender in recommenders.values()),
        "requests": requests,
        "excluded": MEASURED,
        "machine": machine(models[0].role.config),
        "versions": versions(),
        "models": {one.role.name: _record(one, seconds[one.role.name]) for one in models},
    }


def _record(trained: Trained, seconds: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    role = trained.role
    with role.scoring():
        vectors = role.embeddings()
    return {
        "model": trained.about["model"],
        "parameters": role.parameter_count,
        "bytes": stored_bytes(role.model),
        "vector_bytes": None if vectors is None else sum(4 * table.numel() for table in vectors),
        "batches": {str(size): _latency(size, values) for size, values in seconds.items()},
    }


def _latency(size: int, seconds: Sequence[float]) -> dict[str, float]:
    milliseconds = {f"p{share}_ms": float(np.percentile(seconds, share)) * 1000 for share in (50, 95, 99)}
    return {name: round(value, 4) for name, value in milliseconds.items()} | {
        "users_per_second": round(size * len(seconds) / sum(seconds), 1)
    }


def bench_table(record: Mapping[str, Any]) -> str:
    """Format a record of `measure` as a text table, with a row for each model and size of request."""
    header = ["role", "model", "MiB", "users", "p50 ms", "p95 ms", "p99 ms", "users/s"]
    rows = []
    for role, about in record["models"].items():
        for index, (size, values) in enumerate(about["batches"].items()):
            named = [role, about["model"], f"{about['bytes'] / 2**20:.2f}"] if index == 0 else [""] * 3
            timed = [f"{values[f'p{share}_ms']:.3f}" for share in (50, 95, 99)]
            rows.append([*named, size, *timed, f"{values['users_per_second']:,.0f}"])
    return grid(header, rows, left=(0, 1))


def bench_figure(record: Mapping[str, Any]) -> bytes:
    """Draw a record of `measure` as a PNG figure: size of each model, and latency by size of request."""
    models = record["models"]
    sizes = list(next(iter(models.values()))["batches"])
    figure = empty_figure(figsize=(3 * (1 + len(sizes)), 3.2))
    axes = figure.subplots(1, 1 + len(sizes), squeeze=False)[0]
    colours = [_COLOURS[role] for role in models]
    axes[0].bar(list(models), [about["bytes"] / 2**20 for about in models.values()], color=colours)
    axes[0].set_title("size, MiB")
    for axis, size in zip(axes[1:], sizes, strict=True):
        found = [about["batches"][size] for about in models.values()]
        middle = [one["p50_ms"] for one in found]
        tail = [one["p99_ms"] - one["p50_ms"] for one in found]
        axis.bar(list(models), middle, color=colours, yerr=[[0.0] * len(found), tail], ecolor="#D55E00", capsize=4)
        axis.set_title(f"{size} user{'' if size == '1' else 's'}: p50 to p99, ms")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()


def write_record(record: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a record of `measure` into a folder: `serving.json`, `serving.txt`, `serving.png`.

    Returns:
        Paths of the three files.
    """
    content: dict[str, str | bytes] = {
        "serving.json": json.dumps(record, indent=2),
        "serving.txt": bench_table(record) + "\n",
        "serving.png": bench_figure(record),
    }
    for name, text in content.items():
        write_whole(folder / name, text)
    return [folder / name for name in content]
