"""Archives: plain data in one file with a checksum, verified before anything is parsed, read without running code.

An archive is the zip file that `torch.save` writes, and `torch.load(path, weights_only=True)` reads it. The zip comment
at its end holds the SHA-256 of all bytes before the digest, including the rest of the comment.
"""

import hashlib
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import scipy.sparse as sp
import torch

from recbole_bd.errors import CheckpointError, named_damage, reason_of
from recbole_bd.system.atomic_write import write_atomically

VERSION = 1
_SEAL = re.compile(rb"recbole-bd archive ([0-9]{1,9}) sha256 ([0-9a-f]{64})\Z")
_DIGITS, _LONGEST_SEAL, _BLOCK = 64, 128, 2**20
# Marks a dictionary that encodes a type unknown to torch's safe loader.
_KIND = "recbole-bd kind"
# NumPy types that torch has too; arrays of other types are stored as bytes.
_TORCH_TYPES = {torch.empty(0, dtype=getattr(torch, name)).numpy().dtype for name in (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64", "complex128"
)}  # fmt: skip
_LARGEST_INT_BITS = 2000  # torch's safe loader reads integers of up to 255 bytes


# --- writing ---------------------------------------------------------------------------------------------------------
def save_archive(path: Path, content: dict[str, Any]) -> None:
    """Write plain data atomically: readers see the old file or the new one.

    Args:
        path: the file.
        content: dictionaries with str or int keys, lists, tuples, None, bool, int, float, str, tensors (stored on the
            CPU, detached), NumPy arrays and matrices, and SciPy's sparse matrices (stored by rows). NumPy's scalars
            become Python's numbers.

    Raises:
        CheckpointError: the content holds something else, named with its path of keys; or the file cannot be written.
    """
    try:
        plain = _encode(content, (None, "content"))
    except RecursionError as error:
        raise CheckpointError(f"{path}: the content contains itself or is nested too deeply") from error

    def write(stream: BinaryIO) -> None:
        sealing = _Sealing(stream)
        torch.save(plain, cast(BinaryIO, sealing))  # uses only `write` and `flush`
        sealing.seal()

    write_atomically(path, write)


class _Sealing:
    """Binary stream that hashes what is written and appends the digest as the comment of the zip file."""

    def __init__(self, stream: BinaryIO):
        self._stream, self._digest = stream, hashlib.sha256()
        self._held = b""  # last two bytes so far; at the end they are the length of the zip comment

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        if len(view) < 2:
            view = memoryview(self._held + bytes(view))
        else:
            self._pass(self._held)
        self._pass(view[:-2])
        self._held = bytes(view[-2:])
        return len(data)

    def flush(self) -> None:
        self._stream.flush()

    def seal(self) -> None:
        if self._held != b"\0\0":
            raise RuntimeError("this version of torch does not end its files like a zip file without a comment")
        words = f"recbole-bd archive {VERSION} sha256 ".encode()
        self._pass(struct.pack("<H", len(words) + _DIGITS) + words)
        self._stream.write(self._digest.hexdigest().encode())

    def _pass(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._stream.write(data)


def _encode(value: Any, place: tuple) -> Any:
    """Convert a value to types that torch's safe loader knows; `place` is its chain of keys, innermost first."""
    kind = type(value)
    if kind is int and value.bit_length() > _LARGEST_INT_BITS:
        return {_KIND: "int", "hexadecimal": hex(value)}
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (list, tuple):
        return kind(_encode(item, (place, number)) for number, item in enumerate(value))
    if kind in (dict, OrderedDict):
        for key in value:
            if not _is_key(key):
                raise CheckpointError(f"{_where(place)} has a key {key!r}, which cannot be stored")
        return kind((key, _encode(item, (place, key))) for key, item in value.items())
    if isinstance(value, torch.Tensor) and not value.is_meta:
        return _own_storage(value.detach().cpu())
    if isinstance(value, np.generic) and type(value.item()) in (bool, int, float, str):
        return _encode(value.item(), place)
    if kind in (np.ndarray, np.matrix):
        return {_KIND: "matrix" if kind is np.matrix else "array", **_encode_array(value, place)}
    if sp.issparse(value) and value.ndim == 2:
        csr = sp.csr_matrix(value)
        parts = {name: _encode(getattr(csr, name), (place, name)) for name in ("data", "indices", "indptr")}
        return {_KIND: "csr", "shape": tuple(map(int, csr.shape)), **parts}
    raise CheckpointError(f"{_where(place)} is of type {kind.__module__}.{kind.__qualname__}, which cannot be stored")


def _is_key(key: Any) -> bool:
    return key != _KIND if type(key) is str else type(key) is int and key.bit_length() <= _LARGEST_INT_BITS


def _own_storage(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor that is part of a larger storage, which torch would store whole."""
    if tensor.layout is torch.strided and tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size():
        return tensor.clone()
    return tensor


def _encode_array(array: np.ndarray, place: tuple) -> dict[str, Any]:
    if array.dtype.hasobject or array.dtype.names or array.dtype.kind == "V":
        raise CheckpointError(f"{_where(place)} is an array of dtype {array.dtype}, which cannot be stored")
    plain = np.array(array, order="C", subok=False, ndmin=1)  # a copy: torch refuses read-only memory
    if plain.dtype in _TORCH_TYPES:
        return {"shape": array.shape, "data": torch.from_numpy(plain)}
    # Platform-dependent types (long double) can be read only on machines of the same kind.
    return {"shape": array.shape, "type": plain.dtype.str, "data": torch.from_numpy(plain.reshape(-1).view(np.uint8))}


def _where(place: tuple) -> str:
    outer, key = place
    return f"{_where(outer)}[{key!r}]" if outer else key


# --- reading ---------------------------------------------------------------------------------------------------------
def load_archive(path: str | Path, what: str = "checkpoint") -> dict[str, Any]:
    """Verify the checksum of a file from `save_archive`, then read its plain data.

    Args:
        path: the file.
        what: kind of file, named in errors.

    Raises:
        CheckpointError: the file is missing, truncated, altered, from another program or from a newer version, or it
            asks for code to be run.
    """
    with open_zip(path, what) as stream:
        _verify(stream, f"{what} {path}")
        with named_damage(f"{what} {path}", CheckpointError):
            check_records(stream)
            content = _decode(_load_plain(stream))
    if type(content) is not dict:
        raise CheckpointError(f"{what} {path} contains a {type(content).__name__}, not a dictionary")
    return content


def is_sealed(path: str | Path, what: str = "checkpoint") -> bool:
    """Whether a file ends with a checksum of `save_archive`; the checksum itself is not verified.

    Raises:
        CheckpointError: the file is missing or is not a torch zip file.
    """
    with open_zip(path, what) as stream:
        return _seal(stream) is not None


@contextmanager
def open_zip(path: str | Path, what: str) -> Iterator[BinaryIO]:
    """Open a torch zip file for reading. Older formats of torch are refused.

    Raises:
        CheckpointError: the file is missing, is not a torch zip file, or cannot be read.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{what} {path} {'is not a file' if Path(path).exists() else 'does not exist'}")
    try:
        with Path(path).open("rb") as stream:
            if stream.read(4) != b"PK\x03\x04":
                raise CheckpointError(f"{what} {path} is truncated or not a torch file")
            stream.seek(0)
            yield stream
    except OSError as error:
        raise CheckpointError(f"{what} {path} cannot be read: {reason_of(error)}") from error


def _load_plain(stream: BinaryIO) -> Any:
    try:
        return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if symbol := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise CheckpointError(refusal(symbol[1])) from error
        raise


def refusal(symbol: str) -> str:
    """Error text for a file that asks for more than plain data."""
    return f"it asks for {symbol}, which could run code, and is refused"


def check_records(stream: BinaryIO) -> zipfile.ZipFile:
    """Open the records of a zip file and check that they are stored uncompressed and fit into the file.

    Raises:
        CheckpointError: records are compressed, which torch never does, or they overlap.
        zipfile.BadZipFile: the file is not a zip file.
    """
    size = stream.seek(0, os.SEEK_END)
    archive = zipfile.ZipFile(stream)
    records = archive.infolist()
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise CheckpointError("it is compressed, unlike torch files, and is refused")
    if sum(record.file_size for record in records) > size or len(set(archive.namelist())) < len(records):
        raise CheckpointError("its records claim more bytes than the file has")
    stream.seek(0)
    return archive


def checked_csr(parts: tuple[np.ndarray, ...], shape: tuple[int, int]) -> sp.csr_matrix:
    """Build a sparse matrix from data, indices and indptr, and check every index.

    Raises:
        ValueError: an index is outside the shape; SciPy would read beyond its memory.
    """
    matrix = sp.csr_matrix(parts, shape=tuple(shape))
    matrix.check_format()
    return matrix


def _seal(stream: BinaryIO) -> re.Match[bytes] | None:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(size - _LONGEST_SEAL, 0))
    return _SEAL.search(stream.read())


def _verify(stream: BinaryIO, named: str) -> None:
    """Compare the digest at the end of a file with its bytes, block by block, and rewind the stream."""
    seal = _seal(stream)
    if seal is None:
        raise CheckpointError(f"{named} is truncated or was not written by recbole-bd: it does not end with a checksum")
    if int(seal[1]) > VERSION:
        raise CheckpointError(f"{named} has format version {int(seal[1])}: update recbole-bd to read it")
    digest = hashlib.sha256()
    left = stream.tell() - _DIGITS
    stream.seek(0)
    while left > 0 and (block := stream.read(min(left, _BLOCK))):
        digest.update(block)
        left -= len(block)
    if digest.hexdigest() != seal[2].decode():
        raise CheckpointError(f"{named} is damaged: its checksum is wrong. Use a copy, or create it again")
    stream.seek(0)


def _decode(value: Any) -> Any:
    if type(value) in (list, tuple):
        return type(value)(map(_decode, value))
    if type(value) in (dict, OrderedDict):
        if _KIND not in value:
            return type(value)((key, _decode(item)) for key, item in value.items())
        if value[_KIND] == "int":
            return int(value["hexadecimal"], 16)
        if value[_KIND] == "csr":
            parts = tuple(_decode(value[name]) for name in ("data", "indices", "indptr"))
            return checked_csr(parts, value["shape"])
        array = value["data"].numpy()
        if "type" in value:
            array = array.view(np.dtype(value["type"]))
        array = array.reshape(value["shape"])
        return np.asmatrix(array) if value[_KIND] == "matrix" else array
    return value
