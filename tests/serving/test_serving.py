"""A trained model at work: recommendations, exports and their agreement, requests timed."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.cli.main import main
from recbole_bd.errors import ConfigError, DataError, ExportError, RunFolderError
from recbole_bd.runs import trained_model as trained_module
from recbole_bd.runs.trained_model import load_trained, model_files
from recbole_bd.sampler import top_lists
from recbole_bd.serving import command, latency
from recbole_bd.serving.export import FORMATS, export_index, vectors_of
from recbole_bd.serving.onnx_graph import TopItemsGraph
from recbole_bd.serving.recommend import read_users, recommend
from recbole_bd.serving.recommender import Recommender, popular_items
from tests.helpers.settings import QUICK, alone

COUNT = 5


def settings_of(folder, block_data, **more):
    settings = {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(folder), **more}
    for role in ("teacher", "student"):
        if settings.get(f"{role}_model") == "NeuMF":
            del settings[f"{role}.embedding_size"]
    return settings


@pytest.fixture(scope="module")
def run(block_data, tmp_path_factory):
    """The folder of a run of BPR and BPR."""
    return run_bd(config_dict=settings_of(tmp_path_factory.mktemp("serving"), block_data))["run_folder"]


@pytest.fixture(scope="module")
def student(run):
    return load_trained(model_files(run)["student"])


def reference(trained, user, count, parts=("train",)):
    """Best items of a user by sorting all scores in plain Python."""
    with trained.role.scoring():
        scores = trained.role.all_logits(torch.tensor([user]))[0].tolist()
    known = {0}
    for part in parts:
        users, items = trained.split.pairs(part)
        known |= set(items[users == user].tolist())
    return sorted(((score, item) for item, score in enumerate(scores) if item not in known), reverse=True)[:count]


@pytest.mark.parametrize(
    ("exclude", "parts"), [("train", ["train"]), ("known", ["train", "valid", "test"]), ("nothing", [])]
)
def test_the_best_items_are_those_that_sorting_gives(student, exclude, parts):
    recommender = Recommender(student.role, student.split, COUNT, exclude)
    users = torch.arange(1, student.split.n_users)
    top = recommender.top(users)
    for user, items, scores in zip(users.tolist(), top.items.tolist(), top.scores.tolist(), strict=True):
        expected = reference(student, user, COUNT, parts)
        assert scores == pytest.approx([score for score, _ in expected], rel=1e-6)
        assert items == [item for _, item in expected]


def test_a_user_with_few_items_left_gets_those(student):
    recommender = Recommender(student.role, student.split, 1000)
    assert recommender.count == student.split.n_items - 1
    top = recommender.top(torch.tensor([1]))
    left = recommender.count - len(recommender.excluded_items(torch.tensor([1]))[0])
    assert (top.items[0] > 0).sum() == left
    assert (top.items[0, left:] == 0).all()
    assert torch.isneginf(top.scores[0, left:]).all()


def read_rows(path):
    """Rows of any form as (user, item, rank, score)."""
    if path.suffix == ".csv":
        with path.open(newline="") as stream:
            rows = list(csv.reader(stream))
        assert rows[0] == ["user_id", "item_id", "rank", "score"]
        return [(u, i, int(r), float(s) if s else None) for u, i, r, s in rows[1:]]
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [
            (line["user_id"], item, rank, score)
            for line in lines
            for rank, (item, score) in enumerate(zip(line["item_ids"], line["scores"], strict=True), start=1)
        ]
    table = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return [tuple(row[name] for name in ("user_id", "item_id", "rank", "score")) for row in table]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_every_form_holds_every_user_in_original_ids(student, tmp_path, ending, at_once, monkeypatch):
    monkeypatch.setattr("recbole_bd.serving.recommend._USERS_AT_ONCE", at_once)
    monkeypatch.setitem(top_lists._SCORES_AT_ONCE, "cpu", at_once * 50)
    recommender = Recommender(student.role, student.split, COUNT)
    outcome = recommend(recommender, student.split, None, tmp_path / f"r.{ending}")
    assert (outcome.users, outcome.unknown) == (60, [])
    dataset = student.split.dataset
    user_ids, item_ids = (dataset.field2id_token[field] for field in ("user_id", "item_id"))
    expected = [
        (user_ids[user], item_ids[item], rank, score)
        for user in range(1, 61)
        for rank, (score, item) in enumerate(reference(student, user, COUNT), start=1)
    ]
    found = read_rows(tmp_path / f"r.{ending}")
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    assert [row[3] for row in found] == pytest.approx([row[3] for row in expected], rel=1e-6)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_unknown_users_are_skipped_or_given_popular_items_or_refused(student, tmp_path, ending):
    out = tmp_path / f"r.{ending}"
    recommender = Recommender(student.role, student.split, COUNT)
    users = ["nobody", "u3", "niemand"]
    outcome = recommend(recommender, student.split, users, out)
    assert (outcome.users, outcome.unknown) == (1, ["nobody", "niemand"])
    assert {row[0] for row in read_rows(out)} == {"u3"}
    outcome = recommend(recommender, student.split, users, out, "popular")
    assert (outcome.users, outcome.unknown) == (3, ["nobody", "niemand"])
    rows = read_rows(out)
    assert list(dict.fromkeys(row[0] for row in rows)) == users
    counts = np.bincount(student.split.pairs("train")[1].numpy(), minlength=student.split.n_items)
    ids = student.split.dataset.field2id_token["item_id"]
    of_nobody = [row for row in rows if row[0] == "nobody"]
    assert [row[3] for row in of_nobody] == [None] * COUNT
    assert [counts[list(ids).index(row[1])] for row in of_nobody] == sorted(counts)[: -COUNT - 1 : -1]
    out.unlink()
    with pytest.raises(DataError, match=r"2 of 3 users are not in the data set blocks: nobody, niemand; --unknown="):
        recommend(recommender, student.split, users, out, "error")
    assert not out.exists()


def test_popular_items_of_equals_begin_with_the_one_met_first(student):
    counts = np.bincount(student.split.pairs("train")[1].numpy(), minlength=student.split.n_items)
    expected = sorted(range(1, student.split.n_items), key=lambda item: (-counts[item], item))
    assert popular_items(student.split, 10).tolist() == expected[:10]


def test_users_are_read_one_a_line(tmp_path):
    path = tmp_path / "users.txt"
    path.write_text("\ufeffuser_id:token\n a b \n\nc\na b\n", encoding="utf-8")
    assert read_users(path, "user_id") == ["a b", "c"]
    path.write_text("c\nuser_id\n")
    assert read_users(path, "user_id") == ["c", "user_id"]
    path.write_text("user_id\n\n")
    with pytest.raises(DataError, match=r"users\.txt holds no user"):
        read_users(path, "user_id")
    with pytest.raises(DataError, match=r"gone\.txt cannot be read"):
        read_users(tmp_path / "gone.txt", "user_id")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"users\.txt cannot be read"):
        read_users(path, "user_id")


@pytest.fixture(scope="module")
def others(block_data, tmp_path_factory):
    """Models of the other families, hardly trained, by name: what they are matters, not how good."""
    folder = tmp_path_factory.mktemp("others")
    more = {"epochs": 1, "distill_epochs": 1, "control": False}
    found = {}
    for teacher, student in (("LightGCN", "NeuMF"), ("CDAE", "MultiVAE"), ("SimpleX", "DMF")):
        settings = settings_of(folder, block_data, teacher_model=teacher, student_model=student, **more)
        settings = {key: value for key, value in settings.items() if "embedding_size" not in key}
        files = model_files(run_bd(config_dict=settings)["run_folder"])
        found |= {teacher: load_trained(files["teacher"]), student: load_trained(files["student"])}
    return found


def run_onnx(path, users, excluded):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return session.run(None, {"users": users.numpy(), "excluded": excluded.numpy()})


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF", "CDAE", "MultiVAE", "SimpleX", "DMF"])
def test_an_onnx_graph_recommends_what_torch_recommends(name, student, others, tmp_path):
    pytest.importorskip("onnxscript")
    trained = student if name == "BPR" else others[name]
    path, ids = FORMATS["onnx"](trained, tmp_path, COUNT)
    recommender = Recommender(trained.role, trained.split, COUNT)
    for users in (torch.tensor([3]), torch.randint(1, 61, (17,)), torch.arange(1, 61)):  # any number, repeated too
        known = recommender.excluded_items(users)
        excluded = torch.nn.utils.rnn.pad_sequence(known, batch_first=True)
        items, scores = run_onnx(path, users, excluded)
        top = recommender.top(users)
        assert np.abs(scores - top.scores.numpy()).max() < 1e-5
        apart = np.abs(np.diff(top.scores.numpy(), axis=1)).min(axis=1) > 1e-5
        assert (items[apart] == top.items.numpy()[apart]).all()
    numbers = json.loads(ids.read_text())
    dataset = trained.split.dataset
    assert [numbers["users"][user] for user in dataset.field2id_token["user_id"][1:]] == list(range(1, 61))
    assert numbers["items"][1:] == dataset.field2id_token["item_id"][1:].tolist()


def test_a_graph_never_recommends_padding_or_what_is_excluded(student):
    graph = TopItemsGraph(student.role, student.split.n_items)
    items, scores = graph(torch.tensor([1, 2]), torch.tensor([[4, 9], [7, 0]]))
    assert torch.isneginf(scores).sum(dim=1).tolist() == [3, 2]
    assert {4, 9, 0} == set(items[0, -3:].tolist())
    assert {7, 0} == set(items[1, -2:].tolist())


def test_vectors_in_both_forms_give_the_logits(student, tmp_path):
    (npz,) = FORMATS["npz"](student, tmp_path, COUNT)
    model = np.load(npz, allow_pickle=False)
    with student.role.scoring():
        logits = student.role.all_logits(torch.arange(1, 61))[:, 1:].numpy()
    dataset = student.split.dataset
    assert model["user_ids"].tolist() == dataset.field2id_token["user_id"][1:].tolist()
    assert model["item_ids"].tolist() == dataset.field2id_token["item_id"][1:].tolist()
    assert np.allclose(model["user_embedding"] @ model["item_embedding"].T, logits, atol=1e-6)
    numpy_of = pytest.importorskip("safetensors.numpy")
    path, ids = FORMATS["safetensors"](student, tmp_path, COUNT)
    tensors, names = numpy_of.load_file(path), json.loads(ids.read_text())
    assert all((tensors[name] == model[name]).all() for name in ("user_embedding", "item_embedding"))
    assert (names["users"], names["items"]) == (model["user_ids"].tolist(), model["item_ids"].tolist())


@pytest.mark.parametrize("name", ["LightGCN", "SimpleX", "DMF"])
def test_what_makes_vectors_is_folded_in(name, others):
    vectors, role = vectors_of(others[name]), others[name].role
    with role.scoring():
        logits = role.all_logits(torch.arange(1, 61))[:, 1:].numpy()
    assert np.allclose(vectors.users @ vectors.items.T, logits, atol=1e-5)


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_models_without_vectors_say_what_to_do(form, others, tmp_path):
    pytest.importorskip("safetensors")
    with pytest.raises(ExportError, match="NeuMF is not an inner product of user and item vectors: use --format=onnx"):
        FORMATS[form](others["NeuMF"], tmp_path, COUNT)


# RecBole alone, with nothing of this package: what an older stack has and a newer one took away is put back first.
STOCK = """
import sys, numpy, torch
for name, kind in (("float_", numpy.float64), ("complex_", numpy.complex128), ("unicode_", numpy.str_),
                   ("bool8", numpy.bool_), ("float", float), ("int", int), ("bool", bool), ("object", object)):
    if name not in numpy.__dict__:
        setattr(numpy, name, kind)
import scipy.sparse
if not hasattr(scipy.sparse.dok_matrix, "_update"):
    scipy.sparse.dok_matrix._update = lambda matrix, entries: matrix._dict.update(entries)
load = torch.load
torch.load = lambda *given, **more: load(*given, **{**more, "weights_only": False})
sys.modules["ray"] = sys.modules["ray.tune"] = type(sys)("ray")
sys.modules["ray"].tune = sys.modules["ray"]
from recbole.quick_start import load_data_and_model
config, model, dataset, train_data, valid_data, test_data = load_data_and_model(sys.argv[1])
assert not any(name.startswith("recbole_bd") for name in sys.modules), "this package was needed"
from recbole.data.interaction import Interaction
users = torch.arange(1, dataset.user_num)
model.eval()
with torch.no_grad():
    scores = model.full_sort_predict(Interaction({dataset.uid_field: users})).view(len(users), -1)
numpy.save(sys.argv[2], scores.numpy())
"""


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "CDAE"])
def test_stock_recbole_reads_its_form(name, student, others, tmp_path):
    trained = student if name == "BPR" else others[name]
    (path,) = FORMATS["recbole"](trained, tmp_path, COUNT)
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(path), str(tmp_path / "scores.npy")],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "scores.npy")
    with trained.role.scoring():
        logits = trained.role.all_logits(torch.arange(1, 61))
    expected = torch.sigmoid(logits) if name == "CDAE" else logits
    assert np.allclose(found[:, 1:], expected[:, 1:].numpy(), atol=1e-5)


def test_an_index_finds_the_best_items(student, tmp_path):
    faiss = pytest.importorskip("faiss")
    path, recall = export_index(student, tmp_path, COUNT)
    index, vectors = faiss.read_index(str(path)), vectors_of(student)
    found = index.search(vectors.users, COUNT)[1]
    exact = (-(vectors.users @ vectors.items.T)).argsort(axis=1)[:, :COUNT]
    share = np.mean([len(set(one) & set(other)) / COUNT for one, other in zip(found, exact, strict=True)])
    assert recall == pytest.approx(share)
    assert recall > 0.95


def test_requests_are_timed_for_both_roles(run, tmp_path):
    models = [load_trained(path) for path in model_files(run).values()]
    record = latency.measure(models, COUNT, (1, 16), requests=20)
    sizes = {role: about["bytes"] for role, about in record["models"].items()}
    users, items = models[0].split.n_users, models[0].split.n_items
    assert sizes == {"teacher": 4 * 8 * (users + items), "student": 4 * 2 * (users + items)}
    for about in record["models"].values():
        assert about["vector_bytes"] == about["bytes"]
        for size, values in about["batches"].items():
            assert 0 < values["p50_ms"] <= values["p95_ms"] <= values["p99_ms"]
            assert values["users_per_second"] > 0
            assert size in ("1", "16")
    paths = latency.write_record(record, tmp_path)
    assert [path.name for path in paths] == ["serving.json", "serving.txt", "serving.png"]
    assert json.loads(paths[0].read_text())["models"] == record["models"]
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_the_commands_from_a_run_folder(run, tmp_path, capsys):
    out = tmp_path / "r.csv"
    assert main(["recommend", run, f"--out={out}", "-k", "3"]) == 0
    assert f"60 users, 3 items each by the student: {out}" in capsys.readouterr().out
    assert len(read_rows(out)) == 180
    (tmp_path / "users").write_text("u1\nnobody\n")
    assert main(["recommend", run, f"--out={out}", "--users", str(tmp_path / "users"), "--role=teacher"]) == 0
    assert "1 users are not in the data and were skipped: nobody" in capsys.readouterr().out
    pytest.importorskip("onnxscript")
    pytest.importorskip("faiss")
    assert main(["export", run, "--format=npz,safetensors,onnx,recbole", "--index=hnsw", f"--out={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "finds 100.0% of the exact 10 best items" in shown
    card = (tmp_path / "MODEL_CARD.md").read_text()
    for name in ("student.npz", "student.safetensors", "student.onnx", "student-recbole.pth", "student.hnsw.faiss"):
        assert str(tmp_path / name) in shown
        assert f"`{name}`" in card
    result = json.loads((model_files(run)["student"].parent / "result.json").read_text())
    for arm in ("separate", "continued", "distilled"):
        assert f"{result['student'][arm]['test']['ndcg@5']:.4f}" in card
    assert f"{result['student']['parameters']:,} parameters" in card
    assert "\n\n## How to load\n" in card
    for role in ("teacher", "student"):  # neither writes over the other's card
        assert main(["export", run, "--format=npz", f"--role={role}"]) == 0
    for role, path in model_files(run).items():
        assert f"the {role} of BD" in (path.parent / "export" / role / "MODEL_CARD.md").read_text()
    assert main(["serve-bench", run, "--requests=5", "--batch=1,8"]) == 0
    shown = capsys.readouterr().out
    assert "The student has 25.0% of the teacher's bytes" in shown


def test_what_a_card_shows_works(run, tmp_path):
    """The lines of code of a card, run where the files are."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("safetensors")
    main(["export", run, "--format=npz,safetensors,onnx", f"--out={tmp_path}"])
    text = (tmp_path / "MODEL_CARD.md").read_text()
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    found = []
    for block in blocks:
        code = block.replace("USER", "u7") + "\nprint(list(map(str, best)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
        found.append(done.stdout)
    assert len(found) == 3
    assert len(set(found)) == 1  # nothing is excluded in any of them


def test_on_movielens_all_outputs_agree(tmp_path, capsys):
    """recommend, ONNX, npz, safetensors and the checkpoint of RecBole's form, for every user."""
    pytest.importorskip("onnxscript")
    settings = {"dataset": "ml-100k", "epochs": 4, "distill_epochs": 2, "control": False, "show_progress": False}
    settings |= {"device": "cpu", "checkpoint_dir": str(tmp_path / "saved")}
    folder = run_bd(config_dict=settings)["run_folder"]
    assert main(["recommend", folder, f"--out={tmp_path / 'r.csv'}"]) == 0
    assert main(["export", folder, "--format=npz,onnx,recbole", f"--out={tmp_path}"]) == 0
    rows = read_rows(tmp_path / "r.csv")
    trained = load_trained(model_files(folder)["student"])
    dataset = trained.split.dataset
    user_ids, item_ids = (dataset.field2id_token[field] for field in ("user_id", "item_id"))
    users, everything = torch.arange(1, trained.split.n_users), range(1, trained.split.n_items)
    known = Recommender(trained.role, trained.split, 10).excluded_items(users)
    model = np.load(tmp_path / "student.npz")
    scores = model["user_embedding"] @ model["item_embedding"].T  # in the order of the ids
    for row, items in enumerate(known):
        scores[row, items.numpy() - 1] = -np.inf
    by_npz = (-scores).argsort(axis=1, kind="stable")[:, :10]
    excluded = torch.nn.utils.rnn.pad_sequence(known, batch_first=True)
    items, logits = run_onnx(tmp_path / "student.onnx", users, excluded)
    assert len(rows) == 10 * len(users)
    assert len(everything) == len(model["item_ids"])
    for number in range(len(users)):
        mine = rows[10 * number : 10 * number + 10]
        assert {row[0] for row in mine} == {user_ids[number + 1], model["user_ids"][number]}
        found = np.array([row[3] for row in mine])
        assert np.abs(found - logits[number]).max() < 1e-5
        assert np.abs(found - scores[number, by_npz[number]]).max() < 1e-5
        if np.abs(np.diff(found)).min() > 1e-5:  # no ties
            expected = [row[1] for row in mine]
            assert [item_ids[item] for item in items[number]] == expected
            assert model["item_ids"][by_npz[number]].tolist() == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recommend", "--out=r.csv"], "recommend takes a run folder"),
        (["recommend", "RUN"], "recommend: --out=FILE is missing"),
        (
            ["recommend", "RUN", "--out=r.txt"],
            "r.txt: the ending names the format and must be one of .csv, .jsonl, .parquet",
        ),
        (["recommend", "RUN", "--out=r.csv", "-k", "0"], "recommend: argument -k/--k: '0' is not a whole number"),
        (["recommend", "RUN", "--out=r.csv", "--unknown=x"], "recommend: argument --unknown: invalid choice"),
        (["recommend", "RUN", "--out=r.csv", "--role=model"], "has no model, only teacher, student"),
        (["recommend", "gone", "--out=r.csv"], "gone is neither a run folder nor a model's file"),
        (["export", "RUN"], "export: --format=NAME is missing"),
        (["export", "RUN", "--format=npz,x"], "export: --format=x: the formats are npz, safetensors, onnx, recbole"),
        (["serve-bench", "RUN", "--batch=1,x"], "serve-bench: --batch=1,x: 'x' is not a whole number"),
        (["serve-bench"], "serve-bench takes a run folder"),
    ],
)
def test_wrong_words_are_one_line(words, message, run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([run if word == "RUN" else word for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_models_of_a_run_that_has_not_finished_are_not_served(run, tmp_path):
    record = json.loads((model_files(run)["student"].parent / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**record, "status": "interrupted"}))
    with pytest.raises(RunFolderError, match="has not finished; recbole-bd run --resume="):
        model_files(tmp_path)
    with pytest.raises(RunFolderError, match="neither a run folder nor"):
        model_files(tmp_path / "gone")


def test_a_baseline_recommends_too(block_data, tmp_path):
    settings = alone(settings_of(tmp_path, block_data))
    result = run_bd("ItemKNN", config_dict={key: settings[key] for key in settings if key != "distill_epochs"})
    trained = load_trained(model_files(result["run_folder"])["model"])
    outcome = recommend(Recommender(trained.role, trained.split, 3), trained.split, ["u1"], tmp_path / "r.csv")
    assert outcome.users == 1
    assert len(read_rows(tmp_path / "r.csv")) == 3
    with pytest.raises(ConfigError):
        recommend(Recommender(trained.role, trained.split, 3), trained.split, ["u1"], tmp_path / "r.xls")


def test_a_model_that_was_trained_on_a_gpu_is_loaded_where_there_is_none(run, monkeypatch):
    path = model_files(run)["student"]
    snapshot, about = trained_module.load_model(path)
    elsewhere = {**about, "settings": {**about["settings"], "device": "cuda:3", "gpu_id": "3"}}
    monkeypatch.setattr(trained_module, "load_model", lambda _: (snapshot, elsewhere))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load_trained(path).role.device.type == "cpu"


def test_what_is_exported_is_on_the_cpu_with_all_that_its_model_keeps(run, monkeypatch, tmp_path):
    """A model's graphs and histories are no parameters, and stay behind when it is moved."""
    devices = []
    monkeypatch.setattr(command, "load_trained", lambda path, device: devices.append(device) or load_trained(path))
    assert main(["export", str(run), "--format=npz", f"--out={tmp_path}"]) == 0
    assert devices == ["cpu"]
