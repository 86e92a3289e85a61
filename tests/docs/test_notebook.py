"""The notebook of the quickstart: committed with the outputs of a real run, and it still runs."""

import os
import re

import pytest

from tests.helpers.paths import ROOT

NOTEBOOK = ROOT / "docs/notebooks/quickstart.ipynb"
SHORTER = 'settings |= {"epochs": 2, "distill_epochs": 2, "threads": 1}'


@pytest.fixture
def notebook():
    """The notebook, as nbformat reads it."""
    for library in ("nbclient", "ipykernel"):
        pytest.importorskip(library, reason=f'{library} is not installed: pip install -e ".[notebook]"')
    import nbformat

    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook) -> list:
    """The cells of code, in their order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_those_of_one_whole_run_and_name_no_machine(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"/(tmp|root|home)/|Traceback", text)
    assert text.count('"image/png"') == 1  # the curves
    assert sum(bool(cell.outputs) for cell in cells) >= 5


@pytest.mark.slow
def test_it_runs_from_the_first_cell_to_the_last(notebook, tmp_path, monkeypatch):
    """With two epochs for each stage, in a folder of its own; an error in a cell is this test's error."""
    import nbclient

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    [parameters] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source += f"\n{SHORTER}"
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    *_, recommended = code_cells(notebook)
    assert recommended.outputs[-1].data["text/html"].count("<td>") == 2 * 5  # the best five of two users
    assert len(list((tmp_path / "saved").glob("*-ml-100k-*/result.json"))) == 2
