"""How Sphinx builds the documentation: ``python -m sphinx -W --keep-going docs docs/_build``."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import pages  # noqa: E402

project = "gpulaf"
author = "The gpulaf developers"
copyright = "The gpulaf developers"
release = version = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = [
    "myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]  # fmt: skip
exclude_patterns = ["_build", "gallery", "**/sg_execution_times*"]
default_role = "code"
smartquotes = False
html_theme = "furo"
html_title = f"gpulaf {release}"
html_show_sphinx = False
html_copy_source = False

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "pages.Order",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "capture_repr": (),
    "min_reported_time": 3600,
    "plot_gallery": "True",
    "doc_module": ("gpulaf",),
    "reference_url": {"gpulaf": None},
    "backreferences_dir": None,
    "inspect_global_variables": False,
    "remove_config_comments": True,
}


def without_substitutions(app: object, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """|x| is a norm in docstrings; examples stay as they are."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else line.replace("|", r"\|") for line in lines]


def setup(app: Any) -> None:
    """Write the pages that follow from the code and the results."""
    pages.write(HERE)
    app.connect("autodoc-process-docstring", without_substitutions)
