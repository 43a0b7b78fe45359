"""The house: each part imports only from the lines below its own, there is no cycle, nothing overgrows."""

import ast
from pathlib import Path

import pytest

from dcd_utils import training

PACKAGE = Path(__file__).resolve().parent.parent / "dcd_utils"
LINES = [  # from the ground up
    {"files", "distributed"},
    {"runtime"},
    {"fingerprint", "records"},
    {"data", "models", "losses"},
    {"training", "analysis"},
    {"plots"},
    {"experiments"},
    {"exercises", "interactive", "pages"},
    {"__main__", "notebooks"},
]
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imported(module: str) -> set[str]:
    """Every module of the package that this one imports, also within functions."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in whole}
    return names & set(MODULES)


def part(module: str) -> str:
    return (module.split(".") + [""])[1]


def test_every_part_has_its_line():
    parts = {part(module) for module in MODULES} - {""}
    assert parts == set().union(*LINES)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"dcd_utils"}))
def test_imports_point_downwards(module):
    line = {name: number for number, names in enumerate(LINES) for name in names}
    upwards = [
        name for name in imported(module) - {"dcd_utils"}
        if part(name) != part(module) and line[part(name)] >= line[part(module)]
    ]  # fmt: skip
    assert not upwards


def test_no_cycle_of_imports():
    left = {module: imported(module) - {module, "dcd_utils"} for module in MODULES}
    while free := [module for module, names in left.items() if not names & set(left)]:
        for module in free:
            del left[module]
    assert not left


def test_rooms_stay_small():
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    room = {name: size for name, size in sizes.items() if part(name) == "training"}
    assert len(room) <= 9 and sum(room.values()) < 1500
    assert sum(sizes.values()) < 10_500, "someone can read all of it in a day"


def test_training_exports_what_others_rely_on():
    promised = {"Recipe", "PAPER", "QUICK", "train", "distill", "evaluate", "Run"}
    assert promised <= set(training.__all__) and len(training.__all__) <= 20
