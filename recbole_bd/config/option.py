"""Options declared once: a shipped yaml line `key: default  # (type) Meaning. Range.` is the declaration.

The program reads the comment as well as the value, so help, checks and documentation are one text.
RecBole's own yaml files are written in the same form (without ranges) and are read by the same function.
"""

import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_bd.config.yaml_text import load_yaml, parse_value, write_value
from recbole_bd.errors import ConfigError

_DECLARATION = re.compile(r"^(?P<key>[\w-]+):.*?\s#\s*\((?P<type>[^)]*)\)\s*(?P<meaning>.*?)\s*$")
_INTERVAL = re.compile(r"Range: (?P<left>[\[(])(?P<low>[^,\]]+), (?P<high>[^)\]]+)(?P<right>[\])])\.?")
_CONDITION = re.compile(r"Read with (?P<key>\w+): (?P<values>[^.]+)\.")
_CHOICES = re.compile(r"(?:One|Any) of: (?P<names>[^.]+)\.?$")

# Settings that choose the machine's part in a run: its number of threads, its device among equal ones, the users ranked
# at a time on a GPU. They divide sums differently, so the last bits may differ, as they do on another machine.
ONLY_ROUNDING = {"device", "eval_batch_size", "gpu_id", "threads", "use_gpu"}
# Settings that are in no hash and may differ on resume, because they change no number, up to rounding.
WITHOUT_EFFECT = {
    "checkpoint_dir", "checkpoint_every", "checkpoint_seconds", "checkpoint_split", "config_file", "cuda_graphs",
    "data_path", "dataloaders_save_path", "dataset_save_path", "label", "local_rank", "log_wandb", "loggers",
    "loss_decimal_place", "save_dataloaders", "save_dataset", "show_progress", "single_spec", "state", "wandb_project",
    "warmup_cache", *ONLY_ROUNDING,
}  # fmt: skip


@dataclass(frozen=True)
class Option:
    """One setting.

    Attributes:
        key: name of the setting.
        default: default value; None if there is none.
        type: allowed types as declared, e.g. `int or ~`; empty if none is declared.
        meaning: description, which ends with the range or the choices if there are any.
        source: the file or package that declares the setting.
    """

    key: str
    default: Any
    type: str
    meaning: str
    source: str

    @property
    def range(self) -> str:
        """The range or the choices in words; empty if none are declared."""
        for pattern in (_INTERVAL, _CHOICES):
            if found := pattern.search(self.meaning):
                return found.group(0)
        return ""

    @property
    def choices(self) -> list[str]:
        """Names of which a value, or each member of a list, is one; empty if none are declared."""
        found = _CHOICES.search(self.meaning)
        return [name.strip() for name in found.group("names").split(",")] if found else []

    @property
    def interval(self) -> tuple[str, float, float, str] | None:
        """Left bracket, lower bound, upper bound and right bracket of the range; None if none is declared."""
        if found := _INTERVAL.search(self.meaning):
            return found["left"], float(found["low"]), float(found["high"]), found["right"]
        return None

    @property
    def conditions(self) -> dict[str, list[Any]]:
        """Values of other settings with which this one is read, by key, as `Read with key: value.` declares them."""
        found = _CONDITION.finditer(self.meaning)
        return {one.group("key"): [parse_value(text) for text in one.group("values").split(", ")] for one in found}

    @property
    def types(self) -> set[str]:
        """Names of the types that a value may have; `none` is null."""
        return _allowed_types(self)

    def _example(self, value: Any, where: str) -> str:
        """An example for a value of a wrong type: itself as a list, or the default; empty where that is a block."""
        if "list" in self.types and isinstance(value, str | int | float) and not isinstance(value, bool):
            return f"; write [{value}]"
        if self.default in (None, "") or isinstance(self.default, list | dict):
            return ""
        return f"; write e.g. {where}={write_value(self.default)}, the default"

    def check(self, value: Any, where: str) -> None:
        """Check a value's type and range.

        Args:
            value: what the user gave.
            where: the key as the user wrote it, e.g. `student.learning_rate`.

        Raises:
            ConfigError: the value is not allowed; the message names the key, the value and what is allowed.
        """
        allowed = self.types
        if not any(_is_a(value, name) for name in allowed):
            given = f"{where} is empty" if value is None else f"{where}={value!r}"
            raise ConfigError(
                f"{given}: expected {self.type or ' or '.join(sorted(allowed))}{self._example(value, where)}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}={value!r}: must be a finite number")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ConfigError(f"{where}: a number of {value.bit_length()} bits is too large")
        if isinstance(value, str) and "\0" in value:
            raise ConfigError(f"{where}={value!r}: must be text without zero bytes")
        if names := self.choices:
            if isinstance(value, list | tuple):
                if any(one not in names for one in value):
                    raise ConfigError(f"{where}={value!r}: must be a list of {', '.join(names)}, or []")
            elif value is not None and value not in names:
                raise ConfigError(f"{where}={value!r}: must be one of {', '.join(names)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        if interval := self.interval:
            left, low, high, right = interval
            above = value > low if left == "(" else value >= low
            below = value < high if right == ")" else value <= high
            if not (above and below):
                raise ConfigError(f"{where}={value!r}: must be in {self.range.removeprefix('Range: ').strip('.')}")


def declared_options(path: str | Path) -> dict[str, Option]:
    """Read the options that a yaml file declares at its top level.

    A line without a declaring comment gives an option of unknown type. A file is parsed again only after it changed.

    Args:
        path: the file.

    Returns:
        Options by key, in the order of the file.

    Raises:
        ConfigError: see `load_yaml`.
    """
    try:
        changed = Path(path).stat().st_mtime_ns
    except OSError:
        changed = 0  # load_yaml raises the error
    return dict(_declared(str(path), changed))


@functools.lru_cache(maxsize=256)
def _declared(path: str, changed: int) -> dict[str, Option]:
    values = load_yaml(path)
    declarations = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if found := _DECLARATION.match(line):
            declarations[found.group("key")] = (found.group("type"), found.group("meaning"))
    return {key: Option(key, default, *declarations.get(key, ("", "")), source=path) for key, default in values.items()}


_NAMES = {
    "float": "float",
    "int": "int",
    "bool": "bool",
    "str": "str",
    "list": "list",
    "dict": "dict",
    "~": "none",
    "none": "none",
}
# Options that RecBole declares as a dict but also reads as null.
_NULL_TOO = {"train_neg_sample_args"}


def _allowed_types(option: Option) -> set[str]:
    """Types allowed by the declaration or by the default, as RecBole declares a wrong type for a few numbers."""
    declared = {_NAMES[word] for word in re.findall(r"[~\w]+", option.type.lower()) if word in _NAMES}
    if "list of" in option.type.lower():
        declared = {"list"}
    default = option.default
    if default is None or option.key in _NULL_TOO:
        declared.add("none")
    elif isinstance(default, bool):
        declared.add("bool")
    elif isinstance(default, int | float):
        declared.add("float" if isinstance(default, float) else "int")
    elif isinstance(default, list | dict | str):
        declared.add(type(default).__name__)
    if not declared or declared == {"none"}:
        declared = set(_NAMES.values())
    return declared


def _is_a(value: Any, name: str) -> bool:
    if name == "none":
        return value is None
    if name == "bool":
        return isinstance(value, bool)
    if name == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, {"str": str, "list": list | tuple, "dict": dict}[name])
