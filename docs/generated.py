"""Sphinx extension: text that is made from the package while the pages are built, so that it cannot grow old.

A line `<!-- generated: NAME ARGUMENT -->` of a page is replaced by what the function of that name returns.
"""

import os
import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from recbole.utils import InputType

from recbole_bd.backbones.registry import (
    general_recommenders,
    is_sequential,
    recommender_class,
    recommenders,
    require_teachable,
    sequential_recommenders,
)
from recbole_bd.backbones.scoring.families import FAMILIES, family_of_class, has_embeddings
from recbole_bd.backbones.scoring.inner_products import InnerProduct
from recbole_bd.backbones.scoring.pair_networks import PairNetwork
from recbole_bd.backbones.traits import NO_ROLE, OTHER_MODEL, OTHER_MODEL_BY_PAIRS, traits_of_class
from recbole_bd.cli.configs import purpose, shipped_files
from recbole_bd.cli.main import COMMANDS, overview
from recbole_bd.cli.option_groups import option_groups
from recbole_bd.config.known_options import backbone_options, recbole_options
from recbole_bd.config.option import Option
from recbole_bd.config.property_files import package_options, properties_path
from recbole_bd.config.training_settings import reads_negatives
from recbole_bd.config.yaml_text import write_value
from recbole_bd.errors import RoleError
from recbole_bd.model import MODULES

_PLACE = re.compile(r"^<!-- generated: ([\w-]+)(?: (\S+))? -->$", re.M)
_HELP_WIDTH = "100"


# --- options ---------------------------------------------------------------------------------------------------------
def options(file: str) -> str:
    """Every option that a shipped file declares, under the titles of its groups."""
    shown: list[str] = []
    for title, members in option_groups(properties_path(*file.split("/"))):
        if title:
            shown.append(f"### {escaped(title)}")
        shown += [_confval(option, linked=_declared_first(file, option.key)) for option in members]
    return "\n\n".join(shown)


def recbole() -> str:
    """RecBole's options that a run may set and that this package leaves as they are."""
    return _table(option for key, option in recbole_options().items() if key not in package_options())


def of_models() -> str:
    """The options of each model."""
    shown = []
    for name in recommenders():
        if found := backbone_options(name):
            shown += [f"### {name}", _table(found.values())]
    return "\n\n".join(shown)


def _declared_first(file: str, key: str) -> bool:
    """Whether a file is the first on the page that declares an option: a name may be linked once."""
    files = ["overall.yaml", *(f"model/{method}.yaml" for method in _methods())]
    first = next(name for name in files if key in {o.key for _, g in option_groups(properties_path(name)) for o in g})
    return first == file


def _methods() -> list[str]:
    return ["BD", *(name for name in MODULES if name != "BD")]


def _confval(option: Option, linked: bool) -> str:
    """An option that pages, search and index find by its name; a name may be linked once."""
    facts = f"*{_types(option)}*, default `{_value(option.default)}`"
    if option.range:
        words, _, values = option.range.rstrip(".").partition(": ")
        coded = [f"`{values}`"] if words == "Range" else [f"`{one}`" for one in values.split(", ")]
        facts += f", {words.lower()} {', '.join(coded)}"
    meaning = escaped(option.meaning.replace(option.range, "").strip())
    field = [] if linked else [":no-index:"]
    return "\n".join([f"```{{confval}} {option.key}", *field, "", f"{facts}\\", meaning, "```"])


def _table(found: Iterable[Option]) -> str:
    rows = [(f"`{o.key}`", _types(o), f"`{_value(o.default)}`", escaped(o.meaning)) for o in found]
    return table(("setting", "type", "default", "meaning"), rows)


def _types(option: Option) -> str:
    return escaped(option.type) or "any"


def _value(value: Any) -> str:
    """A value as it is written in a file, in one line."""
    text = "~" if value is None else write_value(value) if not isinstance(value, str) else repr(value)
    return text.strip("'") if re.fullmatch(r"'[\w.@/-]+'", text) else text


# --- backbones -------------------------------------------------------------------------------------------------------
def backbones(kind: str) -> str:
    """One line for each model of a kind, `general` or `sequential`: what it may do, how it is trained and scored."""
    names = sequential_recommenders() if kind == "sequential" else general_recommenders()
    head = ("model", "teaches", "learns", "vectors", "batches divided", "trained on", "scored as", "note")
    return table(head, map(_backbone, names))


def _backbone(name: str) -> tuple[str, ...]:
    kind = recommender_class(name)
    traits = traits_of_class(kind)
    refused = _refusal(name)
    notes = [escaped(refused)] if refused else []
    notes += ["its scores contain noise"] if traits.noisy else []
    notes += [f"its scores contain noise with {_listed(traits.noisy_if)}"] if traits.noisy_if else []
    if not (refused or traits.shares_batches):
        notes.append(_shared(traits))
    learns, vectors = "no" if refused else "yes", "yes" if has_embeddings(kind) else ""
    divided = "" if traits.closed_form else "yes" if traits.shares_batches else "no"
    facts = learns, vectors, divided, _trained_on(name), _kind_of_scores(kind)
    return f"`{name}`", "yes", *facts, "; ".join(notes)


def no_role() -> str:
    """The sequential models that take no role, with the reason."""
    return table(("model", "why it takes no role"), [(f"`{name}`", NO_ROLE[name]) for name in sorted(NO_ROLE)])


def scorings() -> str:
    """One line for each way of scoring, with its models."""
    models: dict[str, list[str]] = {name: [] for name in FAMILIES}
    for name in recommenders():
        models[family_of_class(recommender_class(name)).__name__].append(name)
    others = {OTHER_MODEL.scoring: "models of your own", OTHER_MODEL_BY_PAIRS.scoring: "models of your own by pairs"}
    rows = []
    for name, kind in FAMILIES.items():
        who = [*(f"`{model}`" for model in models[name]), *([others[name]] if name in others else [])]
        if who:
            rows.append((f"`{name}`", ", ".join(who), escaped((kind.__doc__ or "").split("\n")[0])))
    return table(("scoring", "models", "how"), rows)


def _refusal(name: str) -> str:
    """The reason why a model cannot learn in the distillation stage, as a run gives it; empty if it can."""
    try:
        require_teachable(name, "student")
    except RoleError as error:
        return str(error).removeprefix(f"student: {name} ").partition(". Choose")[0]
    return ""


def _shared(traits: Any) -> str:
    return "its loss compares the rows of a batch" if traits.loss_couples_rows else "its loss is a sum over a batch"


def _trained_on(name: str) -> str:
    kind = recommender_class(name)
    if traits_of_class(kind).closed_form:
        return "in closed form"
    if is_sequential(name):
        losses = {None: "`CE` or `BPR`", InputType.POINTWISE: "among all", InputType.PAIRWISE: "with a negative"}
        return f"next items, {losses[getattr(kind, 'input_type', None)]}"
    if not reads_negatives(name):
        return "users"
    return "pairs" if kind.input_type == InputType.PAIRWISE else "labelled pairs"


def _kind_of_scores(kind: type) -> str:
    scoring = family_of_class(kind)
    for base, words in ((InnerProduct, "inner product"), (PairNetwork, "network of pairs")):
        if issubclass(scoring, base):
            return words
    return "row of all items"


# --- commands and files ----------------------------------------------------------------------------------------------
def commands() -> str:
    """The help of each command; the options of `run` are on the page of the configuration."""
    shown = [_block(overview())]
    for name, line in COMMANDS.items():
        parser = import_module(f"recbole_bd.cli.{name.replace('-', '_')}").command_parser()
        text = re.split(r"\n(?=What to run:)", parser.format_help())[0]
        shown += [f"## {name}", f"{line[0].upper()}{line[1:]}.", _block(text)]
    return "\n\n".join(shown)


def files() -> str:
    """The shipped files with what each is for."""
    return table(("file", "what"), [(f"`{name}`", escaped(purpose(path))) for name, path in shipped_files().items()])


# --- text ------------------------------------------------------------------------------------------------------------
def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def escaped(text: str) -> str:
    """A plain text in Markdown: words of the command line as code, and what stands in back-quotes as it is."""
    parts = re.split(r"(`[^`]*`)", re.sub(r"(?<![\w`-])--[\w.=:/-]*\w", r"`\g<0>`", text))
    return "".join(part if part.startswith("`") else re.sub(r"([\\<>*_\[\]$])", r"\\\1", part) for part in parts)


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


def _listed(names: Iterable[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


GENERATORS: dict[str, Callable[..., str]] = {
    "options": options, "recbole": recbole, "of-models": of_models, "backbones": backbones, "no-role": no_role,
    "scorings": scorings, "commands": commands, "files": files,
}  # fmt: skip


def filled(text: str) -> str:
    """A page with its places filled.

    Raises:
        KeyError: a place names no function.
    """
    return _PLACE.sub(lambda match: GENERATORS[match[1]](*filter(None, [match[2]])), text)


def fill(app: Any, page: str, source: list[str]) -> None:
    """Fill the places of a page that Sphinx has read; such a page is made anew in every build."""
    if _PLACE.search(source[0]):
        app.env.note_reread()
        source[0] = filled(source[0])


def setup(app: Any) -> dict[str, bool]:
    """Register the handler above."""
    os.environ["COLUMNS"] = _HELP_WIDTH  # argparse's width of a help
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
