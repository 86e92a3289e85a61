"""GitHub's workflows: the checks run on each Python that the package supports."""

import re

import yaml

from tests.helpers.paths import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"


def test_the_checks_run_on_every_supported_python():
    job = yaml.safe_load((WORKFLOWS / "checks.yml").read_text())["jobs"]["checks"]
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert job["strategy"]["matrix"]["python"] == supported
    assert job["steps"][-1] == {"run": ".ci/run"}


def test_pages_are_published_from_main_alone_and_after_a_build_without_warnings():
    jobs = yaml.safe_load((WORKFLOWS / "docs.yml").read_text())["jobs"]
    commands = [step.get("run", "") for step in jobs["build"]["steps"]]
    assert any(command.startswith("sphinx-build -W ") for command in commands)
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["if"] == "github.ref == 'refs/heads/main'"
