"""The notebook runs, and says what it should."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

EXAMPLES = Path(__file__).parents[2] / "examples"


def kinds(cell):
    """What a cell gave, without numbers, which differ between machines."""
    outputs = cell.get("outputs", [])
    return [sorted(set(output.get("data", {})) - {"image/jpeg"}) or output["output_type"] for output in outputs]


@pytest.mark.filterwarnings("ignore")  # the kernel's client warns about its own event loop
def test_the_notebook_runs():
    notebook = nbformat.read(EXAMPLES / "your_model.ipynb", as_version=4)
    stored = [kinds(cell) for cell in notebook.cells]
    client = nbclient.NotebookClient(notebook, resources={"metadata": {"path": EXAMPLES}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.get("text", "") for output in outputs)
    assert "Explanation insertion of" in text
    assert "absence=drop_tokens" in text
    # What was saved and loaded again has the same group; and then its model's weights.
    assert re.search(r"^True [0-9a-f]{8}$", text, flags=re.MULTILINE)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    # It is stored with what its cells print and draw: `make pictures`.
    assert [kinds(cell) for cell in notebook.cells] == stored
