"""Data sets: what is read, and the one use of the network, a download, with the network replaced."""

import io
import logging
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
import recbole.utils.url as host_url
from recbole.data.dataset import Dataset

from recbole_bd.data.dataset import AtomicDataset
from recbole_bd.data.split import load_split
from recbole_bd.errors import DataError
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.paths import SHARED_DATA, needs_data
from tests.helpers.settings import make_config

# A name that RecBole's list has, and the address it has for it.
NAME, URL = "yelp", "https://recbole.s3-accelerate.amazonaws.com/ProcessedDatasets/Yelp/yelp.zip"
TABLE = "user_id:token\titem_id:token\n" + "".join(f"{user}\t{item}\n" for user, item in block_pairs())


def archive(**files: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, text in (files or {"yelp.inter": TABLE}).items():
            packed.writestr(name, text)
    return stream.getvalue()


class Network:
    """Stand-in for `urllib.request.urlopen` that serves some bytes and records its calls."""

    def __init__(self, content: bytes = b"", size: int | None = None, error: Exception | None = None):
        self.content, self.size, self.error = content, len(content) if size is None else size, error
        self.asked: list[str] = []

    def urlopen(self, url):
        self.asked.append(url)
        return self

    def info(self):
        return {"Content-Length": self.size}

    def read(self, length):
        if self.error:
            raise self.error
        piece, self.content = self.content[:length], self.content[length:]
        return piece


@pytest.fixture
def load(tmp_path, quick, monkeypatch):
    """Load the data set with a network: `load(network)`."""

    def load(network, **more):
        monkeypatch.setattr(host_url, "ur", network)
        return load_split(make_config({**quick, "dataset": NAME, "data_path": str(tmp_path / "data"),
                                       "load_col": {"inter": ["user_id", "item_id"]}, "ITEM_ID_FIELD": "item_id",
                                       "rm_dup_inter": None, "user_inter_num_interval": "[0,inf)",
                                       "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user",
                                                     "order": "RO", "mode": "full"}, **more}))  # fmt: skip

    return load


def inside(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_address_is_logged_before_the_network_is_used(load, tmp_path, caplog, monkeypatch):
    network = Network(archive())
    logged_before = []
    monkeypatch.setattr(Network, "urlopen", lambda self, url: logged_before.append(caplog.text) or self)
    with caplog.at_level(logging.INFO, logger="recbole_bd"):
        split = load(network)
    assert split.statistics()["interactions"] == len(block_pairs())
    assert f"data set {NAME}: {tmp_path / 'data' / NAME} does not exist; downloading from {URL}" in logged_before[0]
    assert inside(tmp_path / "data") == {NAME, f"{NAME}/{NAME}.inter"}
    assert os.name == "nt" or stat.S_IMODE((tmp_path / "data" / NAME).stat().st_mode) == 0o755


def test_nothing_is_fetched_where_the_folder_is_there(load, tmp_path):
    network = Network()
    write_inter(tmp_path / "data", NAME, block_pairs())
    load(network)
    (tmp_path / "data" / NAME / f"{NAME}.inter").unlink()
    with pytest.raises(DataError, match="does not exist"):
        load(network)
    assert network.asked == []


FAILURES = {
    "no network": (Network(error=OSError("Connection reset")), "Stopped downloading"),
    "cut off": (Network(archive()[:-40]), "not a zip file"),
    "less than was said": (Network(archive()[:100], size=10**6), "not a zip file"),
    "no archive": (Network(b"<html>Not found</html>"), "not a zip file"),
    "torn inside": (Network(archive().replace(b"u1\ti", b"u1\tj", 1)), "CRC"),
    "another data set": (Network(archive(**{"other.inter": TABLE})), "contains no yelp.inter"),
    "no size": (Network(size="?"), "invalid literal"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failed_download_leaves_nothing_and_the_next_start_tries_again(case, load, tmp_path):
    network, message = FAILURES[case]
    with pytest.raises(DataError, match=f"download from {URL} failed .*{message}") as error:
        load(network)
    assert "\n" not in str(error.value)
    assert inside(tmp_path / "data") == set()
    assert load(Network(archive())).statistics()["interactions"] == len(block_pairs())


@pytest.mark.parametrize("moment", ["extract_zip", "rename_atomic_files"])
def test_a_kill_on_the_way_leaves_no_data_set(moment, load, tmp_path, monkeypatch):
    """Whatever ends the process between download and the last step: the folder is not there."""
    import recbole.data.dataset.dataset as host

    class KilledError(BaseException):
        pass

    original = getattr(host, moment)

    def half(*arguments):
        original(*arguments)
        assert not (tmp_path / "data" / NAME).exists()
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(host, moment, half)
        with pytest.raises(KilledError):
            load(Network(archive()))
    assert not (tmp_path / "data" / NAME).exists()
    load(Network(archive()))


def test_a_large_download_that_is_declined_is_one_line(load, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(DataError, match="it was declined"):
        load(Network(size=2**31))

    def nobody(_):
        raise EOFError("EOF when reading a line")

    monkeypatch.setattr("builtins.input", nobody)
    with pytest.raises(DataError, match="EOF when reading"):
        load(Network(size=2**31))


def test_an_archive_cannot_write_outside_its_folder(load, tmp_path):
    """RecBole unpacks with `ZipFile.extractall`, which strips `..` and roots."""
    outside = tmp_path / "outside.txt"
    packed = archive(**{"yelp.inter": TABLE, "../outside.txt": "x", "../../outside.txt": "x", str(outside): "x"})
    load(Network(packed))
    assert not outside.exists()
    assert {name.split("/")[0] for name in inside(tmp_path / "data")} == {NAME}
    assert not (tmp_path.parent / "outside.txt").exists()


def test_another_process_that_was_faster_is_welcome(load, tmp_path, monkeypatch):
    import recbole.data.dataset.dataset as host

    original = host.rename_atomic_files

    def meanwhile(*arguments):
        original(*arguments)
        write_inter(tmp_path / "data", NAME, block_pairs()[:300])

    monkeypatch.setattr(host, "rename_atomic_files", meanwhile)
    assert load(Network(archive())).statistics()["interactions"] == 300
    assert inside(tmp_path / "data") == {NAME, f"{NAME}/{NAME}.inter"}


def test_a_folder_that_cannot_be_made_is_named_and_nothing_is_fetched(load, tmp_path):
    (tmp_path / "data").write_text("a file")
    network = Network(archive())
    with pytest.raises(DataError) as error:
        load(network)
    path = tmp_path / "data"
    assert str(error.value) == (
        f"data set {NAME}: {path / NAME} does not exist and the download from {URL} failed "
        f"([Errno 17] File exists: '{path}'). Put {NAME}.inter there, or set --data_path to the folder above {NAME}/"
    )
    assert network.asked == []
    assert path.read_text() == "a file"


def test_a_download_that_cannot_be_renamed_leaves_nothing(load, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DataError, match=r"failed \(\[Errno 13\] Permission denied\)\. Put yelp\.inter there"):
        load(Network(archive()))
    assert inside(tmp_path / "data") == set()


# --- what is read -----------------------------------------------------------------------------------------------------
RATED = "user_id:token\titem_id:token\trating:float\n" + "".join(
    f"{user}\t{item}\t{1 + number % 5}\n" for number, (user, item) in enumerate(block_pairs())
)


def test_what_recbole_itself_makes_of_such_ids(tmp_path, quick):
    """RecBole drops a user, and reads the text between two quotation marks as one item."""
    text = RATED + 'NA\ti2\t3\nu1\t"i3\t3\nu2\ti3\t3\nu3\ti4"\t3\n'
    config = make_config(
        {**quick, "dataset": "odd", "data_path": str(tmp_path), "load_col": {"inter": ["user_id", "item_id", "rating"]}}
    )
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.inter").write_text(text)
    theirs, ours = Dataset(config), AtomicDataset(config)
    assert (ours.inter_num, theirs.inter_num) == (len(block_pairs()) + 4, len(block_pairs()) + 1)
    assert "NA" in ours.field2id_token["user_id"]
    assert "NA" not in theirs.field2id_token["user_id"]


REAL = [
    ("ml-100k", {}),
    ("ml-100k", {"load_col": {"inter": "*", "user": "*", "item": "*"}}),
    pytest.param("citeulike", {"data_path": str(SHARED_DATA)}, marks=needs_data("citeulike")),
    pytest.param("ml-1m", {"data_path": str(SHARED_DATA)}, marks=needs_data("ml-1m")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "more"), REAL)
def test_published_data_is_exactly_what_recbole_reads(name, more):
    config = make_config(dataset=name, **more)
    theirs, ours = Dataset(config), AtomicDataset(config)
    assert theirs.feat_name_list == ours.feat_name_list
    assert (theirs.field2type, theirs.field2seqlen) == (ours.field2type, ours.field2seqlen)
    for field, tokens in theirs.field2id_token.items():
        assert (ours.field2id_token[field] == tokens).all()
    for features in theirs.feat_name_list:
        expected, found = getattr(theirs, features), getattr(ours, features)
        assert list(expected) == list(found)
        for column in expected:
            a, b = expected[column].to_numpy(), found[column].to_numpy()
            assert all(map(np.array_equal, a, b)) if a.dtype == object else np.array_equal(a, b)


@pytest.mark.parametrize(
    ("interval", "kept"),
    [("[4,inf)", {4, 5}), ("[1,1];(3,5)", {1, 4}), ("(2,4]", {3, 4}), ("[5,5]", {5})],
)
def test_interactions_are_kept_by_intervals_of_their_numbers(interval, kept, tmp_path, quick):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.inter").write_text(RATED)
    more = {"load_col": {"inter": ["user_id", "item_id", "rating"]}, "val_interval": {"rating": interval}}
    data = AtomicDataset(make_config({**quick, "dataset": "odd", "data_path": str(tmp_path), **more}))
    assert set(data.inter_feat["rating"].tolist()) == kept


def test_interactions_are_kept_by_a_list_of_ids(tmp_path, quick):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.inter").write_text(RATED)
    more = {"val_interval": {"user_id": ["u3", "u8"]}}
    data = AtomicDataset(make_config({**quick, "dataset": "odd", "data_path": str(tmp_path), **more}))
    assert set(data.id2token("user_id", data.inter_feat["user_id"])) == {"u3", "u8"}


def test_a_file_of_which_no_column_is_loaded_is_not_read(tmp_path, quick):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.inter").write_text(RATED)
    (tmp_path / "odd" / "odd.user").write_text("no header at all")
    more = {"load_col": {"inter": ["user_id", "item_id"], "user": []}}
    data = AtomicDataset(make_config({**quick, "dataset": "odd", "data_path": str(tmp_path), **more}))
    assert data.user_feat is None
    assert data.inter_num == len(block_pairs())
