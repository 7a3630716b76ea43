"""Every block of code in README and docs runs, on small networks and data sets in the place of large ones.

What a block prints, where a page says it, is checked in `test_docs.py` with the real model.
"""

import functools
import json
import os
import re
import shlex
import tomllib
import warnings

import pytest

import docs_stage
from docs_stage import ROOT
from interpix import cli

PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").rglob("*.md")} - {ROOT / "docs" / "changes.md"})]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python", "sh", "rust", "text", "json", "bibtex", "yaml", "toctree", "{toctree}", "{eval-rst}"}
# What minutes are spent on for good results, and would be here for none: less of it, in seconds.
LESS = {
    "count=4000": "count=40",
    "count=300": "count=30",
    "steps=20": "steps=2",
    "methods.RISE(count=500": "methods.RISE(count=5",
    '"insertion", "deletion", "dir", "sic"': '"insertion(steps=4)", "deletion(steps=4)", "dir(steps=4)", "sic"',
    "rise(count=500)": "rise(count=5)",
    '"insertion", "deletion", "sic", "roc_auc"': '"insertion(steps=4)", "deletion(steps=4)", "sic", "roc_auc"',
    "workers=4": "workers=1",
    "(12, 30, 140, 201)": "(12, 30, 40, 51)",
    "Box(40, 30, 180, 200)": "Box(4, 4, 40, 40)",
    'device="cuda"': "device=None",
}


def blocks(page, language):
    return [code for kind, code in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def pages_with(language):
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if blocks(page, language)]


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
            quick = functools.reduce(lambda text, pair: text.replace(*pair), LESS.items(), code)
            exec(compile(quick, f"{page}, block {index}", "exec"), names)
    plt.close("all")


def commands(code):
    """Its lines without comments, those that go on joined."""
    lines = re.sub(r"\\\n\s*", " ", code).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


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
    sentences = [(page, code) for page in PAGES for code in re.findall(r"`(interpix [a-z]+ [^`]+)`", page.read_text())]
    assert len(sentences) > 5
    for page, code in sentences:
        words = shlex.split(" ".join(code.split()))
        if words[1] != "models" and "SOURCE" not in words:
            try:
                cli.build_parser().parse_args(words[1:])
            except SystemExit:
                pytest.fail(f"{page}: {code}")


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
