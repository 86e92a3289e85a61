"""Sphinx settings of the documentation: `sphinx-build -W docs docs/_build`."""

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "recbole_bd"
author = "the recbole_bd authors"
copyright = "the recbole_bd authors, MIT licence"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "generated",
]
exclude_patterns = ["_build", "notebooks/.ipynb_checkpoints"]
nitpicky = False
default_role = "literal"  # `name` in a docstring is code

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist", "fieldlist"]
myst_heading_anchors = 4  # `page.md#a-heading` is a link, and one that leads nowhere is an error
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
copybutton_exclude = ".linenos, .gp, .go"

html_math_renderer = "mathml"  # see `setup`: browsers show MathML without a script and without the network
html_theme = "furo"
html_title = "recbole_bd"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}
# Links to the repository's files lead to GitHub where its workflow builds the pages; elsewhere they are names.
repository_files = None
if repository := os.environ.get("GITHUB_REPOSITORY"):
    repository_files = f"https://github.com/{repository}/blob/main"
    html_theme_options = {
        "source_repository": f"https://github.com/{repository}/",
        "source_branch": "main",
        "source_directory": "docs/",
    }
# A Markdown link, no picture, whose target begins with at least one step up.
LINK_UPWARDS = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)\s]*)\)")


def link_to_repository(app: Any, page: str, source: list[str]) -> None:
    """Point relative links that leave docs/ to the repository's files: the pages are read on GitHub as well."""
    folder = (Path(app.srcdir) / page).parent

    def pointed(match: re.Match[str]) -> str:
        path, _, anchor = match[2].partition("#")
        target = (folder / path).resolve()
        if target.is_relative_to(app.srcdir):
            return match[0]
        name = str(target.relative_to(ROOT))
        if repository_files is None:
            return match[1] if name in match[1] else f"{match[1]} (`{name}`)"
        return f"[{match[1]}]({repository_files}/{name}" + (f"#{anchor})" if anchor else ")")

    source[0] = LINK_UPWARDS.sub(pointed, source[0])


def write_formula(translator: Any, node: Any) -> None:
    """Write a formula in the text, or on a line of its own, as MathML."""
    formula = tex2mathml(node.astext())
    if isinstance(node, nodes.math_block):
        formula = '<div class="formula">' + formula.replace("<math ", '<math display="block" ', 1) + "</div>"
    translator.body.append(formula)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Register the functions above."""
    app.connect("source-read", link_to_repository)
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
