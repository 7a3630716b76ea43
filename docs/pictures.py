"""What README and docs show: the picture of the first page, and the tutorial's outputs. `make pictures` runs it."""

from pathlib import Path

import matplotlib as mpl
import nbclient
import nbformat

import interpix as ix

ROOT = Path(__file__).parents[1]


def draw_why():
    """The picture of README's first lines."""
    mpl.use("agg")
    moxi = ix.MoXI(ix.load_model("efficientnet_lite0"))
    why = moxi.why(ROOT / "examples" / "chelsea.jpg", None, "Egyptian cat")
    why.plot().savefig(ROOT / "docs" / "images" / "why.png", dpi=100, bbox_inches="tight")


def run_tutorial():
    """The notebook, stored with what its cells print and draw."""
    path = ROOT / "examples" / "your_model.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.clear()
    nbclient.NotebookClient(
        notebook, resources={"metadata": {"path": path.parent}}, timeout=1200, record_timing=False
    ).execute()
    for output in (output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs):
        output.get("data", {}).pop("image/jpeg", None)  # a photo comes as PNG, too
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)


if __name__ == "__main__":
    draw_why()
    run_tutorial()
