"""Every block of code in README and docs runs, on small networks and data sets in the place of large ones.

What a block prints, where a page says it, is checked in `test_docs.py` with the real model.
"""

import json
import os
import re
import tomllib
import warnings

import pytest

import docs_stage
from docs_blocks import PAGES, ROOT, blocks, commands, less, pages_with, sentences
from interpix import cli

LANGUAGES = {"python", "sh", "rust", "text", "json", "bibtex", "yaml", "toctree", "{toctree}", "{eval-rst}"}


def test_every_block_says_its_language():
    for page in PAGES:
        for kind in re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[::2]:
            assert kind in LANGUAGES, (page, kind)


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_runs(page, monkeypatch, tmp_path):
    import matplotlib.pyplot as plt

    docs_stage.prepare(monkeypatch, tmp_path)
    names = {"__name__": "__main__", **docs_stage.names_for(str(page.relative_to(ROOT)))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index, code in enumerate(blocks(page, "python")):
            exec(compile(less(code), f"{page}, block {index}", "exec"), names)
    plt.close("all")


@pytest.mark.parametrize("page", pages_with("sh"))
def test_commands_are_there(page, monkeypatch):
    """The command's arguments are read, extras and targets looked up, scripts found. Many take hours: none is run."""
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    features = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["features"]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for code in blocks(page, "sh"):
        for words in commands(os.path.expandvars(code)):
            names = [word for word in words if "=" not in word]  # without variables of the environment
            if names[0] == "interpix":
                cli.build_parser().parse_args(words[1:])
            elif names[0] == "pip":
                assert set(re.findall(r"[\w-]+", words[2].partition("[")[2])) <= set(project["optional-dependencies"])
            elif names[0] == "make":
                assert set(names[1:]) <= set(targets)
            elif names[0] == "cargo":
                assert words[-1] in features
            else:
                assert names[0] == "python", words
                assert (ROOT / names[1]).exists()


def test_commands_within_sentences_are_read():
    assert len(sentences()) > 5
    for page, words in sentences():
        if words[1] != "models" and "SOURCE" not in words:
            try:
                cli.build_parser().parse_args(words[1:])
            except SystemExit:
                pytest.fail(f"{page}: {words}")


def test_rust_is_of_what_is_compiled():
    (code,) = blocks(ROOT / "README.md", "rust")
    compiled = (ROOT / "examples" / "explain.rs").read_text() + (ROOT / "src" / "models" / "load.rs").read_text()
    for line in code.splitlines():
        assert line.partition(" //")[0] in compiled


def test_json_and_citations_are_whole():
    for page in PAGES:
        for code in blocks(page, "json"):
            json.loads(code)
        for code in blocks(page, "bibtex"):
            assert code.startswith("@")
            assert code.count("{") == code.count("}")
