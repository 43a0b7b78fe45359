import time

import torch

from dcd_utils import data
from dcd_utils.data import shapes


def test_same_images_everywhere_and_quick():
    start = time.process_time()
    train, test = data.load("shapes", device="cpu")
    seconds = time.process_time() - start
    assert train.digest() == "a20ff83b20e19d1e9564bf31a577c9701a2b410ab44ddebf477ed33237d25fd1"
    assert test.digest() == "b4e452718e7dd3c2878f14641bc9a0d1d0f5ed70a924ec9d0ea4c3e4d255c7f8"
    assert seconds < 5


def test_contents():
    train, test = shapes.load(400, 200)
    assert (len(train), len(test), train.num_classes) == (400, 200, 20)
    assert train.images.shape[1:] == (3, 32, 32)
    assert torch.bincount(train.labels).tolist() == [20] * 20
    assert len(set(train.classes)) == 20
    for name, superclass in zip(train.classes, train.superclasses, strict=True):
        assert name.endswith(train.superclass_names[superclass])
    same = (train.images[:, None, :, ::8, ::8] == test.images[None, :, :, ::8, ::8]).flatten(2).all(-1)
    assert not same.any(), "a test image stands in the training set"
