"""Class correlation, its difference, logit difference, confusion."""

import numpy as np
import pytest

from dcd_utils import analysis

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(60, 4)).astype(np.float32)
OTHER = RNG.normal(size=(60, 4)).astype(np.float32)
LABELS = np.arange(60) % 4


def test_class_correlation_by_hand():
    # Class 1 falls as class 0 rises; class 2 is unrelated: covariance (1 - 1 - 1 + 1) = 0.
    logits = np.array([[1, -2, 1], [1, -2, -1], [-1, 2, 1], [-1, 2, -1]])
    np.testing.assert_allclose(analysis.class_correlation(logits), [[1, -1, 0], [-1, 1, 0], [0, 0, 1]], atol=1e-12)


def test_class_correlation_agrees_with_the_definition():
    found = analysis.class_correlation(LOGITS)
    x = LOGITS.astype(np.float64) - LOGITS.astype(np.float64).mean(axis=0)
    for a in range(4):
        for b in range(4):
            expected = (x[:, a] * x[:, b]).sum() / np.sqrt((x[:, a] ** 2).sum() * (x[:, b] ** 2).sum())
            assert found[a, b] == pytest.approx(expected, abs=1e-12)


def test_class_correlation_names_a_constant_class():
    logits = LOGITS.copy()
    logits[:, 2] = 0.5
    with pytest.raises(ValueError, match="logit of class 2"):
        analysis.class_correlation(logits)
    with pytest.raises(ValueError, match="at least two"):
        analysis.class_correlation(LOGITS[:1])


def test_logit_difference_by_hand():
    student = np.array([[1.0, 0.0], [3.0, 2.0], [0.0, 5.0]])
    teacher = np.array([[0.0, 4.0], [0.0, 4.0], [2.0, 9.0]])
    # Class means: student [2, 1], [0, 5]; teacher [0, 4], [2, 9].
    np.testing.assert_array_equal(analysis.logit_difference(student, teacher, [0, 0, 1]), [[0, 3], [2, 0]])


def test_logit_difference_standardised_ignores_scale_and_shift_of_each_image():
    factors = RNG.uniform(0.5, 2, size=(60, 1))
    shifted = LOGITS * factors + RNG.normal(size=(60, 1))
    assert analysis.logit_difference(shifted, LOGITS, LABELS).max() > 0.1
    np.testing.assert_allclose(analysis.logit_difference(shifted, LOGITS, LABELS, standardise=True), 0, atol=1e-5)


def test_logit_difference_standardised_agrees_with_a_plain_evaluation():
    found = analysis.logit_difference(LOGITS, OTHER, LABELS, standardise=True)
    expected = np.zeros((4, 4))
    for c in range(4):
        means = []
        for logits in (LOGITS, OTHER):
            rows = [(row - row.mean()) / row.std(ddof=1) for row in logits[c == LABELS].astype(np.float64)]
            means.append(np.mean(rows, axis=0))
        expected[c] = np.abs(means[0] - means[1])
        expected[c, c] = 0
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_logit_difference_refuses_bad_input():
    with pytest.raises(ValueError, match="same image"):
        analysis.logit_difference(LOGITS, OTHER[:59], LABELS)
    with pytest.raises(ValueError, match="4 classes, the teacher 3"):
        analysis.logit_difference(LOGITS, OTHER[:, :3], LABELS)
    with pytest.raises(ValueError, match="0 to 4, but there are 4 classes"):
        analysis.logit_difference(LOGITS, OTHER, np.arange(60) % 5)
    with pytest.raises(ValueError, match="student's logits of an image are all equal"):
        analysis.logit_difference(np.ones_like(LOGITS), OTHER, LABELS, standardise=True)


def test_confusion_by_hand():
    logits = np.eye(3)[[0, 1, 1, 2]]
    np.testing.assert_array_equal(analysis.confusion(logits, [0, 0, 1, 2]), [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    without = [[0.5, 0.5, 0], [0, 0.5, 0.5], [np.nan] * 3]
    np.testing.assert_array_equal(analysis.confusion(logits, [0, 0, 1, 1]), without)


def test_a_class_without_an_image_leaves_the_others_as_they_are():
    few = LABELS < 3
    rows = [analysis.logit_difference(*each, standardise=True) for each in (
        (LOGITS, OTHER, LABELS), (LOGITS[few], OTHER[few], LABELS[few]))]  # fmt: skip
    np.testing.assert_array_equal(rows[1][:3], rows[0][:3])
    assert np.isnan(rows[1][3, :3]).all()


@pytest.mark.parametrize("factor", [2.0**-700, 2.0**700])
def test_correlations_neither_vanish_nor_overflow(factor):
    logits = LOGITS.astype(np.float64)
    changed = analysis.class_correlation(logits * np.array([factor, 1, 1, 1]))
    np.testing.assert_array_equal(changed, analysis.class_correlation(logits))
    expected = analysis.logit_difference(logits, OTHER, LABELS, standardise=True)
    np.testing.assert_array_equal(analysis.logit_difference(logits * factor, OTHER, LABELS, True), expected)


def test_a_logit_that_changes_by_rounding_alone_is_refused():
    noise = np.float32(1e4) + np.linspace(0, 2e-3, 60, dtype=np.float32)
    with pytest.raises(ValueError, match="class 1 is the same for every image"):
        analysis.class_correlation(np.stack([LOGITS[:, 0].astype(np.float32), noise], axis=1))


def test_inputs_stay_as_they_are():
    before = LOGITS.copy(), OTHER.copy()
    analysis.class_correlation(LOGITS)
    analysis.logit_difference(LOGITS, OTHER, LABELS, standardise=True)
    analysis.confusion(LOGITS, LABELS)
    np.testing.assert_array_equal(LOGITS, before[0])
    np.testing.assert_array_equal(OTHER, before[1])
