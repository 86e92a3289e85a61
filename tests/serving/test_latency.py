import json

from recbole_bd import run_bd
from recbole_bd.runs.trained_model import load_trained, model_files
from recbole_bd.serving import latency
from tests.helpers.serving import COUNT
from tests.helpers.settings import QUICK, alone


def test_requests_are_timed_for_both_roles(trained_run, tmp_path):
    models = [load_trained(path) for path in model_files(trained_run).values()]
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


def test_the_bytes_of_a_closed_form_model_are_those_that_it_stores(block_data, tmp_path):
    settings = {**alone(QUICK), "data_path": str(block_data), "checkpoint_dir": str(tmp_path)}
    folder = run_bd("EASE", config_dict=settings)["run_folder"]
    (about,) = latency.measure([load_trained(model_files(folder)["model"])], COUNT, (1,), 2)["models"].values()
    assert about["bytes"] > 4 * about["parameters"]
