"""What the checkout promises as a whole: pins, the README's files, the notebooks' committed state, a light import."""

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

CHECKOUT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("[0-9]*.ipynb"))
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PLATFORM_OWN = ("nvidia", "cuda", "triton")  # PyTorch pins these itself, differently for each platform


def constraints() -> dict[str, Requirement]:
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*]+", str(pin.specifier)) for pin in pins), "constraints.txt states exact versions"
    return {canonicalize_name(pin.name): pin for pin in pins}


def direct() -> list[Requirement]:
    wanted = map(Requirement, PROJECT["dependencies"] + EXTRAS["notebooks"] + EXTRAS["test"])
    return [one for one in wanted if one.marker is None or one.marker.evaluate()]


def test_constraints_lie_in_the_ranges():
    pins = constraints()
    for wanted in direct():
        pin = str(pins[canonicalize_name(wanted.name)].specifier)[2:]
        assert wanted.specifier.contains(pin), f"{wanted} does not allow the pinned {pin}"


@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="pinned on Linux with Python 3.11"
)
def test_constraints_pin_all_that_is_installed_with_the_package():
    pins, todo, seen = constraints(), direct(), set()
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if (name, *wanted.extras) in seen or name.startswith(PLATFORM_OWN):
            continue
        seen.add((name, *wanted.extras))
        assert name in pins, f"constraints.txt lacks {name}"
        try:
            further = distribution(name).requires or []
        except PackageNotFoundError:
            pytest.skip(f"{name} is not installed: this environment was not made from the constraints")
        for requirement in map(Requirement, further):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                todo.append(requirement)


def test_conda_environment_installs_the_same():
    environment = yaml.safe_load((CHECKOUT / "environment.yml").read_text(encoding="utf-8"))
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    assert "pip" in plain
    (python,) = [line.split("=")[1] for line in plain if line.startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    assert pip[0] == "-c constraints.txt"
    (extras,) = re.fullmatch(r"-e \.\[([\w,]+)\]", pip[1]).groups()
    assert len(pip) == 2 and set(extras.split(",")) <= set(EXTRAS)
    assert f'-c constraints.txt -e ".[{extras}]"' in (CHECKOUT / "Makefile").read_text(encoding="utf-8")


def test_the_workflow_tests_three_systems_and_the_lower_bounds():
    jobs = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    runs = jobs["tests"]["strategy"]["matrix"]["include"]
    assert {run["os"].partition("-")[0] for run in runs} == {"ubuntu", "macos", "windows"}
    assert {step.get("run") for step in jobs["all"]["steps"]} >= {"bash .ci/run"}
    oldest, versions = PROJECT["requires-python"].removeprefix(">="), {run["python"] for run in runs}
    assert all(isinstance(version, str) for version in versions), "3.10 without quotes is 3.1"
    assert [run["python"] for run in runs if run["versions"].startswith("lowest")] == [oldest]
    assert versions >= {oldest, "3.11", "3.13"}


def test_every_file_that_the_readme_names_exists():
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", text)
    quoted = re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", text)
    names = {name for pair in linked for name in pair if name and not re.match(r"\w+:", name)}
    names |= {name for name in quoted if re.search(r"/|\.(py|md|ipynb|yml|toml|txt|cff)$", name)}
    names = {name for name in names if not re.match(r"\.venv|data/(?!README|results)", name)}  # these appear when used
    assert names
    assert not [name for name in names if not (CHECKOUT / name).exists()]


def tracked_files() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=CHECKOUT, capture_output=True, encoding="utf-8")
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [CHECKOUT / name for name in listing.stdout.split("\0") if name and (CHECKOUT / name).is_file()]


def test_no_file_names_a_place_on_someones_machine():
    place = re.compile(r"(?<![\w.:/~-])(/(?:root|work)/|/(?:home|Users)/\w|/tmp/ipykernel|[A-Z]:\\+Users\\)")
    found = []
    for path in set(tracked_files()) - {Path(__file__).resolve()}:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(CHECKOUT)}: {text[hit.start() :][:60]!r}" for hit in place.finditer(text)]
    assert not found


def test_import_is_light():
    program = """
import json, sys, time
import torch
start = time.perf_counter()
import dcd_utils
print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))
"""
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True, encoding="utf-8")
    seconds, modules = json.loads(output.stdout)
    assert seconds < 1
    heavy = {"umap", "seaborn", "jupyter", "jupyter_client", "IPython", "ipywidgets", "bokeh"}
    assert not (heavy | {"pandas", "sklearn", "matplotlib"}) & {module.split(".")[0] for module in modules}


def without_encoding(source: str) -> list[int]:
    """Lines that read or write text in the encoding of the machine, which on Windows is another than UTF-8."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):  # options of a process that are passed as **options
            lines += [node.lineno for key in node.keys if isinstance(key, ast.Constant) and key.value == "text"]
        if not isinstance(node, ast.Call) or "encoding" in {keyword.arg for keyword in node.keywords}:
            continue
        is_method = isinstance(node.func, ast.Attribute)
        name, count = node.func.attr if is_method else ast.unparse(node.func), len(node.args)
        settings = {keyword.arg: keyword.value for keyword in node.keywords}
        if name == "open":
            mode = settings.get("mode", (node.args + [None, None])[0 if is_method else 1])
            found = mode is None or (isinstance(mode, ast.Constant) and "b" not in str(mode.value))
            found &= ast.unparse(node.func) != "tarfile.open"
        elif name in ("run", "Popen", "check_output"):
            found = "text" in settings or "universal_newlines" in settings
        else:
            found = (name == "read_text" and count < 1) or (name == "write_text" and count < 2)
        lines += [node.lineno] * found
    return lines


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("open(p)", 1), ("open(p, 'w')", 1), ("open(p, mode='a')", 1), ("p.open()", 1), ("p.open('w')", 1),
        ("p.read_text()", 1), ("p.write_text(t)", 1), ("run(c, text=True)", 1), ("Popen(c, **{'text': True})", 1),
        ("open(p, 'rb')", 0), ("open(p, mode='wb')", 0), ("p.open('wb')", 0), ("Image.open(p)", 0),
        ("p.open(encoding='utf-8')", 0), ("p.read_text('utf-8')", 0), ("p.write_text(t, encoding='utf-8')", 0),
        ("run(c, text=True, encoding='utf-8')", 0), ("new_output('stream', text='t')", 0),
    ],
)  # fmt: skip
def test_what_reads_text_without_an_encoding_is_seen(source, found):
    assert len(without_encoding(source)) == found


def test_text_is_read_and_written_as_utf_8_on_every_system():
    found = []
    for path in tracked_files():
        if path.suffix == ".py":
            sources = {"": path.read_text(encoding="utf-8")}
        elif path in NOTEBOOKS:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            sources = {f" cell {n}": "".join(c["source"]) for n, c in enumerate(cells) if c["cell_type"] == "code"}
        else:
            continue
        for place, source in sources.items():
            found += [f"{path.relative_to(CHECKOUT)}{place}:{line}" for line in without_encoding(source)]
    assert not found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebooks:
    @pytest.fixture
    def cells(self, path):
        return json.loads(path.read_text(encoding="utf-8"))["cells"]

    @pytest.fixture
    def code(self, cells):
        found = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
        assert found
        return found

    def test_executed_in_order_without_errors(self, path, code):
        assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
        kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
        assert kinds and "error" not in kinds

    def test_outputs_are_static_and_small(self, path, code):
        assert path.stat().st_size < 1_000_000
        assert "widgets" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]
        for cell in code:
            outputs = cell["outputs"]
            assert not outputs or "interactive" not in cell["metadata"].get("tags", [])
            kinds = {kind for output in outputs for kind in output.get("data", {})}
            assert not {kind for kind in kinds if "widget" in kind or "bokeh" in kind or "javascript" in kind}

    def test_reads_as_prose_with_code(self, path, cells, code):
        long = [cell["source"][:2] for cell in code if len("".join(cell["source"]).splitlines()) > 40]
        assert not long
        assert sum(cell["cell_type"] == "markdown" for cell in cells) >= 1.2 * len(code)

    def test_parameters_select_the_quick_profile(self, path, code):
        tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
        if path.stem == "02_dcd_loss":  # it trains nothing and loads nothing, so they would change nothing
            assert not tagged
            return
        (parameters,) = tagged
        assert parameters is code[1]
        statements = ast.parse("".join(parameters["source"])).body
        values = {statement.targets[0].id: ast.literal_eval(statement.value) for statement in statements}
        assert (values.pop("profile"), values.pop("retrain")) == ("quick", False)
        assert values == {"dataset": None, "root": None, "epochs": None, "seeds": None}
