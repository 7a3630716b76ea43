import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")]


def test_readme_code_prints_what_readme_says():
    code, printed = re.search(r"```python\n(.*?)```\n```\n(.*?)```", README, re.DOTALL).groups()
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert result.stdout == printed


def test_the_first_evaluation_finds_what_its_page_says(tmp_path):
    page = (ROOT / "docs" / "evaluation.md").read_text()
    code, printed = re.search(r"```python\n(.*?)```\n```\n(.*?)```", page, re.DOTALL).groups()
    assert len(code.strip().splitlines()) <= 12
    code = code.replace('"out/"', repr(str(tmp_path / "out")))
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    number = re.compile(r"\d+\.\d+")
    assert number.sub("#", result.stdout).split() == number.sub("#", printed).split()
    found, said = (list(map(float, number.findall(text))) for text in (result.stdout, printed))
    assert found == pytest.approx(said, rel=0.1, abs=0.01)  # processors round differently
    assert (tmp_path / "out" / "index.html").exists()


def test_readme_shows_code_on_the_first_screen():
    lines = README.splitlines()
    assert lines.index("```python") < 25
    assert lines.index("```", lines.index("```python")) - lines.index("```python") <= 13


def test_links_lead_somewhere():
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())]
    assert {page.relative_to(ROOT).parts[0] for page, _ in links} == {"README.md", "docs", "examples"}
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_files_that_a_page_names_are_there():
    path = re.compile(r"`((?:src|python|tests|benches|docs|examples)/[\w./-]*)`")
    named = [(page, found) for page in PAGES for found in path.findall(page.read_text())]
    assert {"CONTRIBUTING.md", "performance.md"} <= {page.name for page, _ in named}
    assert [(page.name, found) for page, found in named if not (ROOT / found).exists()] == []


def test_the_page_that_answers_back_is_as_small_as_said(tmp_path):
    pytest.importorskip("anywidget")
    page = (ROOT / "docs" / "page.md").read_text()
    code = "".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    code = code.replace('"answer.html"', repr(str(tmp_path / "answer.html")))
    code += "print(len(enough.coalitions) + len(needed.coalitions))\n"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    sets, size = re.search(r"(\d+) scored sets of patches it has (\d+) KB", page).groups()
    assert int(result.stdout) == pytest.approx(int(sets), abs=2)
    assert (tmp_path / "answer.html").stat().st_size / 1000 == pytest.approx(int(size), rel=0.1)
