import numpy as np
import torch

from dcd_utils.data import new_shapes, shapes


def test_contents():
    train, test = new_shapes.load(160, 80)
    assert (len(train), len(test), train.num_classes) == (160, 80, 16)
    assert train.images.shape[1:] == (3, 32, 32)
    assert torch.bincount(train.labels).tolist() == [10] * 16
    assert len(set(train.classes)) == 16 and train.classes == test.classes
    for name, superclass in zip(train.classes, train.superclasses, strict=True):
        assert name.endswith(train.superclass_names[superclass])
    same = (train.images[:, None, :, ::8, ::8] == test.images[None, :, :, ::8, ::8]).flatten(2).all(-1)
    assert not same.any(), "a test image stands in the training set"


def test_shares_no_shape_and_no_texture_with_shapes():
    assert not new_shapes.SHAPES.keys() & shapes.SHAPES.keys()
    assert not new_shapes.TEXTURES.keys() & shapes.TEXTURES.keys()
    # by their looks, too: on a grid, any two tests disagree about at least a twelfth of the positions
    x, y = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41))
    for ours, theirs in ((new_shapes.SHAPES, shapes.SHAPES), (new_shapes.TEXTURES, shapes.TEXTURES)):
        drawn = {name: test(x, y) for name, test in (ours | theirs).items()}
        for name in ours:
            assert all((drawn[name] != drawn[other]).mean() > 1 / 12 for other in drawn if other != name), name
