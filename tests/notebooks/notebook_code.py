"""The code of a notebook, for the tests that hold it equal to the package's."""

import ast
from pathlib import Path
from types import SimpleNamespace

import nbformat

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def cells(notebook, kind=None):
    """{id: source} of a notebook's cells; kind: only "code" or only "markdown"."""
    read = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    return {cell.id: cell.source for cell in read if kind in (None, cell.cell_type)}


def definitions(notebook, **names):
    """The imports, functions and classes of a notebook, as attributes; its other statements are not run.

    `names` are variables of the notebook that a definition needs at once, for instance as a default value.
    """
    for cell, source in cells(notebook, "code").items():
        body = [node for node in ast.parse(source).body if isinstance(node, DEFINITIONS)]
        exec(compile(ast.Module(body, []), f"{notebook}, cell {cell}", "exec"), names)
    return SimpleNamespace(**names)


def run_cells(notebook, *ids, **names):
    """All that is defined, as attributes, after the imports and the cells with these ids were run.

    `names` are what the cells before them would have defined.
    """
    source = cells(notebook, "code")
    for cell in ("imports", *ids):
        exec(compile(source[cell], f"{notebook}, cell {cell}", "exec"), names)
    return SimpleNamespace(**names)
