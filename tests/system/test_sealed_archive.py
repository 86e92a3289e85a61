"""Plain data comes back as it was; what is not as it was written does not come back."""

import errno
import random
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.errors import CheckpointError
from recbole_bd.system import sealed_archive
from recbole_bd.system.sealed_archive import is_sealed, load_archive, save_archive
from tests.helpers.counts import tally
from tests.helpers.damage import REFUSAL, Evil, refused_or_right, sealed

KEYS = st.one_of(st.text(max_size=8), st.integers(-(2**70), 2**70))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**2100), 2**2100), st.floats(), st.text(max_size=20)
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.slow
@given(content=st.dictionaries(KEYS, PLAIN, max_size=5))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_plain_data_comes_back_with_its_types_and_order(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "plain.pth"
    save_archive(path, content)
    assert repr(load_archive(path)) == repr(content)  # which tells nan, -0.0, True and 1, tuples and lists apart


def test_random_states_of_every_library_come_back(tmp_path):
    generator = np.random.default_rng(3)
    content = {
        "python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state(),
        "generator": generator.bit_generator.state, "sampler": torch.Generator().manual_seed(2**63).get_state(),
    }  # fmt: skip
    save_archive(tmp_path / "a", content)
    found = load_archive(tmp_path / "a")
    assert found["python"] == content["python"]
    random.setstate(found["python"])
    np.random.set_state(found["numpy"])
    assert (np.random.get_state()[1] == content["numpy"][1]).all()
    assert torch.equal(found["torch"], content["torch"])
    again = np.random.default_rng(0)
    again.bit_generator.state = found["generator"]
    assert again.random() == generator.random()
    assert torch.equal(found["sampler"], content["sampler"])


def test_an_optimizer_goes_on_where_it_was(tmp_path):
    def step(model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()

    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    step(model, optimizer)
    save_archive(tmp_path / "a", {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    found = load_archive(tmp_path / "a")
    other = torch.nn.Linear(3, 2)
    other.load_state_dict(found["model"])
    its_optimizer = torch.optim.Adam(other.parameters(), lr=0.5)
    its_optimizer.load_state_dict(found["optimizer"])
    step(model, optimizer)
    step(other, its_optimizer)
    assert torch.equal(model.weight, other.weight)


TENSORS = {
    "part of a larger one": torch.arange(12.0).view(3, 4)[:, 1:3],
    "transposed": torch.arange(6.0).view(2, 3).T,
    "scalar": torch.tensor(4),
    "empty": torch.empty(0, 3),
    "bfloat16": torch.ones(2, dtype=torch.bfloat16),
    "bool": torch.tensor([True, False]),
    "complex": torch.ones(2, dtype=torch.cfloat).conj(),
    "rows": torch.eye(3).to_sparse_csr(),
    "pairs": torch.eye(3).to_sparse(),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_come_back(name, tmp_path):
    save_archive(tmp_path / "a", {"tensor": TENSORS[name]})
    found = load_archive(tmp_path / "a")["tensor"]
    assert (found.dtype, found.layout, found.shape) == (TENSORS[name].dtype, TENSORS[name].layout, TENSORS[name].shape)
    assert torch.equal(found.to_dense(), TENSORS[name].to_dense())


def test_a_part_of_a_tensor_does_not_store_the_whole_and_shared_ones_are_stored_once(tmp_path):
    large = torch.zeros(10**5)
    save_archive(tmp_path / "part", {"part": large[:10]})
    assert (tmp_path / "part").stat().st_size < 4000
    save_archive(tmp_path / "twice", {"one": large, "same": large})
    assert (tmp_path / "twice").stat().st_size < 1.1 * 4 * 10**5


ARRAYS = [
    np.arange(4, dtype=np.uint32), np.array(["ab", "c"]), np.arange(3, dtype=">i4"), np.array(3.5), np.zeros((0, 3)),
    np.array([], dtype="U3"), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(["2020-01-01"], dtype="M8[D]"),
    np.arange(3.0)[::-1], np.frombuffer(b"1234", dtype=np.int32), np.float16([1.5]),
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_come_back(array, tmp_path):
    save_archive(tmp_path / "a", {"array": array})
    found = load_archive(tmp_path / "a")["array"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert (found == array).all()


def test_matrices_and_numbers_of_numpy_come_back(tmp_path):
    content = {"matrix": np.ones((2, 3)).view(np.matrix), "sparse": sp.dok_matrix(np.eye(3)), "number": np.float32(0.5)}
    save_archive(tmp_path / "a", content)
    found = load_archive(tmp_path / "a")
    assert isinstance(found["matrix"], np.matrix)
    assert isinstance(found["sparse"], sp.csr_matrix)
    assert (found["sparse"].toarray() == np.eye(3)).all()
    assert repr(found["number"]) == "0.5"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": {"b": [1, {2}]}}, r"content\['a'\]\['b'\]\[1\] is of type builtins\.set"),
        ({"a": {(1,): 2}}, r"content\['a'\] has a key \(1,\)"),
        ({"o": np.array([None])}, r"content\['o'\] is an array of dtype object"),
        ({"o": np.zeros(2, dtype=[("a", int)])}, r"content\['o'\] is an array of"),
        ({"x": torch.ones(2, device="meta")}, "Tensor"),
        ({"y": 1j}, "complex"),
        ({"z": {"recbole-bd kind": "array"}}, "recbole-bd kind"),
        ({"t": torch.float32}, r"torch\.dtype"),
        ({"t": np.longdouble(1)}, "longdouble"),
    ],
)
def test_what_is_no_plain_data_is_named_with_its_place(content, message, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        save_archive(tmp_path / "a", content)
    assert not (tmp_path / "a").exists()


def test_content_that_contains_itself_is_refused(tmp_path):
    content = {}
    content["again"] = [content]
    with pytest.raises(CheckpointError, match="contains itself"):
        save_archive(tmp_path / "a", content)


def test_torch_and_zip_programs_read_an_archive(tmp_path):
    save_archive(tmp_path / "a.pth", {"state_dict": OrderedDict(w=torch.ones(3)), "epoch": 4})
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert content["epoch"] == 4
    assert torch.equal(content["state_dict"]["w"], torch.ones(3))
    with zipfile.ZipFile(tmp_path / "a.pth") as file:
        assert file.testzip() is None
        assert file.comment.startswith(b"recbole-bd archive 1 sha256 ")


def test_saving_holds_no_second_copy(tmp_path):
    content = {str(number): torch.zeros(2**18) for number in range(16)}  # 16 MiB, 1 MiB each
    tracemalloc.start()
    save_archive(tmp_path / "a", content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_a_disk_that_fills_up_leaves_the_archive_before(tmp_path, monkeypatch):
    path = tmp_path / "a"
    save_archive(path, {"epoch": 1})
    written = 0

    class Full(sealed_archive._Sealing):
        def write(self, data):
            nonlocal written
            written += len(data)
            if written > 2**20:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(sealed_archive, "_Sealing", Full)
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_archive(path, {"large": torch.zeros(2**19), "larger": torch.zeros(2**20)})
    assert load_archive(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


# --- what is not as it was written -----------------------------------------------------------------------------------
def test_truncated_and_flipped_archives_are_refused(tmp_path, request):
    content = {"w": torch.arange(500.0), "epoch": 3, "history": [{"ndcg@5": 0.5}] * 3}
    save_archive(tmp_path / "a", content)
    refused_or_right(request.config, "checkpoints", tmp_path / "a", load_archive, lambda found, _: False)


def test_a_change_of_any_byte_is_seen(tmp_path, request):
    path = tmp_path / "a"
    save_archive(path, {"epoch": 3})
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        tally(request.config, "checkpoints: bit flips, every third byte")
        with pytest.raises(CheckpointError):
            load_archive(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(CheckpointError):
        load_archive(path)


def test_what_is_no_archive_is_refused_by_name(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(CheckpointError, match=f"last state {path} does not exist"):
        load_archive(path, "last state")
    with pytest.raises(CheckpointError, match="is not a file"):
        load_archive(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="truncated or not a torch file"):
        load_archive(path)
    torch.save({"epoch": 1}, path)
    with pytest.raises(CheckpointError, match="does not end with a checksum"):
        load_archive(path)
    assert not is_sealed(path)


def test_a_newer_archive_says_update(tmp_path, monkeypatch):
    monkeypatch.setattr(sealed_archive, "VERSION", 7)
    save_archive(tmp_path / "a", {"epoch": 1})
    monkeypatch.setattr(sealed_archive, "VERSION", 1)
    assert is_sealed(tmp_path / "a")
    with pytest.raises(CheckpointError, match="has format version 7: update recbole-bd"):
        load_archive(tmp_path / "a")


def test_a_wrong_checksum_is_seen_before_anything_is_parsed(tmp_path, monkeypatch):
    save_archive(tmp_path / "a", {"epoch": 1})
    whole = bytearray((tmp_path / "a").read_bytes())
    whole[80] ^= 1
    (tmp_path / "a").write_bytes(whole)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("parsed"))
    monkeypatch.setattr(sealed_archive, "check_records", lambda *_: pytest.fail("parsed"))
    with pytest.raises(CheckpointError, match="its checksum is wrong"):
        load_archive(tmp_path / "a")


def test_code_under_a_right_checksum_does_not_run_and_is_named(tmp_path):
    sealed(tmp_path / "a", {"epoch": Evil(tmp_path / "ran")})
    with pytest.raises(CheckpointError, match=REFUSAL):
        load_archive(tmp_path / "a")
    assert not (tmp_path / "ran").exists()


FORGED = {
    "indices out of memory": {"recbole-bd kind": "csr", "shape": (2, 2), "data": {"recbole-bd kind": "array",
        "shape": (1,), "data": torch.ones(1)}, "indices": {"recbole-bd kind": "array", "shape": (1,),
        "data": torch.tensor([10**9])}, "indptr": {"recbole-bd kind": "array", "shape": (3,),
        "data": torch.tensor([0, 1, 1])}},
    "objects": {"recbole-bd kind": "array", "shape": (1,), "type": "|O", "data": torch.ones(8, dtype=torch.uint8)},
    "other size": {"recbole-bd kind": "array", "shape": (10**12,), "data": torch.ones(1)},
    "nothing": {"recbole-bd kind": "array"},
    "no kind": {"recbole-bd kind": ["x"]},
    "no number": {"recbole-bd kind": "int", "hexadecimal": "x"},
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_forged_stand_ins_are_refused(name, tmp_path):
    sealed(tmp_path / "a", {"forged": FORGED[name]})
    with pytest.raises(CheckpointError, match="is damaged"):
        load_archive(tmp_path / "a")


def test_a_compressed_bomb_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"w": torch.zeros(10)}, tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "plain") as plain, zipfile.ZipFile(tmp_path / "a", "w") as bomb:
        for record in plain.infolist():
            content = bytes(2**24) if record.filename.endswith("data/0") else plain.read(record)
            bomb.writestr(record.filename, content, zipfile.ZIP_DEFLATED)
    with open(tmp_path / "a", "rb") as stream, pytest.raises(CheckpointError, match="is compressed"):
        sealed_archive.check_records(stream)


def written_by_hand(path, *records: tuple[str, bytes]):
    """A zip file with these records."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records:
            archive.writestr(name, content)
    return path


def test_a_pickle_that_torch_cannot_read_is_damage(tmp_path):
    """Under a right checksum: an opcode for extensions, which names no symbol."""
    plain = written_by_hand(tmp_path / "plain", ("archive/data.pkl", b"\x80\x02\x82\x01."), ("archive/version", b"3\n"))
    with (tmp_path / "forged").open("wb") as stream:
        sealing = sealed_archive._Sealing(stream)
        sealing.write(plain.read_bytes())
        sealing.seal()
    with pytest.raises(CheckpointError) as error:
        load_archive(tmp_path / "forged")
    assert str(error.value).startswith(f"checkpoint {tmp_path / 'forged'} is damaged: Weights only load failed")


@pytest.mark.parametrize(("content", "kind"), [([1], "list"), ("text", "str"), (OrderedDict(a=1), "OrderedDict")])
def test_content_that_is_no_dictionary_is_refused(content, kind, tmp_path):
    with pytest.raises(CheckpointError) as error:
        load_archive(sealed(tmp_path / "a", content), "record")
    assert str(error.value) == f"record {tmp_path / 'a'} contains a {kind}, not a dictionary"


def test_another_end_of_torchs_files_is_noticed_as_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda content, stream: stream.write(b"PK and a comment"))
    with pytest.raises(CheckpointError) as error:
        save_archive(tmp_path / "a", {})
    assert str(error.value) == (
        f"{tmp_path / 'a'} cannot be written: this version of torch does not end its files like a zip file without a "
        "comment"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    save_archive(tmp_path / "a", {})

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sealed_archive, "_verify", fail)
    with pytest.raises(CheckpointError) as error:
        load_archive(tmp_path / "a")
    assert str(error.value) == f"checkpoint {tmp_path / 'a'} cannot be read: Input/output error"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_records_that_claim_more_than_the_file_are_refused(tmp_path):
    twice = written_by_hand(tmp_path / "twice", ("a", b"12345678"), ("a", b"12345678"))
    large = written_by_hand(tmp_path / "large", ("a", b"12345678"))
    content = large.read_bytes()
    place = content.index(b"PK\x01\x02") + 24  # where the directory has the size of a record
    large.write_bytes(content[:place] + struct.pack("<I", len(content) + 1) + content[place + 4 :])
    for path in (twice, large):
        with (
            path.open("rb") as stream,
            pytest.raises(CheckpointError, match=r"^its records claim more bytes than the file has$"),
        ):
            sealed_archive.check_records(stream)
    with written_by_hand(tmp_path / "good", ("a", b"12345678"), ("b", b"")).open("rb") as stream:
        assert sealed_archive.check_records(stream).namelist() == ["a", "b"]
        assert stream.tell() == 0
