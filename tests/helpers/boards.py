"""Run folders as a run leaves them, without running anything: for the readers of run folders."""

import json
import zlib
from pathlib import Path

import numpy as np
import yaml

from recbole_bd.leaderboard.tables import Board, Row

ARMS = ("separate", "continued", "distilled")


def write_run(
    parent: Path,
    method: str,
    seed: int,
    values: dict[str, float] | None = None,
    learners: tuple[str, ...] = (),
    name: str | None = None,
    users: int = 40,
    **changes,
) -> Path:
    """Write the folder of a run.

    Args:
        parent: where.
        method: its name.
        seed: of the run.
        values: mean NDCG@5 by `role/arm`; arms left out are absent.
        learners: roles that learn; none for a baseline.
        name: of the folder.
        users: number of test users.
        changes: keys of result.json; `settings`: keys of config.yaml.
    """
    folder = parent / (name or f"{method}-{seed}")
    folder.mkdir(parents=True)
    settings = {"model": method, "seed": seed, "eval_args": {"mode": "full"}, **changes.pop("settings", {})}
    hashes = {"config": f"{method}-{seed}-{settings}", "settings": f"{method}-{settings.get('temperature')}"}
    hashes |= {"teacher": "t", "student": "s", "control": "c", "model": method}
    result = {
        "schema": 2, "status": "finished", "method": method, "dataset": "toys", "seed": seed, "valid_metric": "ndcg@5",
        "learners": list(learners), "config_hash": hashes["config"], "hashes": hashes,
        "command": f"recbole-bd run --model={method} --seed={seed}", "versions": {"recbole_bd": "0.1.0"},
        "data": {"users": users, "items": 9, "interactions": 80, "split": {"train": 60, "valid": 10, "test": 10},
                 "fingerprint": f"f{seed}"},
        "timing": {"total_s": 1.5},
    }  # fmt: skip
    per_user = {}
    rows = ["stage,role,epoch,ndcg@5,hit@5"]
    for key, mean in (values or {}).items():
        role, arm = key.split("/")
        result.setdefault(role, {"model": "BPR", "parameters": 10 if role == "student" else 80})
        metrics = {"ndcg@5": mean, "hit@5": round(mean * 1.5, 6)}
        result[role][arm] = {"valid": metrics, "test": metrics, "best_epoch": 1}
        noise = np.random.default_rng(zlib.crc32(f"{method} {key}".encode())).normal(0, 0.1, users)
        for metric, value in metrics.items():
            per_user[f"{key}/{metric}"] = value + noise - noise.mean()
        rows += [f"{arm},{role},{epoch},{mean * (epoch + 1) / 3},{mean * (epoch + 2) / 3}" for epoch in range(3)]
    result |= changes
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    if per_user:
        np.savez_compressed(folder / "per_user.npz", users=np.array([f"u{i}" for i in range(users)]), **per_user)
    return folder


def write_serving(folder: Path, **milliseconds: float) -> None:
    """Write what `serve-bench` leaves in a run folder.

    Args:
        folder: the run folder.
        milliseconds: by role, the median of a request of one user; one of 64 users takes 64 times as long.
    """
    batches = {role: {"1": {"p50_ms": one}, "64": {"p50_ms": 64 * one}} for role, one in milliseconds.items()}
    machine = {"device": "cpu", "processor": "x86_64", "threads": 2}
    models = {role: {"model": "BPR", "batches": found} for role, found in batches.items()}
    (folder / "serving.json").write_text(json.dumps({"k": 10, "machine": machine, "models": models}))


def two_roles(teacher: float, student: float, gain: float = 0.0) -> dict[str, float]:
    """Values of a method's run: both roles separate and continued, and `gain` more when distilled."""
    means = {"teacher": teacher, "student": student}
    more = {"separate": 0.0, "continued": 0.01, "distilled": 0.01 + gain}
    return {f"{role}/{arm}": round(mean + more[arm], 6) for role, mean in means.items() for arm in ARMS}


def write_board(parent: Path) -> list[Path]:
    """A small leaderboard: two baselines, two methods, two seeds, and an entry that failed."""
    folders = []
    for seed, shift in ((1, 0.0), (2, 0.01)):
        folders.append(write_run(parent, "Pop", seed, {"model/separate": 0.1 + shift}))
        folders.append(write_run(parent, "BPR", seed, {"model/separate": 0.3 + shift}))
        folders.append(write_run(parent, "BD", seed, two_roles(0.3 + shift, 0.2, 0.05), ("teacher", "student")))
        one_way = {k: v for k, v in two_roles(0.3 + shift, 0.2, 0.02).items() if k not in ("teacher/continued",)}
        folders.append(write_run(parent, "RD", seed, one_way, ("student",)))
    error = "the student's loss is not finite"
    folders.append(write_run(parent, "DE", 1, None, ("student",), status="failed", error=error))
    return folders


def by_name(board: Board) -> dict[str, Row]:
    """The rows of a leaderboard by name."""
    return {row.name: row for row in board.rows}
