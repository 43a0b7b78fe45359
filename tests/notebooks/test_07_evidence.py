"""Notebook 07: its arithmetic is SciPy's, its tables take one pair at a time, its text states what the logs hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from notebook_code import cells, definitions, run_cells
from scipy import stats

from dcd_utils import experiments, losses

NOTEBOOK = "07_evidence"


@pytest.fixture(scope="module")
def written():
    return definitions(NOTEBOOK)


@pytest.fixture(scope="module")
def notebook():
    """The notebook after the cells that read logs; nothing is drawn."""
    patch = pytest.MonkeyPatch()
    patch.chdir(Path(__file__).resolve().parents[2] / "notebooks")
    reading = ("main-logs", "paired", "control", "grid-logs", "published-means", "published-paired", "agreement")
    reading += ("second-teacher", "study-code", "study-carry", "negatives-code", "batches", "budget-code")
    yield run_cells(NOTEBOOK, *reading, display=lambda *shown: None)
    patch.undo()


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("shift", [0.0, 0.6, -3.0])
def test_the_solution_is_the_paired_t_test(written, seeds, shift):
    rng = np.random.default_rng(seeds)
    a, b = rng.normal(shift, 1, seeds), rng.normal(size=seeds)
    assert written.is_difference(a, b) is bool(stats.ttest_rel(a, b).pvalue < 0.05)


def test_accuracies_are_those_of_one_pair(written):
    rows = [("big", "small", "teacher", 0, 90.0), ("other", "small", "teacher", 0, 80.0)]
    rows += [("big", "small", "alone", seed, 50.0 + seed) for seed in (0, 1)]
    rows += [("big", "small", "kd", seed, 60.0 + seed) for seed in (0, 1)]
    rows += [("other", "small", "alone", 0, 50.0), ("other", "small", "kd", 0, 40.0)]
    table = pd.DataFrame(rows, columns=["teacher", "student", "method", "seed", "accuracy"])
    expected = pd.DataFrame({0: {"alone": 50.0, "kd": 60.0}, 1: {"alone": 51.0, "kd": 61.0}})
    table_of_pair = written.accuracies(table, ("big", "small"))
    pd.testing.assert_frame_equal(table_of_pair, expected, check_names=False, check_column_type=False)
    assert written.accuracies(table, ("other", "small")).shape == (2, 1)


def test_every_setting_that_was_tried_has_its_line(notebook):
    settings = {method for method in notebook.of_grid.index if method.startswith("dcd@")}
    assert settings == set(notebook.SETTINGS) | {name for name in notebook.counts if name.startswith("dcd@")}
    assert notebook.of_grid.loc[list(settings)].notna().all(axis=None), "three seeds each"
    assert {*notebook.of_grid.index} >= {"alone", *losses.METHODS}, "every method"


def test_the_second_teacher_changes_no_sign_and_shows_no_difference(notebook):
    for one, other in notebook.questions:
        first, second = (experiments.paired(table, one, other) for table in notebook.under.values())
        assert first.mean * second.mean > 0 and not second.differs, (one, other)


def test_the_text_states_what_the_logs_hold(notebook):
    """Some of the numbers that the remarks rest on, and the words that state them."""
    text = cells(NOTEBOOK, "markdown")
    reached = notebook.reached
    assert set(reached.idxmin(axis=1)) == {4} and "Under seed 4 all five methods end lowest" in text["main-logs-read"]
    asked = [("kd", "alone"), ("dcd", "alone"), ("dcd", "kd"), ("dcd+kd", notebook.partner)]
    passed = [notebook.Paired.of(reached.loc[one] - reached.loc[other]).differs for one, other in asked]
    assert not any(passed) and "Not one of the six passes" in text["paired-read"]

    control = notebook.differences.loc["dcd@learn_bias=false"].round(2)
    assert control.tolist() == [1.4, 0.45, 1.65] and "1.4, 0.45 and 1.65 points above" in text["control-read"]

    gains = notebook.experiments.gains(notebook.methods)
    sure = set(gains.title[(gains.beside == "") & (gains.low > 0)])
    listed = text["grid-figure-read"].partition("pass** on their own: ")[2].partition(".")[0]
    assert set(listed.replace(" and ", ", ").split(", ")) == sure

    compared = notebook.compared[["dcd minus kd", "dcd+kd minus crd+kd"]].agg(["mean", "sem"]).round(2)
    assert compared.T.to_numpy().tolist() == [[0.34, 0.1], [0.19, 0.13]]
    assert "by 0.34 points in the mean with an error of 0.10" in text["published-read"]
    assert "by 0.19 with an error of 0.13" in text["published-read"]

    short = notebook.experiments.paired(notebook.long[8], "dcd", "kd")
    assert short.differs and round(short.mean, 2) == 12.9 and "12.90 above KD" in text["budget-read"]
