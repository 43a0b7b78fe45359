import pytest
import torch
from torchvision.transforms import functional as transforms

from dcd_utils.data import views


def test_every_view_equals_torchvision_pad_crop_flip():
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    ours = views.augment(image.expand(views.NUM_VIEWS, -1, -1, -1), torch.arange(views.NUM_VIEWS))
    for view in range(views.NUM_VIEWS):
        top, left, flip = (int(value) for value in views.offsets(torch.tensor(view)))
        theirs = transforms.crop(transforms.pad(image, 4), top, left, 32, 32)
        theirs = transforms.hflip(theirs) if flip else theirs
        assert torch.equal(ours[view], theirs)
        assert views.view_number(top, left, flip) == view


def test_rectangles_floats_and_mixed_views():
    images = torch.rand(3, 5, 20, 28)
    result = views.augment(images, torch.tensor([views.IDENTITY, views.IDENTITY + 1, 0]))
    assert torch.equal(result[0], images[0])
    assert torch.equal(result[1], images[1].flip(-1))
    assert torch.equal(result[2, :, 4:, 4:], images[2, :, :-4, :-4]) and result[2, :, :4].sum() == 0


def test_there_are_162_different_views():
    image = torch.rand(1, 3, 16, 16).expand(views.NUM_VIEWS, -1, -1, -1)
    result = views.augment(image, torch.arange(views.NUM_VIEWS))
    assert len(torch.unique(result.flatten(1), dim=0)) == views.NUM_VIEWS == 162


def test_bad_views_are_refused():
    with pytest.raises(ValueError, match="one view per image"):
        views.augment(torch.zeros(2, 3, 16, 16), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="top=9"):
        views.view_number(9, 0, 0)
