import subprocess
import sys

import pytest

from recbole_bd.cli.main import main


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
