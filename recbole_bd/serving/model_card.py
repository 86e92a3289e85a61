"""The model card, which is written beside the exported files."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_bd import __version__
from recbole_bd.backbones.names import ARMS, DISTILLED, SEPARATE
from recbole_bd.data.split import Split
from recbole_bd.runs.trained_model import Trained
from recbole_bd.serving.recommender import sequences_of

FULL = "full"  # mode of RecBole's evaluation that ranks all items

# Code that loads each format; `{name}` is the file.
_USES = {
    "npz": """\
import numpy
model = numpy.load("{name}")
user = numpy.flatnonzero(model["user_ids"] == "USER")[0]
scores = model["user_embedding"][user] @ model["item_embedding"].T
start, end = model["excluded_starts"][user : user + 2]
scores[model["excluded_items"][start:end]] = -numpy.inf
best = model["item_ids"][scores.argsort()[::-1][:10]]""",
    "safetensors": """\
import json, numpy, safetensors.numpy
model, ids = safetensors.numpy.load_file("{name}"), json.load(open("{name}.ids.json"))
user = ids["users"].index("USER")
scores = model["user_embedding"][user] @ model["item_embedding"].T
start, end = model["excluded_starts"][user : user + 2]
scores[model["excluded_items"][start:end]] = -numpy.inf
best = [ids["items"][row] for row in scores.argsort()[::-1][:10]]""",
    "onnx": """\
import json, numpy, onnxruntime
ids, session = json.load(open("{name}.ids.json")), onnxruntime.InferenceSession("{name}")
user, excluded = ids["users"]["USER"], numpy.load("{name}.excluded.npz")
start, end = excluded["starts"][user : user + 2]
known = excluded["items"][start:end]  # numbers of items not to recommend
known = numpy.append(known, 0)[None]  # a row per user, padded with 0
items, scores = session.run(None, {{"users": numpy.array([user]), "excluded": known}})
best = [ids["items"][number] for number in items[0]]""",
    "onnx of sequences": """\
import json, numpy, onnxruntime
ids, session = json.load(open("{name}.ids.json")), onnxruntime.InferenceSession("{name}")
sequences = numpy.load("{name}.sequences.npz")
user = ids["users"]["USER"]
start, end = sequences["starts"][user : user + 2]
last = sequences["items"][start:end][-{length}:]  # or any numbers of items, in order of time
given = {{
    "users": numpy.array([user]),
    "sequences": numpy.pad(last, (0, {length} - len(last)))[None],
    "lengths": numpy.array([len(last)]),
    "excluded": numpy.array([[0]]),  # numbers of items not to recommend: a row per user, padded with 0
}}
items, scores = session.run(None, {{one.name: given[one.name] for one in session.get_inputs()}})
best = [ids["items"][number] for number in items[0]]""",
    "recbole": """\
# Where RecBole itself runs: this imports ray, and RecBole's `torch.load` fails from torch 2.6 on.
from recbole.quick_start import load_data_and_model
config, model, dataset, train_data, valid_data, test_data = load_data_and_model("{name}")""",
    "faiss": """\
import faiss
index = faiss.read_index("{name}")
scores, rows = index.search(user_vectors, 10)  # rows of item_embedding; ask for more, then leave out the excluded""",
}

# Lists by RecBole's own functions, which work on the data of a full ranking.
_RECBOLE_LISTS = """
from recbole.utils.case_study import full_sort_topk
user = dataset.token2id(dataset.uid_field, ["USER"])  # {who}
scores, items = full_sort_topk(user, model, test_data, k=10, device=config["device"])
best = dataset.id2token(dataset.iid_field, items.cpu())[0]"""

# RecBole's sequential data begins with a user's second interaction.
_LONG_ENOUGH = "a user of the test part with three interactions or more"

# Difference between the lists of a sequential model and the rankings of the test.
_NEXT_ITEMS = (
    "The model recommends what comes next. The test ranks after a user's training and validation items; lists of "
    "today begin after all items that the data has."
)


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
    sequences = sequences_of(role)
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
    notes = [*notes, *_untrained(split)]
    lines += [f"- {note}" for note in notes] + [""] * bool(notes)
    lines += ["## How to load", "", _protocol(trained), ""] + ([] if sequences is None else [_NEXT_ITEMS, ""])
    for form, name in files.items():
        kind, length = ("onnx of sequences", sequences.length) if form == "onnx" and sequences else (form, 0)
        use = _USES[kind].format(name=name, length=length)
        if form == "recbole" and _test_mode(trained) == FULL:
            use += _RECBOLE_LISTS.format(who="a user of the test part" if sequences is None else _LONG_ENOUGH)
        lines += [f"`{name}`", "", "```python", use, "```", ""]
    return "\n".join(lines)


def _test_mode(trained: Trained) -> str:
    """How the test ranks: `full`, or the name of sampled candidates such as `uni100`."""
    mode = trained.role.config["eval_args"]["mode"]
    return mode["test"] if isinstance(mode, Mapping) else mode


def _protocol(trained: Trained) -> str:
    """Say which items lists leave out, and whether the test does the same."""
    left_out = "a user's training and validation items"
    if trained.split.repeatable:
        left_out = "no items, because users interact with the same item again (`repeatable: True`)"
    if (mode := _test_mode(trained)) == FULL:
        return f"Lists leave out {left_out}, as the test does."
    return f"Lists rank all items and leave out {left_out}. The test above ranks candidates of mode {mode} only."


def _untrained(split: Split) -> list[str]:
    """A note on users and items without training interactions; none if there are none."""
    counts = {which: int((~trained[1:]).sum()) for which, trained in zip(("user", "item"), split.trained, strict=True)}
    found = [f"{count:,} {which}{'s' * (count != 1)}" for which, count in counts.items() if count]
    return [f"Without training interactions, so with scores that mean little: {', '.join(found)}."] if found else []


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
        mode = _test_mode(trained)
        title = "test, full ranking" if mode == FULL else f"test, mode {mode}"
    if not arms:
        return ["Not measured."]
    metrics = list(next(iter(arms.values())))
    rows = [
        f"| {name} | " + " | ".join(f"{values[one]:.4f}" for one in metrics) + " |" for name, values in arms.items()
    ]
    return [f"| {title} | {' | '.join(metrics)} |", "|---|" + "---:|" * len(metrics), *rows]
