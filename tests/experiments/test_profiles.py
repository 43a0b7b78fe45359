import pytest

from dcd_utils import data, experiments, training
from dcd_utils.experiments import profile


def test_the_two_profiles():
    quick, full = profile("quick"), profile("full")
    assert quick == profile() and (quick.dataset, quick.teacher, quick.student) == ("shapes", "resnet20", "resnet8")
    assert quick.recipe == training.QUICK and quick.teacher_recipe == training.QUICK_TEACHER
    assert (full.dataset, full.teacher, full.student) == ("cifar100", "wrn_40_2", "wrn_16_2")
    assert full.recipe == full.teacher_recipe == training.PAPER and full.seeds == (0, 1, 2)
    assert not {0, 1, 100} & {*quick.seeds}, "the settings were chosen with these"


def test_the_profile_of_imagenet_is_the_published_recipe():
    large = profile("imagenet", root="images")
    assert (large.dataset, large.teacher, large.student) == ("imagenet", "torchvision/resnet34", "torchvision/resnet18")
    recipe = large.recipe
    assert recipe == large.teacher_recipe == training.IMAGENET
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (120, 256, 1e-4)
    rates = [recipe.learning_rate_at(10 * epoch, 10) for epoch in (29, 30, 60, 90, 119)]
    assert rates == pytest.approx([0.1, 0.01, 1e-3, 1e-4, 1e-4])
    short = profile("imagenet", root="images", epochs=3).recipe
    assert (short.epochs, short.batch_size, short.schedule, short.precision) == (3, 256, "one_cycle", "auto")


def test_choices_of_a_profile_can_be_replaced():
    short = profile("full", dataset="folder", root="images", epochs=3, seeds=[4], student="resnet8")
    assert (short.dataset, short.root, short.seeds, short.student) == ("folder", "images", (4,), "resnet8")
    assert short.teacher == "wrn_40_2"
    assert short.recipe == short.teacher_recipe == training.QUICK.but(epochs=3), "the paper's milestones lie elsewhere"
    assert profile("full", epochs=240).recipe == training.PAPER
    assert profile("quick", epochs=15).teacher_recipe.epochs == 15, "as asked, also where only one of them changes"
    with pytest.raises(ValueError, match='"fast" does not exist: choose one of quick, full'):
        profile("fast")


def test_a_profile_loads_its_images(monkeypatch):
    train, test = profile("quick").load(train_size=40, test_size=20, device="cpu")
    assert (len(train), len(test), train.name) == (40, 20, "shapes")
    asked = []
    monkeypatch.setattr(data, "load", lambda *arguments, **options: asked.append((arguments, options)))
    experiments.profile("full", root="there").load(download=False)
    assert asked == [(("cifar100", "there"), {"download": False})]
