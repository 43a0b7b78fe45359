"""Feature extraction and class means."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from dcd_utils import analysis, models


class Found(NamedTuple):
    pooled: torch.Tensor
    logits: torch.Tensor


class Stand(nn.Module):
    """Batch norm and dropout make a forgotten eval mode visible."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.classifier = nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Linear(3, 5)

    def features(self, images):
        pooled = self.drop(self.norm(images)).mean((2, 3))
        return Found(pooled, self.classifier(pooled))


def test_extract_gives_float32_rows_in_order_without_gradient(tiny_sets):
    train, _ = tiny_sets
    torch.manual_seed(0)
    model = Stand()
    found = analysis.extract(model, train, batch_size=7)
    with torch.no_grad():
        expected = model.eval().features(train.batch(torch.arange(len(train))))
    assert found.pooled.dtype == found.logits.dtype == np.float32
    np.testing.assert_allclose(found.pooled, expected.pooled, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-5, atol=1e-6)
    assert found.labels.dtype == np.int64 and (found.labels == train.labels.numpy()).all()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_extract_leaves_modes_and_statistics_as_they_were(tiny_sets):
    model = Stand().train()
    model.norm.eval()  # a frozen part of a training network
    before = model.norm.running_mean.clone()
    analysis.extract(model, tiny_sets[0])
    assert model.training and model.drop.training and not model.norm.training
    assert torch.equal(model.norm.running_mean, before)


def test_extract_reads_the_network_within_a_wrapper(tiny_sets):
    torch.manual_seed(0)
    model = Stand().train()
    expected = analysis.extract(model, tiny_sets[0])
    for wrapper in (nn.DataParallel(model), torch.compile(model), torch.compile(nn.DataParallel(model))):
        np.testing.assert_array_equal(analysis.extract(wrapper, tiny_sets[0]).pooled, expected.pooled)
        assert wrapper.training and model.training and model.norm.training


def test_extract_restores_modes_after_an_error(tiny_sets):
    model = Stand().train()
    model.classifier = nn.Linear(4, 5)
    with pytest.raises(RuntimeError):
        analysis.extract(model, tiny_sets[0])
    assert model.training and model.norm.training


def test_extract_reads_a_network_of_the_zoo(tiny_sets):
    found = analysis.extract(models.create("resnet8", num_classes=3, seed=0), tiny_sets[1])
    assert found.pooled.shape == (20, 64) and found.logits.shape == (20, 3)


def test_extract_refuses_what_it_cannot_read(tiny_sets):
    train, _ = tiny_sets
    with pytest.raises(ValueError, match="empty"):
        analysis.extract(Stand(), train.subset([]))
    with pytest.raises(ValueError, match="batch_size=0"):
        analysis.extract(Stand(), train, batch_size=0)
    with pytest.raises(TypeError, match="features"):
        analysis.extract(nn.Linear(2, 2), train)
    diverged = Stand()
    nn.init.constant_(diverged.classifier.bias, float("nan"))
    with pytest.raises(ValueError, match="logits: 40 of 40 rows"):
        analysis.extract(diverged, train)


def test_class_means_by_hand():
    values = np.array([[1.0, 2], [3, 4], [10, 20]])
    np.testing.assert_array_equal(analysis.class_means(values, [1, 1, 0], 2), [[10, 20], [2, 3]])
    without = analysis.class_means(values, [3, 3, 1], 5)  # classes 0, 2 and 4 have no image
    np.testing.assert_array_equal(without, [[np.nan] * 2, [10, 20], [np.nan] * 2, [2, 3], [np.nan] * 2])


@pytest.mark.parametrize(
    ("values", "labels", "classes", "message"),
    [
        (np.zeros(3), [0, 1, 1], 2, r"shape \(3,\), expected \[N, D\]"),
        (np.zeros((3, 2)), [0, 1], 2, r"shape \(2,\), expected \[3\]"),
        (np.zeros((3, 2)), [0.0, 1, 1], 2, "integer"),
        (np.zeros((3, 2)), [0, 1, 2], 2, "0 to 2, but there are 2 classes"),
        (np.zeros((3, 2)), [0, -1, 1], 2, "-1 to 1, but there are 2 classes"),
        (np.array([[1.0], [np.nan], [0]]), [0, 1, 1], 2, "the first is row 1"),
        (np.array([["a"], ["b"]]), [0, 1], 2, "expected numbers"),
    ],
)
def test_class_means_refuses_bad_input(values, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        analysis.class_means(values, np.array(labels), classes)


def test_tensors_are_accepted_half_precision_too():
    values = torch.tensor([[1.0], [3.0]], dtype=torch.bfloat16, requires_grad=True)
    assert analysis.class_means(values, torch.tensor([0, 0]), 1) == 2.0
