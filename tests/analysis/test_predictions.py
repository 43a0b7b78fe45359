"""Likelihood, calibration error and agreement, by hand and against the definitions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dcd_utils import analysis

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(60, 4)).astype(np.float32)
OTHER = RNG.normal(scale=3, size=(60, 4)).astype(np.float32)
LABELS = np.arange(60) % 4


def test_likelihood_by_hand_and_as_cross_entropy():
    logits = np.log([[0.5, 0.5], [0.2, 0.8]]) + [[7.0], [-3.0]]  # what is added to an image's logits changes nothing
    assert analysis.negative_log_likelihood(logits, [0, 1]) == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
    expected = F.cross_entropy(torch.from_numpy(LOGITS).double(), torch.from_numpy(LABELS)).item()
    assert analysis.negative_log_likelihood(torch.from_numpy(LOGITS), LABELS) == pytest.approx(expected, abs=1e-12)
    assert analysis.negative_log_likelihood(np.zeros((3, 3)), [0, 1, 2]) == pytest.approx(np.log(3))


def test_likelihood_of_certain_answers_is_finite():
    assert analysis.negative_log_likelihood([[0.0, 1e4], [1e4, 0.0]], [0, 1]) == 1e4


def test_calibration_by_hand():
    # Confidences 0.6 and 0.7 fall into the bin that ends at 0.75, where one of two is right; 0.75 belongs to it, too;
    # 0.9 and 1 into the last, where both are right.
    confidences = np.array([0.6, 0.7, 0.75, 0.9, 1 - 1e-12])
    logits = np.log(np.stack([confidences, 1 - confidences], axis=1))
    found = analysis.calibration(logits, [0, 1, 1, 0, 0], bins=4)
    np.testing.assert_allclose(found.share, [0, 0, 0.6, 0.4])
    np.testing.assert_allclose(found.confidence, [np.nan, np.nan, 2.05 / 3, 0.95])
    np.testing.assert_allclose(found.accuracy, [np.nan, np.nan, 1 / 3, 1])
    assert found.error == pytest.approx(0.6 * (2.05 / 3 - 1 / 3) + 0.4 * 0.05)


def test_calibration_agrees_with_a_plain_evaluation_in_15_bins():
    probabilities = torch.from_numpy(LOGITS).double().softmax(dim=1).numpy()
    error = 0.0
    for m in range(15):
        rows = [i for i, row in enumerate(probabilities) if m / 15 < row.max() <= (m + 1) / 15]
        if rows:
            right = np.mean([probabilities[i].argmax() == LABELS[i] for i in rows])
            error += len(rows) / 60 * abs(right - np.mean([probabilities[i].max() for i in rows]))
    found = analysis.calibration(LOGITS, LABELS)
    assert found.error == pytest.approx(error, abs=1e-12) and len(found.share) == 15


def test_one_bin_compares_accuracy_and_mean_confidence():
    confidence = torch.from_numpy(LOGITS).double().softmax(dim=1).amax(dim=1).mean().item()
    accuracy = (LOGITS.argmax(axis=1) == LABELS).mean()
    assert analysis.calibration(LOGITS, LABELS, bins=1).error == pytest.approx(abs(accuracy - confidence), abs=1e-12)


def test_agreement_by_hand_and_as_kl():
    student, teacher = np.log([[0.5, 0.5], [0.4, 0.6]]), np.log([[0.8, 0.2], [0.1, 0.9]])
    found = analysis.agreement(student, teacher)
    divergences = [0.8 * np.log(1.6) + 0.2 * np.log(0.4), 0.1 * np.log(0.25) + 0.9 * np.log(1.5)]
    assert found.same == 1.0 and found.divergence == pytest.approx(np.mean(divergences))
    expected = F.kl_div(
        torch.from_numpy(LOGITS).double().log_softmax(1), torch.from_numpy(OTHER).double().softmax(1),
        reduction="batchmean",
    )
    found = analysis.agreement(LOGITS, OTHER)
    assert found.divergence == pytest.approx(expected.item(), abs=1e-12)
    assert found.same == np.mean([a.argmax() == b.argmax() for a, b in zip(LOGITS, OTHER, strict=True)])
    assert analysis.agreement(LOGITS, LOGITS + 5) == (1.0, pytest.approx(0, abs=1e-6))


def test_bad_input_is_refused():
    for function in (analysis.negative_log_likelihood, analysis.calibration):
        with pytest.raises(ValueError, match="expected 0 to 3"):
            function(LOGITS, LABELS + 1)
        with pytest.raises(ValueError, match="one for each image"):
            function(LOGITS, LABELS[:5])
        with pytest.raises(ValueError, match="NaN or infinity"):
            function(np.where(LOGITS > 2, np.nan, LOGITS), LABELS)
    with pytest.raises(ValueError, match="bins=0"):
        analysis.calibration(LOGITS, LABELS, bins=0)
    with pytest.raises(ValueError, match="same image"):
        analysis.agreement(LOGITS, OTHER[:59])
    with pytest.raises(ValueError, match="4 classes, the teacher 3"):
        analysis.agreement(LOGITS, OTHER[:, :3])
