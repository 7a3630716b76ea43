import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")]


def test_readme_code_prints_what_readme_says():
    code, printed = re.search(r"```python\n(.*?)```\n```\n(.*?)```", README, re.DOTALL).groups()
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert result.stdout == printed


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
