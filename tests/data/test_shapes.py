import time

import torch

from dcd_utils import data
from dcd_utils.data import shapes


def test_same_images_everywhere_and_quick():
    start = time.process_time()
    train, test = data.load("shapes", device="cpu")
    seconds = time.process_time() - start
    assert train.digest() == "c94a53e198366082cbbe11e98c2354d95f49b0ac747266153238bf6347f59d8a"
    assert test.digest() == "b65006b1bb8b079540259aac02340e6b31fb81b58b8bab32d049809ce5fd8e91"
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
