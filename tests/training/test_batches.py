import torch

from dcd_utils.training.batches import batches, steps_per_epoch


def test_every_image_once_in_a_view_of_its_own():
    drawn = list(batches(70, 16, seed=0, epoch=0))
    assert [len(indices) for indices, _ in drawn] == [16, 16, 16, 16, 6] and steps_per_epoch(70, 16) == 5
    assert sorted(torch.cat([indices for indices, _ in drawn]).tolist()) == list(range(70))
    views = torch.cat([views for _, views in drawn])
    assert views.min() >= 0 and views.max() < 162 and len(views.unique()) > 40


def test_a_function_of_seed_and_epoch_alone():
    def draw(seed, epoch):
        return torch.cat([torch.stack(batch) for batch in batches(64, 16, seed, epoch)], dim=1)

    torch.manual_seed(3)
    first = draw(0, 0)
    torch.manual_seed(4)
    assert torch.equal(first, draw(0, 0))
    assert not torch.equal(first, draw(1, 0)) and not torch.equal(first, draw(0, 1))


def test_a_single_last_image_is_left_out():
    assert [len(indices) for indices, _ in batches(33, 16, 0, 0)] == [16, 16] and steps_per_epoch(33, 16) == 2
    assert steps_per_epoch(32, 16) == 2 and steps_per_epoch(34, 16) == 3
