import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from dcd_utils import models

# SHA-256 (first 16 digits) of the list of [name, shape] in the checkpoints that the field shares, 100 classes
LAYOUTS = {
    "resnet8": "4c781e512cd685f5",
    "resnet14": "5f23fb935b1739d3",
    "resnet20": "6b9f0272a6f6bace",
    "resnet32": "095172c6c880ccb6",
    "resnet44": "6f43e86f9efa855a",
    "resnet56": "6393373383fefe0d",
    "resnet110": "6f41c9b012d4b0e8",
    "resnet8x4": "67392e7f5dc443fc",
    "resnet32x4": "d1cdc5857b58d7d5",
    "ResNet50": "5924c7eeb130c707",
    "wrn_16_1": "8adc30f7ae18228d",
    "wrn_16_2": "ae5aa50cb9f7c2a1",
    "wrn_40_1": "9f11c1460fb95baf",
    "wrn_40_2": "2a9d2160e1be72dd",
    "vgg8": "bba81923398e0983",
    "vgg11": "82df3a294a8a590f",
    "vgg13": "c80ade34bfeb1ffe",
    "vgg16": "19ac5dad6e21a6b1",
    "vgg19": "56c93dfd1a66dbe8",
    "MobileNetV2": "d8a76a010dcabc59",
    "ShuffleV1": "b908def5e360bd6b",
    "ShuffleV2": "93732fe0d514eb70",
}
PARAMETERS = {
    "resnet8": 83_892, "resnet14": 181_108, "resnet20": 278_324, "resnet32": 472_756, "resnet44": 667_188,
    "resnet56": 861_620, "resnet110": 1_736_564, "resnet8x4": 1_233_540, "resnet32x4": 7_433_860,
    "ResNet50": 23_705_252, "wrn_16_1": 180_916, "wrn_40_1": 569_780, "wrn_16_2": 703_284, "wrn_40_2": 2_255_156,
    "vgg8": 3_965_028, "vgg11": 9_277_284, "vgg13": 9_462_180, "vgg16": 14_774_436, "vgg19": 20_086_692,
    "MobileNetV2": 812_836, "ShuffleV1": 949_258, "ShuffleV2": 1_355_528,
}  # fmt: skip


@pytest.mark.parametrize("name", models.names())
def test_layout_of_the_shared_checkpoints(name):
    with torch.device("meta"):
        model = models.create(name, 100)
    layout = [[key, list(tensor.shape)] for key, tensor in model.state_dict().items()]
    assert hashlib.sha256(json.dumps(layout).encode()).hexdigest()[:16] == LAYOUTS[name]
    assert models.parameter_count(model) == PARAMETERS[name]
    assert model.name == name and model.options == {}


def test_the_names_are_those_of_the_paper_in_its_order():
    assert models.names() == list(LAYOUTS)


# one of each family: channels and size of its maps for an image of 32 pixels
MAPS = {
    "resnet8": [(16, 32), (16, 32), (32, 16), (64, 8)],
    "resnet14": [(16, 32), (16, 32), (32, 16), (64, 8)],
    "resnet8x4": [(32, 32), (64, 32), (128, 16), (256, 8)],
    "ResNet50": [(64, 32), (256, 32), (512, 16), (1024, 8), (2048, 4)],
    "wrn_16_1": [(16, 32), (16, 32), (32, 16), (64, 8)],
    "wrn_16_2": [(16, 32), (32, 32), (64, 16), (128, 8)],
    "vgg8": [(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)],
    "MobileNetV2": [(16, 16), (12, 16), (16, 8), (48, 4), (160, 2)],
    "ShuffleV1": [(24, 32), (240, 16), (480, 8), (960, 4)],
    "ShuffleV2": [(24, 32), (116, 16), (232, 8), (464, 4)],
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("side", [16, 32, 40])
def test_one_pass_gives_maps_pooled_and_logits(name, side):
    model = models.create(name, 7, seed=0).eval()
    images = torch.randn(2, 3, side, side)
    features = model.features(images)
    assert torch.equal(model(images), features.logits) and features.logits.shape == (2, 7)
    classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    torch.testing.assert_close(classifier(features.pooled), features.logits)
    assert [feature.shape[1] for feature in features.maps] == [channels for channels, _ in MAPS[name]]
    if side != 40:
        assert [feature.shape[2] * 32 // side for feature in features.maps] == [size for _, size in MAPS[name]]


def test_vgg_pools_once_more_from_64_pixels_on():
    maps = models.create("vgg8", 10, seed=0).eval().features(torch.randn(1, 3, 64, 64)).maps
    assert [feature.shape[2] for feature in maps] == [64, 32, 16, 8, 4]


@pytest.mark.parametrize("name", MAPS)
def test_preactivation_changes_the_maps_and_nothing_else(name):
    usual, other = models.create(name, 10, seed=0), models.create(name, 10, seed=0)
    images = torch.randn(4, 3, 32, 32)
    expected, found = usual.features(images), other.features(images, preactivation=True)  # in training mode
    assert torch.equal(found.logits, expected.logits) and torch.equal(found.pooled, expected.pooled)
    assert torch.equal(found.maps[0], expected.maps[0])
    for (key, one), two in zip(usual.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two), f"{key}: running statistics saw another number of batches"
    if name == "MobileNetV2":
        assert all(map(torch.equal, found.maps, expected.maps))
    else:
        assert all(before.min() < 0 for before in found.maps[1:])
    if not name.startswith(("wrn", "Mobile", "ShuffleV2")):
        assert all(torch.equal(b.relu(), after) for b, after in zip(found.maps[1:], expected.maps[1:], strict=True))
    for output in (expected, found):  # nothing that a loss may read was overwritten in place
        sum(feature.square().mean() for feature in (*output.maps, output.pooled, output.logits)).backward()
    gradients = zip(usual.parameters(), other.parameters(), strict=True)
    assert all(one.grad.isfinite().all() and two.grad.isfinite().all() for one, two in gradients)


@pytest.mark.parametrize("name", ["ShuffleV1", "ShuffleV2"])
def test_shuffles_keep_the_layout_and_the_values(name):
    model, images = models.create(name, 10, seed=0).double().eval(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = model.features(images).maps
    found = model.to(memory_format=torch.channels_last).features(images.to(memory_format=torch.channels_last)).maps
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(one, two)
        assert two.is_contiguous(memory_format=torch.channels_last) and one.is_contiguous()


@pytest.mark.parametrize("name", ["resnet8x4", "ResNet50", "wrn_16_2", "vgg8", "MobileNetV2"])
def test_initial_convolutions_keep_the_gradients_variance(name):
    model = models.create(name, 100, seed=0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5_000:
            expected = (2 / (module.out_channels * module.kernel_size[0] ** 2)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
            assert module.bias is None or not module.bias.any()


def test_initial_classifiers_are_those_of_the_published_networks():
    for name, width in {"vgg8": 512, "MobileNetV2": 1280}.items():
        classifier = [module for module in models.create(name, 100, seed=0).modules() if isinstance(module, nn.Linear)][
            0
        ]
        assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.05) and classifier.weight.shape[1] == width
        assert not classifier.bias.any()
    assert not models.create("wrn_16_1", 100, seed=0).fc.bias.any()
    for name in ("ShuffleV1", "ShuffleV2"):  # PyTorch's own initial weights
        for module in models.create(name, 100, seed=0).modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = module.weight[0].numel() ** -0.5
                assert 0.8 * bound < module.weight.abs().max() <= bound


def test_seeds_decide_weights_and_nothing_else():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = models.create("resnet8", 10, seed=1)
    assert torch.equal(torch.rand(3), expected), "a seeded network must leave the global generator alone"
    same, other = models.create("resnet8", 10, seed=1), models.create("resnet8", 10, seed=2)
    assert torch.equal(first.conv1.weight, same.conv1.weight) and not torch.equal(
        first.conv1.weight, other.conv1.weight
    )


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="resnet8, resnet14"):
        models.create("resnet9", 10)
    with pytest.raises(ValueError, match='"resnet8" takes no pretrained, image_size'):
        models.create("resnet8", 10, pretrained=True, image_size=32)
    with pytest.raises(ValueError, match="num_classes=1"):
        models.create("resnet8", 1)
    with pytest.raises(ValueError, match="16 pixels"):
        models.create("resnet8", 10)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        models.create("wrn_16_1", 10)(torch.zeros(1, 1, 32, 32))

WEIGHTS = {  # of networks of 20 classes and seed 2
    "resnet8": "a8aaaea691c5af69a517eb69bbf47eb1257f6848d0b6540933ad0297e678db50",
    "resnet20": "5b87984d6555de9d1edfb42fa869ffa4bcb5a2e2ff600674fa19c5f075ef7790",
    "vgg8": "cfde1122bb6a77ad9b56d88486438bfc4608636f30f0135c4e7fd027a4b0b7a5",
    "MobileNetV2": "135e37124ffeda9ad369d526d64de75ff5b2d8a8a20e2c6da8001689f9345677",
    "ShuffleV1": "89e1e202fbd96b5a1de49b1bb919225fb40fa153c898ec9e98c22ee20e419fb9",
}


@pytest.mark.parametrize("features", ["", "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_ICL"])
def test_seeded_weights_are_the_same_on_every_processor(features):
    """In other processes that leave this processor's vector instructions aside, and in this one."""
    code = "from dcd_utils import models; from dcd_utils.training.config import weights_digest\n"
    code += f"print(*(weights_digest(models.create(name, 20, seed=2)) for name in {[*WEIGHTS]}))"
    without = {"ATEN_CPU_CAPABILITY": "default", "NPY_DISABLE_CPU_FEATURES": features} if features else {}
    environment = os.environ | without
    command = [sys.executable, "-W", "ignore", "-c", code]  # NumPy warns of features that are not there anyway
    output = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=True)
    assert output.stdout.split() == [*WEIGHTS.values()]
