"""The exercises as the notebooks pose them: every solution is right, every cleared cell is politely told so."""

import ast
import contextlib
import json
import re
from pathlib import Path

import pytest

from dcd_utils import exercises

NAMES = ["00_overview", "01_teacher_training", "02_dcd_loss", "03_student_distillation", "04_embeddings"]
NAMES += ["05_correlation_matrices", "06_methods", "07_evidence", "08_transfer", "09_scaling_up"]
FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = [path for path in sorted(FOLDER.glob("[0-9]*.ipynb")) if path.stem in NAMES]
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION", re.DOTALL | re.MULTILINE)
CHECK = re.compile(r"exercises\.check\(\s*[\"']([\d.]+)[\"'],\s*(\w+)\s*\)")


def cells(notebook, kind="code"):
    content = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in content if cell["cell_type"] == kind]


def posed():
    """(notebook, number, name of the function, source of its cell) of every exercise in every notebook."""
    for notebook in NOTEBOOKS:
        sources = cells(notebook)
        for place, source in enumerate(sources):
            if SOLUTION.search(source):
                number, name = CHECK.search("\n".join(sources[place : place + 2])).groups()
                yield pytest.param(notebook, number, name, source, id=number)


def cleared(source):
    """What nbgrader's ClearSolutions leaves of a cell."""
    return SOLUTION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", source)


def answer(notebook, name, source):
    """Run one exercise's cell after the notebook's imports and definitions, without the rest of the notebook."""
    definitions = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    namespace = {}
    for cell in cells(notebook):
        if SOLUTION.search(cell) or cell.startswith("%"):
            continue
        for node in ast.parse(cell).body:
            if isinstance(node, definitions):
                # a definition that needs the notebook's results (a default value, say) is none that a solution may use
                with contextlib.suppress(NameError):
                    exec(compile(ast.Module([node], []), notebook.name, "exec"), namespace)
    exec(compile(CHECK.sub("", source), notebook.name, "exec"), namespace)
    return namespace[name]


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


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_poses_and_checks_exactly_its_exercises_of_the_registry(name):
    notebook = FOLDER / f"{name}.ipynb"
    registered = {number: item.title for number, item in exercises.registry().items() if number[:2] == name[:2]}
    assert registered and [case.values[1] for case in posed() if case.values[0] == notebook] == list(registered)
    assert [number for cell in cells(notebook) for number, _ in CHECK.findall(cell)] == list(registered)
    text = "\n".join(cells(notebook, "markdown"))
    assert [title for title in registered.values() if not re.search(rf"\*\*{re.escape(title)}\.?\*\*", text)] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_nbgrader_knows_the_solutions(notebook):
    content = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    solutions = [cell["metadata"].get("nbgrader", {}) for cell in content if SOLUTION.search("".join(cell["source"]))]
    assert all(item.get("solution") for item in solutions)
    assert len({item["grade_id"] for item in solutions}) == len(solutions)


def test_no_exercise_is_without_a_notebook():
    assert {number[:2] for number in exercises.registry()} == {name[:2] for name in NAMES}
