"""The model card, which is written beside the exported files."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_bd import __version__
from recbole_bd.backbones.names import ARMS, DISTILLED, SEPARATE
from recbole_bd.runs.trained_model import Trained

# Code that loads each format; `{name}` is the file.
_USES = {
    "npz": """\
import numpy
model = numpy.load("{name}")
user = numpy.flatnonzero(model["user_ids"] == "USER")[0]
scores = model["user_embedding"][user] @ model["item_embedding"].T
best = model["item_ids"][scores.argsort()[::-1][:10]]""",
    "safetensors": """\
import json, safetensors.numpy
model, ids = safetensors.numpy.load_file("{name}"), json.load(open("{name}.ids.json"))
scores = model["user_embedding"][ids["users"].index("USER")] @ model["item_embedding"].T
best = [ids["items"][row] for row in scores.argsort()[::-1][:10]]""",
    "onnx": """\
import json, numpy, onnxruntime
ids, session = json.load(open("{name}.ids.json")), onnxruntime.InferenceSession("{name}")
known = numpy.array([[0]])  # numbers of items not to recommend, a row per user, padded with 0
items, scores = session.run(None, {{"users": numpy.array([ids["users"]["USER"]]), "excluded": known}})
best = [ids["items"][number] for number in items[0]]""",
    "recbole": """\
from recbole.quick_start import load_data_and_model
config, model, dataset, train_data, valid_data, test_data = load_data_and_model("{name}")""",
    "faiss": """\
import faiss
index = faiss.read_index("{name}")
scores, rows = index.search(user_vectors, 10)  # rows of item_embedding""",
}


def model_card(
    trained: Trained, files: Mapping[str, str], result: Mapping[str, Any] | None, notes: Sequence[str]
) -> str:
    """Describe an exported model in Markdown: origin, quality, and code to load it.

    Args:
        trained: the model.
        files: name of the main file by format: `npz`, `safetensors`, `onnx`, `recbole`, `faiss`.
        result: content of the run's `result.json`; None if the model was exported without its run folder.
        notes: lines to add, such as the recall of an index.
    """
    about, role, split = trained.about, trained.role, trained.split
    statistics = split.statistics()
    size = 4 * role.parameter_count
    lines = [
        f"# {about['model']}, the {role.name} of {about['method']} on {about['dataset']}",
        "",
        f"Exported by recbole-bd {__version__}.",
        "",
        "| | |",
        "|---|---|",
        f"| model | {about['model']}, {role.parameter_count:,} parameters, {size / 2**20:.2f} MiB in float32 |",
        f"| method | {about['method']}, role {role.name} |",
        f"| data | {about['dataset']}: {statistics['users']:,} users, {statistics['items']:,} items, "
        f"{statistics['split']['train']:,} training interactions; fingerprint {about['fingerprint']} |",
    ]
    if result is not None:
        lines += [
            f"| run | seed {result['seed']}, configuration {result['config_hash'][:12]} |",
            f"| command | `{result['command']}` |",
        ]
    lines += ["", "## Quality", "", *_quality(trained, result), "", "Scores are logits, not probabilities.", ""]
    lines += [f"- {note}" for note in notes] + [""] * bool(notes)
    lines += ["## How to load", ""]
    for form, name in files.items():
        lines += [f"`{name}`", "", "```python", _USES[form].format(name=name), "```", ""]
    return "\n".join(lines)


def _quality(trained: Trained, result: Mapping[str, Any] | None) -> list[str]:
    if result is None or trained.role.name not in result:
        arms: dict[str, Any] = {"validation": trained.valid}
        arms = {name: metrics for name, metrics in arms.items() if metrics}
        title = "part"
    else:
        found = result[trained.role.name]
        kept = DISTILLED if DISTILLED in found else SEPARATE
        names = {kept: f"{kept} (this model)"}
        arms = {names.get(arm, arm): found[arm]["test"] for arm in ARMS if found.get(arm)}
        title = "test, full ranking"
    if not arms:
        return ["Not measured."]
    metrics = list(next(iter(arms.values())))
    rows = [
        f"| {name} | " + " | ".join(f"{values[one]:.4f}" for one in metrics) + " |" for name, values in arms.items()
    ]
    return [f"| {title} | {' | '.join(metrics)} |", "|---|" + "---:|" * len(metrics), *rows]
