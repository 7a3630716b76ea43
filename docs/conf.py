"""Sphinx's configuration: `make docs`."""

import shutil
from pathlib import Path

from sphinx.pycode import ModuleAnalyzer

import interpix

HERE = Path(__file__).parent

project = "interpix"
author = "the interpix authors"
release = version = interpix.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["data"]

# Pages are read on GitHub, too: anchors are those that it gives to headings.
myst_heading_anchors = 3
# The notebook is shown with the outputs that are stored in it, which the tests compare with those of a run.
nb_execution_mode = "off"
COPIES = {"../examples/your_model.ipynb": "tutorial.ipynb", "../CHANGELOG.md": "changes.md"}
for path, copy in COPIES.items():
    shutil.copyfile(HERE / path, HERE / copy)

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 60
add_module_names = False
default_role = "py:obj"  # what a docstring has in backticks: code, and a link where it is a public name


_analyze = ModuleAnalyzer.analyze


def _analyze_without_overloads(self):
    """Overloads tell type checkers whether one result comes or a list of them; people are told once, in the text."""
    _analyze(self)
    self.overloads = {}


ModuleAnalyzer.analyze = _analyze_without_overloads

html_theme = "furo"
html_title = "interpix"
html_static_path = ["_static"]
html_css_files = ["interpix.css"]
html_js_files = ["interpix.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}


def _show_copies(_app, _page, source):
    """Links to files beside `docs`, as GitHub follows them, lead to their pages on the site."""
    for path, copy in COPIES.items():
        source[0] = source[0].replace(f"({path})", f"({copy})")


def setup(app):
    """Sphinx calls this."""
    app.connect("source-read", _show_copies)
