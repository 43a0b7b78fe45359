"""The linear probe: what it learns, what it leaves alone, what it refuses."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from dcd_utils import analysis, models, runtime
from dcd_utils.analysis import probe
from dcd_utils.data import ImageSet


class Found(NamedTuple):
    pooled: torch.Tensor
    logits: torch.Tensor


class Pixels(nn.Module):
    """The first pixels are the features; batch norm and dropout make a forgotten eval mode visible."""

    def __init__(self, width=6, outputs=2):
        super().__init__()
        self.norm, self.drop, self.classifier = nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Linear(width, outputs)
        self.width = width

    def features(self, images):
        pooled = self.drop(self.norm(images)).flatten(1)[:, : self.width]
        return Found(pooled, self.classifier(pooled))


def image_set(size, seed, classes=4, noise=30.0):
    """Images whose first pixels tell the class: pixel k is bright in class k."""
    rng = np.random.default_rng(seed)
    labels = np.arange(size) % classes
    images = rng.integers(0, 256, (size, 3, 16, 16))
    images[:, 0, 0, :classes] = 100 + 60 * np.eye(classes)[labels] + noise * rng.standard_normal((size, classes))
    return ImageSet(
        torch.from_numpy(images.clip(0, 255).astype(np.uint8)),
        torch.from_numpy(labels),
        tuple("abcdefgh"[:classes]),
        (0.5,) * 3,
        (0.25,) * 3,
    )


def test_equals_scikit_learn_by_hand():
    train, test = image_set(400, 0), image_set(200, 1)
    model = Pixels()
    found = analysis.linear_probe(model, train, test, candidates=[0.1])
    seen, unseen = analysis.extract(model, train), analysis.extract(model, test)
    scaler = StandardScaler().fit(seen.pooled.astype(np.float64))
    classifier = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000).fit(scaler.transform(seen.pooled), seen.labels)
    expected = classifier.predict(scaler.transform(unseen.pooled))
    assert (found.predictions == expected).mean() > 0.99  # a prediction on the very border may fall either way
    assert found.accuracy == pytest.approx(100 * np.mean(found.predictions == unseen.labels))
    assert found.accuracy > 60 and found.train_accuracy > 60 and found.C == 0.1
    assert found.predictions.dtype == np.int64 and found.predictions.shape == (200,)


def test_classes_that_a_line_separates_are_separated():
    found = analysis.linear_probe(Pixels(), image_set(80, 0, noise=2.0), image_set(80, 1, noise=2.0))
    assert found.accuracy == found.train_accuracy == 100


def test_the_network_stays_bit_for_bit_and_in_its_modes():
    model = Pixels().train()
    model.norm.eval()  # a frozen part of a training network
    before = runtime.digest(model.state_dict())
    analysis.linear_probe(model, image_set(40, 0), image_set(20, 1))
    assert runtime.digest(model.state_dict()) == before
    assert model.training and model.drop.training and not model.norm.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_a_network_of_the_zoo_meets_other_classes(shapes):
    train, test = shapes
    model = models.create("resnet8", num_classes=100, seed=0).train()
    before = runtime.digest(model.state_dict())
    found = analysis.linear_probe(model, train, test)
    assert found.predictions.shape == (100,) and 0 <= found.predictions.min() <= found.predictions.max() < 20
    assert found.train_accuracy > 100 / 20, "no better than chance"
    assert model.training and runtime.digest(model.state_dict()) == before


def test_the_same_again_and_no_global_generator_is_touched():
    train, test = image_set(200, 0), image_set(100, 1)
    model = Pixels()
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = (analysis.linear_probe(model, train, test, seed=seed) for seed in (0, 0, 1))
    assert first.held_out == again.held_out != other.held_out
    assert first.C == again.C and (first.predictions == again.predictions).all()
    assert torch.equal(states[0], torch.random.get_rng_state()) and (states[1] == np.random.get_state()[1]).all()


def test_the_test_images_decide_nothing():
    train, test = image_set(200, 0), image_set(100, 1)
    model = Pixels()
    found = analysis.linear_probe(model, train, test)
    wrong = analysis.linear_probe(model, train, replace(test, labels=(test.labels + 1) % 4))
    assert found.held_out == wrong.held_out and found.C == wrong.C
    assert (found.predictions == wrong.predictions).all() and found.accuracy != wrong.accuracy


def test_chooses_the_c_that_does_best_on_held_out_training_images():
    # 60 features of pure noise for 60 images: only a strong regularisation keeps the few that matter in sight
    train, test = image_set(60, 0), image_set(400, 1)
    model = Pixels(width=60)
    found = analysis.linear_probe(model, train, test, candidates=(1000.0, 0.01, 0.01))
    assert list(found.held_out) == [0.01, 1000.0] and max(found.held_out, key=found.held_out.get) == found.C
    tied = analysis.linear_probe(Pixels(), image_set(80, 0, noise=2.0), test, candidates=(10, 100, 1))
    assert len(set(tied.held_out.values())) == 1 and tied.C == 1, "the smaller of equals"


def test_two_classes_and_a_constant_feature():
    train, test = image_set(40, 0, classes=2, noise=2.0), image_set(40, 1, classes=2, noise=2.0)
    train.images[:, 0, 0, 3] = test.images[:, 0, 0, 3] = 7
    assert analysis.linear_probe(Pixels(), train, test).accuracy == 100


def test_refuses_what_it_cannot_fit():
    train, test = image_set(40, 0), image_set(20, 1)
    model = Pixels()
    with pytest.raises(ValueError, match="train has 4 classes .*, test 3 .*one data.load"):
        analysis.linear_probe(model, train, image_set(20, 1, classes=3))
    few = train.subset([*range(0, 40, 4), *range(1, 17, 4), *range(2, 40, 4), *range(3, 40, 4)])
    with pytest.raises(ValueError, match='1 of 4 classes .* \\("b" has 4\\).*at least 5'):
        analysis.linear_probe(model, few, test)
    with pytest.raises(ValueError, match='"c" has 0'):
        analysis.linear_probe(model, train.subset(train.labels < 2), test)
    with pytest.raises(ValueError, match="there is 1 class"):
        analysis.linear_probe(model, image_set(40, 0, classes=1), image_set(20, 1, classes=1))
    for candidates in ((), (0.1, -1), (float("inf"),), (float("nan"),)):
        with pytest.raises(ValueError, match="positive values of C"):
            analysis.linear_probe(model, train, test, candidates=candidates)
    with pytest.raises(ValueError, match="empty"):
        analysis.linear_probe(model, train, test.subset([]))


def test_exactly_five_images_a_class_are_enough():
    found = analysis.linear_probe(Pixels(), image_set(20, 0, noise=2.0), image_set(20, 1, noise=2.0))
    assert set(found.held_out) == {0.001, 0.01, 0.1, 1.0, 10.0} and probe.FEWEST == 5
