import re
import runpy
import subprocess
import sys
import tomllib

import pytest

from docs_blocks import COPY, ROOT

README = (ROOT / "README.md").read_text()
DOCS = sorted({*ROOT.glob("docs/**/*.md")} - {COPY})
PAGES = [*ROOT.glob("*.md"), *DOCS, *ROOT.glob("examples/*.md")]


def first_code(text):
    """The first lines of Python, and what they print."""
    return re.search(r"```python\n(.*?)```\n```text\n(.*?)```", text, re.DOTALL).groups()


def test_readme_code_prints_what_readme_says(tmp_path):
    code, printed = first_code(README)
    code = code.replace('"why.png"', repr(str(tmp_path / "why.png")))
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert result.stdout == printed
    assert (tmp_path / "why.png").exists()


def test_the_sites_first_page_has_the_same_eight_lines():
    code, printed = first_code((ROOT / "docs" / "index.md").read_text())
    assert len(code.strip().splitlines()) == 8
    # But for what a comment says of "any model".
    assert re.sub("#.*", "", code) == re.sub("#.*", "", first_code(README)[0])
    assert printed == first_code(README)[1]


def test_the_first_evaluation_finds_what_its_page_says(tmp_path):
    page = (ROOT / "docs" / "evaluation.md").read_text()
    code, printed = first_code(page)
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


def test_links_to_headings_lead_to_one():
    """As GitHub and the site name headings: lower case, without punctuation, with hyphens for spaces."""
    for page in PAGES:
        for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
            target = (page.parent / link).resolve() if link else page
            headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, (page.name, link, anchor)


def test_every_page_is_in_the_sites_contents():
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (ROOT / "docs" / "index.md").read_text(), re.DOTALL)
    lines = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    entries = [re.sub(r".* <(.*)>", r"\1", line) for line in lines]
    pages = {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in DOCS}
    assert sorted(entries) == sorted(pages - {"index"} | {"tutorial", "changes"})


def test_every_public_name_is_in_the_api_reference():
    import interpix
    from interpix import methods, metrics, outputs, plots

    text = "".join(page.read_text() for page in DOCS if page.parent.name == "api")
    documented = re.findall(r"^\.\. auto\w+:: (\S+)$", text, flags=re.MULTILINE)
    assert len(documented) == len(set(documented))
    modules = {"__version__", "methods", "metrics", "outputs"}  # they have pages, or a sentence
    assert all(f"ix.{name}" in text for name in modules)
    for module in (interpix, methods, metrics, outputs, plots):
        names = {
            f"{module.__name__}.{name}" for name in module.__all__ if name not in modules or module is not interpix
        }
        assert names <= set(documented)


def test_the_citation_is_of_this_version():
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, flags=re.MULTILINE)[1] == cargo["package"]["version"]
    page = (ROOT / "docs" / "citation.md").read_text()
    for title in re.findall(r'title: "(.*)"', citation):
        assert title in page


def test_the_table_of_times_has_the_scripts_models():
    script = runpy.run_path(str(ROOT / "benches" / "python" / "time_and_memory.py"))
    page = (ROOT / "docs" / "time-and-memory.md").read_text()
    assert [name for name in script["MODELS"] if f"| {name} |" not in page] == []
    assert [side for side in script["SIDES"] if f"| {side} x {side} |" not in page] == []
