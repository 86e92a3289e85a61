"""Page on code of one's own: its files are a package that trains, is tested and is found by its short names."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.settings import QUICK

PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.M | re.S))
CALLED = re.search(r"^## From Python$.*?^```python\n(.*?)^```$", PAGE, re.M | re.S)[1]


@pytest.fixture
def package(tmp_path):
    """The page's package and what its installation writes, in a folder of their own."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "my_package" / "__init__.py").touch()
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    points = re.findall(r'^\[project\.entry-points\."(.+)"\]\n(\w+) = "(.+)"$', FILES["pyproject.toml"], re.M)
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{name} = {where}\n" for group, name, where in points))
    return tmp_path


@pytest.mark.slow
def test_the_package_of_the_page_runs(package, block_data):
    assert {f"my_package/{name}" for name in ("mine.py", "Mine.yaml", "models.py", "BiasMF.yaml")} < FILES.keys()
    shared = {**QUICK, "data_path": str(block_data), "epochs": 1, "distill_epochs": 1, "topk": [10]}
    for key in ("teacher.embedding_size", "refresh_period"):
        del shared[key]
    named = {**shared, "model": "Mine", "teacher_model": "BiasMF", "metrics": ["Recall", "FirstHit"]}
    named |= {"valid_metric": "FirstHit@10", "my_weight": 0.5}
    by_name = f"""
import json, recbole_bd
from test_models import test_bias_mf_can_teach_and_learn
test_bias_mf_can_teach_and_learn()
result = recbole_bd.run_bd(config_dict={named!r})
print(json.dumps([result["objective"]["distilled"], result["own_code"], result["student"]["distilled"]["test"]]))
"""
    plain = {key: value for key, value in shared.items() if key not in ("metrics", "valid_metric", "refresh_period")}
    of_page = CALLED.replace("config_dict={", f"config_dict={{**{plain!r}, ")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", by_name + of_page],
        cwd=package,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (package, package / "my_package", ROOT)))},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    objective, own_code, test = json.loads(run.stdout.splitlines()[0])
    assert objective == {"student": "loss(student) = BPR + 0.5 * square(positives, target frozen teacher)"}
    assert [one.partition(" ")[0] for one in own_code] == ["my_package.models:BiasMF", "my_package.metrics:FirstHit"]
    assert test.keys() == {"recall@10", "firsthit@10"}
