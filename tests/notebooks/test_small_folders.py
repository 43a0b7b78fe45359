"""Notebooks on a folder of images as small and odd as `data.load` accepts: every cell runs, every figure is drawn."""

import ast
import unicodedata
import warnings
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from notebook_code import NOTEBOOKS, cells
from PIL import Image

NAMES = ("猫", "$5 bill", "_bg", "café")
SKIPPED = {"estimate", "time-table", "growth", "run", "run-compare"}  # they never look at the images
LAST = {"08_transfer": "frozen"}  # from there on it looks at the target alone


def folder(root, classes, train, test, mode):
    """Write images that tell the classes apart, as many of each as the two lists say; é is one letter in train, and two
    in test."""
    for part, counts, form in (("train", train, "NFC"), ("test", test, "NFD")):
        for kind, (name, count) in enumerate(zip(classes, counts, strict=True)):
            place = root / part / unicodedata.normalize(form, name)
            of_class = np.random.default_rng(kind).integers(0, 256, (5, 5, 3), dtype=np.uint8)
            for i in range(count):
                image = np.random.default_rng((kind, i, part == "test")).integers(0, 60, (40, 36, 3), dtype=np.uint8)
                image //= 2
                image += np.asarray(Image.fromarray(of_class).resize((36, 40))) // 2
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).convert(mode).save(place / f"{i}.png")
    return root


def execute(notebook, namespace):
    """Run all cells, with the parameters given, and draw what they end in."""
    given = dict(namespace)
    for cell, source in cells(notebook, "code").items():
        if cell in SKIPPED:
            continue
        body = ast.parse(source).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), f"{notebook}, cell {cell}", "exec"), namespace)
        value = last and eval(compile(ast.Expression(last.value), f"{notebook}, cell {cell}", "eval"), namespace)
        if isinstance(value, Figure):
            value.savefig(BytesIO(), dpi=40)
        if cell == "parameters":
            namespace |= given
        if cell == LAST.get(notebook):
            break


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of images by name, and where the trained networks are kept."""
    place = tmp_path_factory.mktemp("small")
    odd = folder(place / "odd", NAMES, [8] * 4, [3, 0, 2, 2], "L")  # grey, and a class without a test image
    two = folder(place / "two", ("cat", "dog"), [8, 8], [8, 8], "RGB")
    return {"odd": odd, "two": two}, place / "data"


NAMED = [path.stem for path in sorted(NOTEBOOKS.glob("0*.ipynb")) if "parameters" in cells(path.stem)]
TURNS = [("odd", name) for name in NAMED if name != "07_evidence"]  # it reads records alone
TURNS += [("two", name) for name in NAMED if name[:2] in ("01", "05", "06")]  # others ask for no third class


@pytest.mark.parametrize(("name", "notebook"), TURNS)
def test_every_cell_runs_on_a_small_folder(name, notebook, folders, monkeypatch):
    roots, kept = folders
    monkeypatch.setenv("DCD_DATA", str(kept))
    monkeypatch.chdir(NOTEBOOKS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        execute(notebook, {"dataset": "folder", "root": str(roots[name]), "epochs": 1, "seeds": [0, 1], "display": str})
