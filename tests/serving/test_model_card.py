import subprocess
import sys
from dataclasses import replace

import pytest

from recbole_bd.cli.main import main
from recbole_bd.serving.model_card import model_card


@pytest.mark.slow
def test_what_a_card_shows_works(trained_run, tmp_path):
    """The lines of code of a card, run where the files are."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("safetensors")
    main(["export", trained_run, "--format=npz,safetensors,onnx", f"--out={tmp_path}"])
    text = (tmp_path / "MODEL_CARD.md").read_text()
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    found = []
    for block in blocks:
        code = block.replace("USER", "u7") + "\nprint(list(map(str, best)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
        found.append(done.stdout)
    assert len(found) == 3
    assert len(set(found)) == 1  # nothing is excluded in any of them


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
