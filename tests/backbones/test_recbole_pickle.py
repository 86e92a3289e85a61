"""RecBole's files are read through stand-ins: whatever a pickle asks for, nothing of it is called."""

import importlib
import io
import pickle
import re
import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.utils import InputType

from recbole_bd.backbones.recbole_pickle import _ALLOWED, _StandIn, load_recbole_pickle, pretrained_files_read_safely
from recbole_bd.errors import CheckpointError
from tests.helpers.damage import REFUSAL, Evil


def write(path: Path, pickled: bytes, **records: bytes) -> Path:
    """A torch zip file around any pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for name, content in records.items():
            file.writestr(f"archive/data/{name.strip('_')}", content)
    return path


@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_numbers_and_containers_are_read(protocol, tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    content = {
        "tensors": OrderedDict(shared=shared, column=shared[:, 1], none=torch.empty(0, 2), half=torch.ones(1).half()),
        "parameter": torch.nn.Parameter(torch.ones(2)), "scalar": np.float64(0.5), "list": [1, (2, None)], "text": "é",
        "array": np.asfortranarray(np.arange(6).reshape(2, 3)), "words": np.array(["a", "bc"]),
        "kind": InputType.PAIRWISE,
    }  # fmt: skip
    if protocol == 2:  # whose bytes are text that a function of codecs turns into bytes
        del content["scalar"], content["array"], content["words"]
    torch.save(content, tmp_path / "f.pth", pickle_protocol=protocol)
    found = load_recbole_pickle(tmp_path / "f.pth")
    for name, tensor in content["tensors"].items():
        assert torch.equal(found["tensors"][name], tensor)
        assert found["tensors"][name].dtype == tensor.dtype
    assert torch.equal(found["parameter"], torch.ones(2))
    assert (found["list"], found["text"], found["kind"]) == ([1, (2, None)], "é", None)
    if protocol == 4:
        assert repr(found["scalar"]) == "0.5"
        assert found["array"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert found["words"].tolist() == ["a", "bc"]


def test_all_that_a_file_may_name_is_a_stand_in():
    """A function could be called; a class without `__setstate__` could be given other attributes for good."""
    for stand_in in _ALLOWED.values():
        assert isinstance(stand_in, type)
        assert "__setstate__" in vars(stand_in) or issubclass(stand_in, _StandIn)
        assert stand_in.__module__ == "recbole_bd.backbones.recbole_pickle"


class Asks:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


NAMED = {
    "eval": (Asks(eval, "1"), "builtins.eval"),
    "getattr": (Asks(getattr, 1, "real"), "builtins.getattr"),
    "torch.load": (Asks(torch.load, "x"), "torch.serialization.load"),
    "storage from bytes": (Asks(torch.storage._load_from_bytes, b""), "torch.storage._load_from_bytes"),
    "numpy.load": (Asks(np.load, "x"), "numpy.load"),
    "set of torch": (Counter("a"), "collections.Counter"),
    "Path": (Path("x"), f"{type(Path()).__module__}.PosixPath"),
}


@pytest.mark.parametrize("name", NAMED)
def test_whatever_else_is_asked_for_is_named(name, tmp_path):
    content, symbol = NAMED[name]
    torch.save({"state_dict": {"w": content}}, tmp_path / "f.pth", pickle_protocol=4)
    with pytest.raises(CheckpointError, match=rf"asks for {symbol.replace('.', '[.]')}, which could run code"):
        load_recbole_pickle(tmp_path / "f.pth")


MALFORMED = {
    "enum's module, dotted": b"\x80\x04\x8c\x17recbole.utils.enum_type\x8c\x0bos.getenv(1\x93.",
    "call of a stand-in's attribute": b"\x80\x02ccollections\nOrderedDict\n)R(X\x05\x00\x00\x00itemsK\x01ub.",
    "state of a class": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x04\x00\x00\x00argsK\x01sb.",
    "memo of 32 GiB": b"\x80\x02}r\xff\xff\xff\xff.",
    "string of 4 GiB": b"\x80\x02X\xff\xff\xff\xffab.",
    "bytes of 2**60": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"ab.",
    "no tensor": b"\x80\x02K\x01.",
    "foreign reference": b"\x80\x02X\x03\x00\x00\x00abcQ.",
    "extension": b"\x80\x02\x82\x01.",
    "empty": b"",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_pickle_is_one_line(name, tmp_path):
    with pytest.raises(CheckpointError) as error:
        load_recbole_pickle(write(tmp_path / "f.pth", MALFORMED[name]))
    assert len(str(error.value).splitlines()) == 1


class Referring(pickle.Pickler):
    """Writes a reference in the place of the text `here`."""

    def __init__(self, stream, reference: tuple):
        super().__init__(stream, protocol=2)
        self.reference = reference

    def persistent_id(self, value):
        """The reference, for this text alone."""
        return self.reference if isinstance(value, str) and value == "here" else None


def a_tensor(size: int = 4, shape=(2, 2), stride=(2, 1), offset=0, key="0", kind="FloatStorage") -> bytes:
    """The pickle of {"w": tensor} with any claims."""
    asked = Asks(torch._utils._rebuild_tensor_v2, "here", offset, shape, stride, False, OrderedDict())
    return pickled({"w": asked}, "storage", getattr(torch, kind), key, "cuda:7", size)


FLOATS = np.arange(4, dtype=np.float32).tobytes()


def test_a_tensor_of_a_card_comes_to_the_cpu(tmp_path):
    found = load_recbole_pickle(write(tmp_path / "f.pth", a_tensor(), _0=FLOATS))
    assert found["w"].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    "claims", [{"size": 10**9}, {"size": 2}, {"shape": (10**6, 10**6)}, {"shape": (10**12,), "stride": (0,)},
               {"offset": 3}, {"stride": (10**9, 1)}, {"stride": (-1, 1)}, {"shape": ("x",)}, {"key": "7"},
               {"key": "../../data/0"}, {"kind": "DoubleStorage"}, {"offset": -1}, {"shape": (-2, -2)}],
    ids=str,
)  # fmt: skip
def test_a_tensor_never_claims_more_than_its_file_holds(claims, tmp_path):
    with pytest.raises(CheckpointError) as error:
        load_recbole_pickle(write(tmp_path / "f.pth", a_tensor(**claims), _0=FLOATS))
    assert len(str(error.value).splitlines()) == 1


def test_arrays_of_objects_are_refused(tmp_path):
    for value in (np.array([1, None]), np.array(["a", Evil(tmp_path / "ran")], dtype=object)):
        torch.save({"array": value}, tmp_path / "f.pth", pickle_protocol=4)
        with pytest.raises(CheckpointError, match=f"'O8', which is not numeric|{REFUSAL}"):
            load_recbole_pickle(tmp_path / "f.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("old", [True, False])
def test_torchs_older_formats_are_not_read_at_all(old, tmp_path):
    if old:
        torch.save({"w": Evil(tmp_path / "ran")}, tmp_path / "f.pth", _use_new_zipfile_serialization=False)
    else:
        (tmp_path / "f.pth").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match="not a torch file"):
        load_recbole_pickle(tmp_path / "f.pth")
    assert not (tmp_path / "ran").exists()


def test_models_read_arrays_and_states_safely_only_while_they_are_built(tmp_path):
    from recbole.model.general_recommender import ldiffrec, neumf

    before = torch.load, np.load
    np.save(tmp_path / "good.npy", np.arange(3.0))
    np.save(tmp_path / "evil.npy", np.array([Evil(tmp_path / "ran")], dtype=object))
    torch.save({"state_dict": {"w": torch.ones(2)}}, tmp_path / "good.pth", pickle_protocol=4)
    seen = []
    with pretrained_files_read_safely(lambda path, content: seen.append((path, list(content)))):
        assert (torch.load, np.load) == before  # for everything but RecBole's models
        load, load_array = neumf.torch.load, ldiffrec.np.load
        assert load_array(tmp_path / "good.npy", allow_pickle=True).tolist() == [0, 1, 2]
        assert load(tmp_path / "good.pth", map_location="cpu")["state_dict"]["w"].tolist() == [1, 1]
        with pytest.raises(CheckpointError, match=r"evil\.npy: it contains Python objects, which could run code"):
            load_array(tmp_path / "evil.npy", allow_pickle=True)
    assert seen == [(str(tmp_path / "good.pth"), ["state_dict"])]
    assert (neumf.torch, ldiffrec.np) == (torch, np)
    assert (torch.load, np.load) == before
    assert not (tmp_path / "ran").exists()


def test_every_model_that_reads_files_does_so_by_the_names_that_are_replaced():
    import recbole.model.general_recommender as models

    readers = {
        path.stem: importlib.import_module(f"{models.__name__}.{path.stem}")
        for path in Path(models.__path__[0]).glob("*.py")
        if re.search(r"\b(load|loadtxt|fromfile|read_pickle)\(", path.read_text())
    }
    assert {"convncf", "ldiffrec", "nais", "neumf", "ract"} <= set(readers)
    with pretrained_files_read_safely(lambda *_: None):
        for name, module in readers.items():
            source = Path(module.__file__).read_text()
            used = set(re.findall(r"\b(\w+)\.(?:load|loadtxt|fromfile|read_pickle)\(", source))
            assert used <= {"torch", "np"}, name
            assert all(getattr(module, host).load is not {"torch": torch, "np": np}[host].load for host in used), name


def pickled(content, *reference) -> bytes:
    """A pickle in which the text `here` is a reference of this kind."""
    stream = io.BytesIO()
    Referring(stream, reference).dump(content)
    return stream.getvalue()


FLOAT = torch.FloatStorage
HERE = ("storage", FLOAT, "0", "cpu", 4)
MADE = torch._utils._rebuild_tensor_v2


@pytest.mark.parametrize(
    ("content", "reference", "problem"),
    [
        ({"w": "here"}, ("module", FLOAT, "0", "cpu", 4), "it refers to something that is not a tensor's storage"),
        ({"w": "here"}, ("storage", 1, "0", "cpu", 4), "it refers to something that is not a tensor's storage"),
        ({"w": "here"}, ("storage", FLOAT, 0, "cpu", 4), "it refers to something that is not a tensor's storage"),
        ({"w": "here"}, ("storage", FLOAT, "0", "cpu", "4"), "it refers to something that is not a tensor's storage"),
        ({"w": "here"}, HERE, "it contains a Storage in an unexpected place"),
        ({"w": np.dtype("f4")}, HERE, "it contains a Dtype in an unexpected place"),
        ({"w": Asks(MADE, 3, 0, (1,), (1,), False, OrderedDict())}, HERE, "it contains a tensor without a storage"),
        ({"w": Asks(MADE, FLOAT, 0, (1,), (1,), False, OrderedDict())}, HERE, "it contains a tensor without a storage"),
        ([1], HERE, "it contains a list, not a dictionary"),
    ],
)
def test_stand_ins_out_of_place_are_named(content, reference, problem, tmp_path):
    path = write(tmp_path / "f.pth", pickled(content, *reference), _0=FLOATS)
    with pytest.raises(CheckpointError) as error:
        load_recbole_pickle(path, "file")
    assert str(error.value) == f"file {path}: {problem}"


@pytest.mark.parametrize(("order", "is_read"), [("little", sys.byteorder == "little"), ("big", sys.byteorder == "big")])
def test_numbers_of_another_byte_order_are_not_read(order, is_read, tmp_path):
    path = write(tmp_path / "f.pth", a_tensor(), _0=FLOATS)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/byteorder", order)
    if is_read:
        assert load_recbole_pickle(path)["w"].tolist() == [[0, 1], [2, 3]]
        return
    with pytest.raises(CheckpointError) as error:
        load_recbole_pickle(path)
    assert str(error.value) == f"checkpoint {path}: it was written on a machine with the opposite byte order"


def test_a_value_with_several_references_is_built_once(tmp_path):
    shared = [torch.arange(3)]
    torch.save({"one": shared, "other": {"same": shared}}, tmp_path / "f.pth", pickle_protocol=4)
    found = load_recbole_pickle(tmp_path / "f.pth")
    assert found["one"] is found["other"]["same"]
    assert found["one"][0].tolist() == [0, 1, 2]
