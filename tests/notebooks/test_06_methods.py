"""Notebook 06: what it writes out equals the package, and its map and tables speak of every method."""

import ast
import re

import numpy as np
import pytest
import torch
from notebook_code import cells as cells_of
from notebook_code import definitions

from dcd_utils import analysis, losses


@pytest.fixture(scope="module")
def cells():
    return cells_of("06_methods")


@pytest.fixture(scope="module")
def written():
    return definitions("06_methods", seed=0)


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_similarity_and_distances(written):
    maps, features = draw(0, 6, 4, 3, 3).relu(), draw(1, 6, 5)
    torch.testing.assert_close(written.similarity(maps), losses.sp.similarity(maps))
    torch.testing.assert_close(written.distances(features), losses.rkd.distances(features))


def test_the_solutions_are_the_packages_functions(written):
    student, teacher = draw(2, 20, 6), draw(3, 20, 9)
    expected = losses.pkt.neighbours(student)
    torch.testing.assert_close(written.neighbour_chances(student), expected, rtol=1e-6, atol=0)
    first, second = draw(4, 3, 4, 5, 5), draw(5, 3, 6, 5, 5)
    torch.testing.assert_close(written.flow(first, second), losses.fsp.flow(first, second).transpose(1, 2))
    cka = analysis.linear_cka(student.numpy(), teacher.numpy(), debiased=False)
    assert written.alignment_loss(student, teacher).item() == pytest.approx(1 - cka, abs=1e-10)


# a method that you add need not be in the notebook
COURSE = {"kd", "fitnet", "at", "sp", "cc", "vid", "rkd", "pkt", "ab", "ft", "fsp", "nst", "crd", "rrd", "dcd"}
COURSE |= {"dkd", "dist", "lskd"}


def test_the_map_and_the_order_name_every_method(cells):
    namespace = {}
    compares = cells["map-code"].split("places =")[0]
    exec(compares, namespace)
    assert {name for names in namespace["COMPARES"].values() for name in names} == COURSE
    groups = re.search(r"GROUPS = (\(.*?\)\))\n", cells["gradients"], re.DOTALL).group(1)
    order = [name for group in ast.literal_eval(groups) for name in group]
    assert sorted(order) == sorted(name for name in COURSE if losses.METHODS[name].weight)


def test_the_tables_of_formulas_state_the_packages_weights_and_sources(cells):
    rows = [line.split(" | ") for line in cells["formulas"].splitlines() if line.startswith("| ")]
    stated = {row[0].strip("| ").lower(): (row[-2], row[-1]) for row in rows if row[0] != "| method"}
    assert set(stated) == COURSE
    for name, (weight, source) in stated.items():
        method = losses.METHODS[name]
        number = weight.split(",", 1)[0] if "labels" in weight else weight.replace(",", "")
        assert (weight == "first stage only") if method.weight == 0 else (float(number) == method.weight)
        assert ("labels" in weight) == (method.classification != 1)
        identifier = method.source.split("arXiv:")[-1] if "arXiv" in method.source else "Yim 2017"
        assert identifier in source


def test_the_faults_shown_live_are_there():
    cc = losses.CCLoss(5, 5).double()
    student, teacher, order = draw(6, 8, 5), draw(7, 8, 5), torch.tensor([3, 1, 0, 2, 5, 4, 7, 6])
    assert cc(student, teacher).item() != pytest.approx(cc(student[order], teacher[order]).item(), rel=1e-3)
    rkd = losses.RKDLoss()
    assert rkd(student, teacher).item() == pytest.approx(rkd(student[order], teacher[order]).item())
    queue = torch.nn.functional.normalize(draw(8, 2048, 16), dim=0)
    assert queue.norm(dim=1).mean().item() == pytest.approx(np.sqrt(16 / 2048), rel=0.05)
