import subprocess
import sys
from dataclasses import replace

import pytest

from recbole_bd import run_bd
from recbole_bd.cli.main import main
from recbole_bd.runs.trained_model import load_trained, model_files
from recbole_bd.serving.model_card import model_card
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.histories import items_in_time
from tests.helpers.serving import STOCK_RECBOLE, next_items_of, read_rows, settings_of
from tests.helpers.settings import alone


@pytest.mark.slow
def test_what_a_card_shows_works(trained_run, tmp_path):
    """The lines of code of a card, run where the files are."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("safetensors")
    main(["export", trained_run, "--format=npz,safetensors,onnx,recbole", f"--out={tmp_path}"])
    main(["recommend", trained_run, f"--out={tmp_path / 'r.csv'}"])
    expected = str([row[1] for row in read_rows(tmp_path / "r.csv") if row[0] == "u7"]) + "\n"
    text = (tmp_path / "MODEL_CARD.md").read_text()
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    found = []
    for block in blocks:
        code = STOCK_RECBOLE * ("recbole" in block) + block.replace("USER", "u7") + "\nprint(list(map(str, best)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
        found.append(done.stdout)
    assert found == [expected] * 4


@pytest.mark.slow
def test_what_a_card_of_a_sequential_model_shows_works(sequential_run, tmp_path):
    pytest.importorskip("onnxscript")
    main(["export", sequential_run, "--format=onnx,recbole", f"--out={tmp_path}"])
    main(["recommend", sequential_run, f"--out={tmp_path / 'r.csv'}"])
    text = (tmp_path / "MODEL_CARD.md").read_text()
    assert "The model recommends what comes next." in text
    blocks, found = [part.split("```")[0] for part in text.split("```python\n")[1:]], []
    for block in blocks:
        code = STOCK_RECBOLE * ("recbole" in block) + block.replace("USER", "u7") + "\nprint(list(map(str, best)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
        found.append(done.stdout)
    whole = str([row[1] for row in read_rows(tmp_path / "r.csv") if row[0] == "u7"]) + "\n"
    assert found[0] == whole
    trained = load_trained(model_files(sequential_run)["student"])
    ids = trained.split.dataset.field2id_token["item_id"]
    measured = [str(ids[item]) for _, item in next_items_of(trained, items_in_time()["u7"][:-1], 10)]
    assert found[1] == f"{measured}\n"


def test_a_card_says_what_lists_leave_out(student):
    text = model_card(student, {"recbole": "m.pth"}, None, [])
    assert "\nLists leave out a user's training and validation items, as the test does.\n" in text
    assert "full_sort_topk" in text
    assert "Without training interactions" not in text


def test_a_card_of_other_data_says_what_differs(tmp_path):
    """Repeated interactions, a test among sampled items, an item that is in the test part alone."""
    write_inter(tmp_path, "late", block_pairs(), "train")
    write_inter(tmp_path, "late", block_pairs(seed=1)[::9], "valid")
    write_inter(tmp_path, "late", [*block_pairs(seed=1)[1::9], ("u0", "j0")], "test")
    settings = settings_of(tmp_path, tmp_path, dataset="late", benchmark_filename=["train", "valid", "test"], epochs=1)
    settings |= {"repeatable": True, "eval_args": {"mode": "uni5"}, "metrics": ["Hit"], "valid_metric": "Hit@5"}
    result = run_bd("BPR", config_dict=alone({key: settings[key] for key in settings if key != "distill_epochs"}))
    trained = load_trained(model_files(result["run_folder"])["model"])
    text = model_card(trained, {"recbole": "m.pth"}, result, [])
    assert "| test, mode uni5 | hit@5 |" in text
    assert "- Without training interactions, so with scores that mean little: 1 item.\n" in text
    assert (
        "Lists rank all items and leave out no items, because users interact with the same item again "
        "(`repeatable: True`). The test above ranks candidates of mode uni5 only.\n"
    ) in text
    assert "full_sort_topk" not in text


def test_a_model_that_was_not_measured_says_so(student):
    text = model_card(replace(student, valid={}), {}, None, [])
    assert "\n## Quality\n\nNot measured.\n\nScores are logits, not probabilities.\n" in text
    assert "| run |" not in text


@pytest.mark.parametrize("result", [None, {"seed": 7, "config_hash": "0123456789abcdef", "command": "recbole-bd run"}])
def test_a_model_whose_run_has_no_such_role_has_its_validation(result, student):
    text = model_card(replace(student, valid={"ndcg@5": 0.25}), {}, result, ["A note."])
    assert "| part | ndcg@5 |\n|---|---:|\n| validation | 0.2500 |\n" in text
    assert ("| run | seed 7, configuration 0123456789ab |\n| command | `recbole-bd run` |" in text) == bool(result)
    assert "- A note.\n" in text


def test_the_quality_is_that_of_every_arm_in_the_test(student):
    arm = {"valid": {"ndcg@5": 0.9}, "best_epoch": 0}
    role = {"separate": {**arm, "test": {"ndcg@5": 0.1}}, "distilled": {**arm, "test": {"ndcg@5": 0.2}}}
    result = {"seed": 7, "config_hash": "c", "command": "recbole-bd run", "student": role}
    assert (
        "| test, full ranking | ndcg@5 |\n|---|---:|\n| separate | 0.1000 |\n| distilled (this model) | 0.2000 |\n"
        in (model_card(student, {}, result, []))
    )
