"""Read RecBole's checkpoints, pickles of protocol 4 that contain its Config, without calling anything they name.

torch's safe loader cannot read them. Here each name on an allow-list is replaced by a stand-in that only keeps its
arguments, and every other name is refused. Tensors and numbers are then built from the stand-ins, after every size is
checked against the content of the file. torch's own loader is not used, so its older formats are not supported.
"""

import io
import math
import pickle
import pickletools
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_bd.compat import model_files_read_through
from recbole_bd.errors import CheckpointError, named_damage, objects_refused
from recbole_bd.system.sealed_archive import check_records, is_sealed, load_archive, open_zip, refusal


class _StandIn:
    """Keeps the arguments and the state given by a pickle, and does nothing.

    Every stand-in defines `__setstate__`: a pickle may set attributes of an object that lacks it.
    """

    __slots__ = ("args", "state")

    def __init__(self, *args: Any):
        self.args, self.state = args, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Mention(_StandIn):
    """A setting, class or enum member whose value is not read."""


class _Config(_StandIn):
    pass


class _Tensor(_StandIn):
    pass


class _Parameter(_StandIn):
    pass


class _Dtype(_StandIn):
    pass


class _Scalar(_StandIn):
    pass


class _Array(_StandIn):
    pass


class _Storage(_StandIn):
    """A storage type; with arguments, a reference to a stored record."""


class _Ordered(dict):
    """An OrderedDict that ignores attributes in the file."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


_ALLOWED: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): _Ordered,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("torch", "device"): _Mention,
    ("recbole.config.configurator", "Config"): _Config,
    ("recbole_bd.config.role_config", "RoleConfig"): _Config,
    ("recbole_bd.config.config", "RoleConfig"): _Config,  # path of earlier versions
    ("recbole_bd.config", "RoleConfig"): _Config,  # path of versions before that
    ("yaml.loader", "FullLoader"): _Mention,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Mention,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ALLOWED |= {(_module, "_reconstruct"): _Array, (_module, "scalar"): _Scalar}
_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


class _AllowListUnpickler(pickle.Unpickler):
    """Returns a stand-in for each name that RecBole's checkpoints need, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _Storage(_STORAGES[name])
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if name.isidentifier() and (module == "recbole.utils.enum_type" or module.startswith("recbole.model.")):
            return _Mention
        raise CheckpointError(refusal(f"{module}.{name}"))

    def persistent_load(self, reference: Any) -> _Storage:
        word, storage, key, _, size = reference  # the ignored field is the device
        if word != "storage" or type(storage) is not _Storage or type(key) is not str or type(size) is not int:
            raise CheckpointError("it refers to something that is not a tensor's storage")
        return _Storage(*storage.args, key, size)


def load_recbole_pickle(path: str | Path, what: str = "checkpoint") -> dict[str, Any]:
    """Read a checkpoint of RecBole's Trainer, or any `torch.save` file of tensors, numbers and containers.

    Args:
        path: the file.
        what: kind of file, named in errors.

    Returns:
        Its content: tensors on the CPU, arrays, Python numbers and containers. An OrderedDict becomes a dict, and
        RecBole's Config a dict of its plain values. Classes and enum members become None.

    Raises:
        CheckpointError: the file is missing or damaged, or asks for a name that is not on the allow-list.
    """
    with open_zip(path, what) as stream, named_damage(f"{what} {path}", CheckpointError):
        if not zipfile.is_zipfile(stream):
            raise CheckpointError("it is truncated or not a torch file")
        archive = check_records(stream)
        if damaged := archive.testzip():
            raise CheckpointError(f"its record {damaged} is damaged")
        content = _Reader(archive).load()
        if not isinstance(content, dict):
            raise CheckpointError(f"it contains a {type(content).__name__}, not a dictionary")
        return content


@contextmanager
def pretrained_files_read_safely(check: Callable[[str, dict[str, Any]], None]) -> Iterator[None]:
    """Let RecBole's models read pretrained files without running any code in them.

    NAIS, ConvNCF, RaCT and NeuMF load pretrained states with `torch.load`, which before torch 2.6 runs code named in
    the file. LDiffRec loads `item_emb.npy` of the data set with `allow_pickle=True`. Within the scope, RecBole's models
    read both kinds of file through the readers of this package.

    Args:
        check: called with the path and the content of a pretrained state; raises if it must not be used.

    Raises:
        CheckpointError: such a file is missing or damaged, or asks for code to be run.
    """

    def read_state(path: str | Path, *args: Any, **options: Any) -> dict[str, Any]:
        content = load_archive(path, "file") if is_sealed(path, "file") else load_recbole_pickle(path, "file")
        check(str(path), content)
        return content

    with model_files_read_through(read_state, _read_array):
        yield


def _read_array(path: str | Path, *args: Any, **options: Any) -> np.ndarray:
    with (
        named_damage(f"file {path}", CheckpointError),
        Path(path).open("rb") as stream,
        objects_refused("it", CheckpointError),
    ):
        return np.lib.format.read_array(stream, allow_pickle=False)


class _Reader:
    """Builds values from the stand-ins of one file."""

    def __init__(self, archive: zipfile.ZipFile):
        self.archive = archive
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise CheckpointError("it was not written by torch.save")
        self.folder = names[0].removesuffix("data.pkl")
        order = f"{self.folder}byteorder"
        if order in archive.namelist() and archive.read(order).decode() != sys.byteorder:
            raise CheckpointError("it was written on a machine with the opposite byte order")
        self.made: dict[int, tuple[Any, Any]] = {}
        self.storages: dict[str, torch.Tensor] = {}

    def load(self) -> Any:
        """Read the content of the file."""
        pickled = self.archive.read(f"{self.folder}data.pkl")
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(pickled):
                raise CheckpointError("it reserves memory for more values than it can contain")
        return self.make(_AllowListUnpickler(io.BytesIO(pickled)).load())

    def make(self, value: Any) -> Any:
        """Build a value and everything in it; a value with several references is built once."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if id(value) not in self.made:
            makers: dict[type, Callable[[Any], Any]] = {
                dict: self._dictionary, _Ordered: self._dictionary, list: self._sequence, tuple: self._sequence,
                set: self._sequence, _Tensor: self._tensor, _Parameter: self._parameter, _Scalar: self._scalar,
                _Array: self._array, _Config: self._settings, _Mention: self._mention,
            }  # fmt: skip
            if type(value) not in makers:
                raise CheckpointError(f"it contains a {type(value).__name__.lstrip('_')} in an unexpected place")
            self.made[id(value)] = value, makers[type(value)](value)
        return self.made[id(value)][1]

    def _dictionary(self, value: dict) -> dict[Any, Any]:
        return {self.make(key): self.make(item) for key, item in value.items()}

    def _sequence(self, value: list | tuple | set) -> list | tuple | set:
        return type(value)(self.make(item) for item in value)

    def _mention(self, value: _Mention) -> None:
        return None

    def _settings(self, value: _Config) -> dict[str, Any]:
        """Select the plain values of RecBole's settings, lists and blocks of them included."""
        state: dict[str, Any] = value.state or {}
        settings = state.get("final_config_dict", {})
        return {key: self.make(item) for key, item in settings.items() if _is_plain(item)}

    def _tensor(self, value: _Tensor) -> torch.Tensor:
        storage, offset, size, stride, *_ = value.args
        if type(storage) is not _Storage or len(storage.args) != 3:
            raise CheckpointError("it contains a tensor without a storage")
        numbers = self._numbers(*storage.args)
        if math.prod(size) > len(numbers):
            raise CheckpointError(
                f"a tensor of size {tuple(size)} claims more than the {len(numbers)} values of its storage"
            )
        # torch refuses a stride that leaves the storage. A part is cloned, so that it does not keep the whole storage.
        tensor = numbers.as_strided(size, stride, offset)
        return tensor if tensor.numel() == len(numbers) else tensor.clone()

    def _numbers(self, dtype: torch.dtype, key: str, size: int) -> torch.Tensor:
        """Read all numbers of a storage, and check their count against the pickle."""
        if key not in self.storages:
            record = bytearray(self.archive.read(f"{self.folder}data/{key}"))
            self.storages[key] = torch.frombuffer(record, dtype=dtype) if record else torch.empty(0, dtype=dtype)
        numbers = self.storages[key]
        if numbers.dtype != dtype or len(numbers) != size:
            raise CheckpointError(
                f"its record {key} has {len(numbers)} values of {numbers.dtype}, not {size} of {dtype}"
            )
        return numbers

    def _parameter(self, value: _Parameter) -> torch.Tensor:
        return self._tensor(value.args[0])

    def _scalar(self, value: _Scalar) -> bool | int | float | str:
        kind, data = value.args
        (number,) = np.frombuffer(data, _dtype(kind))
        return number.item()

    def _array(self, value: _Array) -> np.ndarray:
        state: Any = value.state
        _, shape, kind, by_columns, data = state
        return np.frombuffer(data, _dtype(kind)).reshape(shape, order="F" if by_columns else "C").copy()


def _is_plain(value: Any, depth: int = 8) -> bool:
    """Whether a setting is a number, a text, null, or a list or block of such values, not nested without end."""
    if isinstance(value, dict):
        return depth > 0 and all(type(key) is str and _is_plain(item, depth - 1) for key, item in value.items())
    if type(value) in (list, tuple, set):
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    return value is None or type(value) in (bool, int, float, str)


def _dtype(value: _Dtype) -> np.dtype:
    """Check a dtype: numbers or text of fixed length, never objects."""
    state: Any = value.state
    code, order = value.args[0], state[1]
    if not re.fullmatch(r"[biufUS][0-9]{1,9}", code) or order not in ("<", ">", "|", "="):
        raise CheckpointError(f"it contains an array of dtype {code!r}, which is not numeric, and is refused")
    return np.dtype(order + code)
