"""The commands `recommend`, `export` and `serve-bench`."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from recbole_bd.backbones.names import ROLES
from recbole_bd.config.arguments import Arguments, at_least_one
from recbole_bd.errors import ConfigError
from recbole_bd.runs.records import read_result
from recbole_bd.runs.trained_model import Trained, load_trained, model_files
from recbole_bd.serving import latency
from recbole_bd.serving.export import FORMATS, HNSW, export_index
from recbole_bd.serving.model_card import model_card
from recbole_bd.serving.recommend import ALL, UNKNOWN, read_users, recommend, shortened, writer_of
from recbole_bd.serving.recommender import EXCLUDED, Recommender
from recbole_bd.system.atomic_write import write_whole

MODEL_CARD = "MODEL_CARD.md"


def recommend_command(words: Sequence[str]) -> str:
    """Run `recbole-bd recommend`.

    Args:
        words: the command line after `recommend`.

    Returns:
        The text to print.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    parser = _arguments("recommend")
    parser.add_argument("--users", default=ALL)
    parser.add_argument("-k", "--k", type=at_least_one, default=10)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--unknown", choices=UNKNOWN, default="skip")
    parser.add_argument("--exclude", choices=EXCLUDED, default="train")
    options = parser.parse_intermixed_args(words)
    if options.out is None:
        raise ConfigError("recommend: --out=FILE is missing: name a .csv, .jsonl or .parquet file")
    writer_of(options.out)  # reports a wrong ending before the data is loaded
    trained = _load_chosen(options, parser.command)
    dataset = trained.split.dataset
    users = None if options.users == ALL else read_users(Path(options.users), dataset.uid_field)
    recommender = Recommender(trained.role, trained.split, options.k, options.exclude)
    summary = recommend(recommender, trained.split, users, options.out, options.unknown)
    lines = [f"{summary.users} users, {recommender.count} items each by the {trained.role.name}: {options.out}"]
    if summary.unknown:
        done = "skipped" if options.unknown == "skip" else "given popular items"
        lines.append(f"{len(summary.unknown)} users are not in the data and were {done}: {shortened(summary.unknown)}")
    return "\n".join(lines)


def export_command(words: Sequence[str]) -> str:
    """Run `recbole-bd export`; see `recommend_command`."""
    parser = _arguments("export")
    parser.add_argument("--format", dest="formats", default=None)
    parser.add_argument("--index", choices=[HNSW])
    parser.add_argument("-k", "--k", type=at_least_one, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_intermixed_args(words)
    formats = options.formats.split(",") if options.formats else []
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ConfigError(f"export: --format={unknown[0]}: the formats are {', '.join(FORMATS)}")
    if not formats and not options.index:
        raise ConfigError(f"export: --format=NAME is missing: {', '.join(FORMATS)}, or several separated by commas")
    trained = _load_chosen(options, parser.command, device="cpu")
    folder = options.out or trained.path.parent / "export" / trained.role.name
    written = {name: FORMATS[name](trained, folder, options.k) for name in formats}
    notes = []
    if options.index:
        path, recall = export_index(trained, folder, options.k)
        written["faiss"] = [path]
        notes.append(f"The index `{path.name}` finds {recall:.1%} of the exact {options.k} best items.")
    result = read_result(trained.path.parent) if (trained.path.parent / "result.json").is_file() else None
    files = {name: paths[0].name for name, paths in written.items()}
    write_whole(folder / MODEL_CARD, model_card(trained, files, result, notes))
    return "\n".join([*notes, *(str(path) for paths in written.values() for path in paths), str(folder / MODEL_CARD)])


def serve_bench_command(words: Sequence[str]) -> str:
    """Run `recbole-bd serve-bench`; see `recommend_command`."""
    parser = Arguments("serve-bench")
    parser.add_argument("run", nargs="?")
    parser.add_argument("-k", "--k", type=at_least_one, default=10)
    parser.add_argument("--batch", default="1,256")
    parser.add_argument("--requests", type=at_least_one, default=200)
    parser.add_argument("--threads", type=at_least_one)
    options = parser.parse_intermixed_args(words)
    try:
        batches = [at_least_one(size) for size in options.batch.split(",")]
    except ArgumentTypeError as error:
        raise ConfigError(f"serve-bench: --batch={options.batch}: {error}; separate several sizes by commas") from error
    if options.threads:
        torch.set_num_threads(options.threads)
    files = model_files(_require_run(options.run, "serve-bench"))
    models = [load_trained(path) for path in files.values()]
    record = latency.measure(models, options.k, batches, options.requests)
    paths = latency.write_record(record, models[0].path.parent)
    threads = record["machine"]["threads"]
    about = f"top {options.k}, {options.requests} requests of each size, {threads} thread{'s' * (threads > 1)}"
    return "\n".join([about, latency.bench_table(record), *_compression(record), *map(str, paths)])


def _compression(record: dict[str, Any]) -> list[str]:
    """The compression in words; no lines if there is only one model."""
    if not {"teacher", "student"} <= record["models"].keys():
        return []
    teacher, student = (record["models"][role] for role in ("teacher", "student"))
    faster = [
        f"{teacher['batches'][size]['p50_ms'] / student['batches'][size]['p50_ms']:.1f} times as fast at {size}"
        for size in student["batches"]
    ]
    share = student["bytes"] / teacher["bytes"]
    return [f"The student has {share:.1%} of the teacher's bytes and is {', '.join(faster)} by the median."]


def _arguments(command: str) -> Arguments:
    parser = Arguments(command)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--role", choices=ROLES)
    return parser


def _require_run(run: str | None, command: str) -> str:
    if run is None:
        raise ConfigError(f"{command} takes a run folder or a model's file: recbole-bd {command} saved/RUN")
    return run


def _load_chosen(options: Any, command: str, device: str | None = None) -> Trained:
    """Load the chosen model: the one in a file, or that of `--role`. A pair without `--role` gives the student."""
    run = _require_run(options.run, command)
    files = model_files(run)
    role = options.role or ("student" if "student" in files else next(iter(files)))
    if role not in files:
        raise ConfigError(f"{run} has no {role}, only {', '.join(files)}")
    return load_trained(files[role], device)
