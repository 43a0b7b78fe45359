"""The exercises as the notebooks pose them: every solution is right, every cleared cell is politely told so.

Typical mistakes get their own hints: the tables of mistakes lie in mistakes_*.py, one file a notebook.
"""

import ast
import contextlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

from dcd_utils import exercises

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9]*.ipynb"))
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION", re.DOTALL | re.MULTILINE)
CHECK = re.compile(r"exercises\.check\(\s*[\"']([\d.]+)[\"'],\s*(\w+)\s*\)")


def code_cells(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def posed():
    """(notebook, number, name of the function, source of its cell) of every exercise in every notebook."""
    for notebook in NOTEBOOKS:
        sources = code_cells(notebook)
        for place, source in enumerate(sources):
            if SOLUTION.search(source):
                number, name = CHECK.search("\n".join(sources[place : place + 2])).groups()
                yield pytest.param(notebook, number, name, source, id=number)


def cleared(source):
    """What nbgrader's ClearSolutions leaves of a cell."""
    return SOLUTION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", source)


def answer(notebook, name, source):
    """Run one exercise's cell after the notebook's imports and definitions, without the rest of the notebook."""
    wanted = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    namespace = {}
    for cell in code_cells(notebook):
        if SOLUTION.search(cell) or cell.startswith("%"):
            continue
        for node in ast.parse(cell).body:
            if isinstance(node, wanted):
                # a definition that needs the notebook's results (a default value, say) is none that a solution may use
                with contextlib.suppress(NameError):
                    exec(compile(ast.Module([node], []), notebook.name, "exec"), namespace)
    exec(compile(CHECK.sub("", source), notebook.name, "exec"), namespace)
    return namespace[name]


def mistakes():
    for path in sorted(Path(__file__).parent.glob("mistakes_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from module.MISTAKES.items()


@pytest.mark.parametrize(("notebook", "number", "name", "source"), list(posed()))
def test_the_solution_passes(notebook, number, name, source):
    result = exercises.check(number, answer(notebook, name, source))
    assert result.ok, result.message


@pytest.mark.parametrize(("notebook", "number", "name", "source"), list(posed()))
def test_the_cleared_cell_is_politely_told_so(notebook, number, name, source):
    student_version = cleared(source)
    assert "SOLUTION" not in student_version and '"""' in student_version
    result = exercises.check(number, answer(notebook, name, student_version))
    assert not result.ok and "not answered yet" in result.message


@pytest.mark.parametrize(("number", "wrong", "hint"), [(n, *pair) for n, table in mistakes() for pair in table])
def test_a_typical_mistake_gets_its_own_hint(number, wrong, hint):
    result = exercises.check(number, wrong)
    assert not result.ok and hint.lower() in result.message.lower()


def test_notebooks_registry_and_mistakes_speak_of_the_same_exercises():
    in_notebooks = [case.values[1] for case in posed()]
    existing = {notebook.name[:2] for notebook in NOTEBOOKS}
    assert in_notebooks == [number for number in exercises.registry() if number[:2] in existing]
    tables = dict(mistakes())
    for number in in_notebooks:
        hints = {exercises.check(number, wrong).message for wrong, _ in tables.get(number, ())}
        assert len(hints) >= 2, f"{number}: the table of mistakes must show two different hints"
    for notebook in NOTEBOOKS:
        checked = [number for cell in code_cells(notebook) for number, _ in CHECK.findall(cell)]
        assert all(number.startswith(notebook.name[:2]) for number in checked)
