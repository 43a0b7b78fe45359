"""Notebook 07: its arithmetic is SciPy's, its tables take one pair at a time, its text states what the logs hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from notebook_code import cells, definitions, run_cells
from scipy import stats

NOTEBOOK = "07_evidence"


@pytest.fixture(scope="module")
def written():
    return definitions(NOTEBOOK)


@pytest.fixture(scope="module")
def notebook():
    """The notebook after the cells that read logs; nothing is drawn."""
    patch = pytest.MonkeyPatch()
    patch.chdir(Path(__file__).resolve().parents[2] / "notebooks")
    reading = ("main-logs", "paired", "control", "grid-logs", "grid-teachers", "published-means", "published-paired")
    reading += ("agreement", "study-code", "study-carry")
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


def test_every_run_of_the_study_has_its_line(notebook):
    beside = {"alone", "kd", "dcd", "dcd+kd", "dcd+kd@alpha=0"}
    assert set(notebook.SETTINGS) | beside == set(notebook.held_out.index)
    assert notebook.held_out.notna().all(axis=None)


def test_the_text_states_what_the_logs_hold(notebook):
    """Some of the numbers that the remarks rest on, and the words that state them."""
    text = cells(NOTEBOOK, "markdown")
    reached = notebook.reached
    assert set(reached.idxmin(axis=1)) == {4} and "Under seed 4 all five methods end lowest" in text["main-logs-read"]
    passed = [notebook.Paired.of(reached.loc[one] - reached.loc[other]).differs for one, other in notebook.asked[:6]]
    assert not any(passed) and "Not one of the six passes" in text["paired-read"]

    control = notebook.differences.loc["dcd@learn_bias=false"].round(1)
    assert control.tolist() == [0.9, -2.1, -1.4]
    assert "0.9 points above the published setting and 2.1 and 1.4 below" in text["control-read"]

    gains = notebook.over_alone(notebook.pairs[0])
    alone = gains[~gains.index.str.contains(r"\+kd|alone")].agg(["mean", "sem"], axis=1)
    sure = alone.index[(alone["mean"] > 0) & (alone["mean"] > stats.t.ppf(0.975, 2) * alone["sem"])]
    listed = "NST, FitNet, AT, SP, FT, PKT, RRD, DKD, DCD, CRD and KD"
    assert set(listed.lower().replace(" and", ",").split(", ")) == set(sure)
    assert f"**Eleven of the eighteen pass** on their own: {listed}" in text["grid-figure-read"]

    compared = notebook.compared[["dcd minus kd", "dcd+kd minus crd+kd"]].agg(["mean", "sem"]).round(2)
    assert compared.T.to_numpy().tolist() == [[0.34, 0.1], [0.19, 0.13]]
    assert "by 0.34 points in the mean with an error of 0.10" in text["published-read"]
    assert "by 0.19 with an error of 0.13" in text["published-read"]

    contrast = (notebook.held_out.loc["dcd@alpha=0"] - notebook.held_out.loc["dcd"]).agg(["mean", "sem"]).round(1)
    assert contrast.tolist() == [5.4, 0.3] and "is 5.4 points better, with an error of 0.3" in text["study-read"]
