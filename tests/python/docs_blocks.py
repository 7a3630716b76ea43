"""The code of README and docs: blocks, commands, and what is made less of so that it runs in seconds."""

import functools
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPY = ROOT / "docs" / "changes.md"
"""Of CHANGELOG.md, where the site was built."""
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").rglob("*.md")} - {COPY})]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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


def less(code):
    return functools.reduce(lambda text, pair: text.replace(*pair), LESS.items(), code)


def commands(code):
    """Its lines without comments, those that go on joined."""
    lines = re.sub(r"\\\n\s*", " ", code).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def sentences():
    """Commands within sentences, with their pages; without variables of the environment."""
    command = re.compile(r"`(?:[A-Z_]+=\S+ )*(interpix [a-z]+ [^`]+)`")
    found = [(page, code) for page in PAGES for code in command.findall(page.read_text(encoding="utf-8"))]
    return [(page, shlex.split(" ".join(code.split()))) for page, code in found]
