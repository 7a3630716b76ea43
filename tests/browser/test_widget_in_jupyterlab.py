"""The widget in JupyterLab with a live kernel: the model is asked by a click, and its answer joins the picture."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CELL = """
import numpy as np
import interpix as ix
image = np.random.default_rng(3).random((3, 60, 120)).astype(np.float32)
model = ix.CallableClassifier(lambda batch: 30 * batch.mean(axis=(2, 3)), class_names=["red", "green", "blue"])
moxi = ix.MoXI(model, regions="3x4", keep_coalitions=True)
ix.widget(moxi.explain(image, 0, min_patches=6), moxi.explain(image, 0, direction="deletion"), game=moxi.game(image, 0))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab with one notebook, which has the cell."""
    folder = tmp_path_factory.mktemp("lab")
    cell = {"cell_type": "code", "execution_count": None, "id": "one", "metadata": {}, "outputs": [], "source": CELL}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "answer.ipynb").write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--port-retries=0",
        f"--ServerApp.root_dir={folder}",
        "--IdentityProvider.token=",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    own = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    paths = os.pathsep.join([str(ROOT / "python"), os.environ.get("PYTHONPATH", "")])
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        env=os.environ | own | {"PYTHONPATH": paths},
        stdout=log,
        stderr=log,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "lab.log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def test_a_click_asks_the_model_and_its_answer_joins_the_picture(browser, lab):
    page = browser.new_page(viewport={"width": 1280, "height": 1100})
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{lab}/lab/tree/answer.ipynb?reset")
    page.locator(".jp-Notebook .cm-content").first.click(timeout=90_000)
    # The kernel must be there before a cell can run.
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=90_000)
    page.keyboard.press("Shift+Enter")
    widget = page.locator(".interpix")
    widget.wait_for(timeout=90_000)
    assert widget.locator(".ix-panel").count() == 2
    slider, answer = widget.get_by_role("slider").first, widget.locator(".ix-answer").first
    slider.focus()
    page.keyboard.press("Home")
    patches = widget.locator(".ix-photo").first.get_by_role("checkbox")
    for index in (0, 4, 5, 7, 10, 11):
        patches.nth(index).click()
    assert answer.inner_text() == "With 6 of 12 patches: the model was not asked about these."
    ask = widget.get_by_role("button", name="Ask the model")
    assert ask.count() == 1
    ask.click()
    page.wait_for_function(
        "() => !/not asked|Asking/.test(document.querySelector('.ix-answer').textContent)", timeout=30_000
    )
    assert re.match(r"With 6 of 12 patches the answer is '(red|green|blue)'", answer.inner_text())
    assert widget.locator(".ix-other").count() == 1
    assert ask.count() == 0
    # What was asked once is known.
    patches.nth(0).click()
    patches.nth(0).click()
    assert "the answer is" in answer.inner_text()
    if folder := os.environ.get("SCREENSHOTS"):
        widget.screenshot(path=f"{folder}/widget.png")
    page.close()
    assert complaints == []
