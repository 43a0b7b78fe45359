import hashlib
import json

import pytest
import torch

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
    "wrn_16_1": "8adc30f7ae18228d",
    "wrn_16_2": "ae5aa50cb9f7c2a1",
    "wrn_40_1": "9f11c1460fb95baf",
    "wrn_40_2": "2a9d2160e1be72dd",
}
PARAMETERS = {
    "resnet8": 83_892, "resnet14": 181_108, "resnet20": 278_324, "resnet32": 472_756, "resnet44": 667_188,
    "resnet56": 861_620, "resnet110": 1_736_564, "resnet8x4": 1_233_540, "resnet32x4": 7_433_860,
    "wrn_16_1": 180_916, "wrn_40_1": 569_780, "wrn_16_2": 703_284, "wrn_40_2": 2_255_156,
}  # fmt: skip


@pytest.mark.parametrize("name", models.names())
def test_layout_of_the_shared_checkpoints(name):
    model = models.create(name, 100)
    layout = [[key, list(tensor.shape)] for key, tensor in model.state_dict().items()]
    assert hashlib.sha256(json.dumps(layout).encode()).hexdigest()[:16] == LAYOUTS[name]
    assert models.parameter_count(model) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["resnet8", "resnet14", "resnet8x4", "wrn_16_1", "wrn_16_2"])
@pytest.mark.parametrize("side", [16, 32, 40])
def test_one_pass_gives_maps_pooled_and_logits(name, side):
    model = models.create(name, 7, seed=0).eval()
    images = torch.randn(2, 3, side, side)
    features = model.features(images)
    assert torch.equal(model(images), features.logits) and features.logits.shape == (2, 7)
    assert [feature.shape[2] for feature in features.maps] == [side, side, side // 2, side // 4]
    torch.testing.assert_close(model.fc(features.pooled), features.logits)


# mean absolute value of every map, of the pooled features and of the logits, in float64, with the weights of
# `fill`; taken
# from RepDistiller's networks, whose outputs agreed with ours to 1e-15 of the largest value, element by element
GOLDEN = {
    "resnet8": [0.0412830629886, 0.0471173421856, 0.035817444676, 0.0472508943111, 0.0472508943111, 0.998893113119],
    "resnet14": [0.0412830629886, 0.0559976434922, 0.0573713814458, 0.079925318248, 0.079925318248, 0.998300250504],
    "resnet20": [0.0412830629886, 0.0671292206119, 0.0785980191619, 0.114554915349, 0.114554915349, 0.997731638421],
    "resnet32": [0.0412830629886, 0.0914656055786, 0.121642088822, 0.185927639199, 0.185927639199, 0.99664175123],
    "resnet44": [0.0412830629886, 0.116934662655, 0.166054089426, 0.259425492721, 0.259425492721, 1.00833705561],
    "resnet56": [0.0412830629886, 0.142656348141, 0.211644835874, 0.33500194085, 0.33500194085, 1.0983484825],
    "resnet110": [0.0412830629886, 0.258167681455, 0.432049003904, 0.701002010997, 0.701002010997, 1.76889307608],
    "resnet8x4": [0.0431300802724, 0.0339483359983, 0.0625658804457, 0.0791307879578, 0.0791307879578, 0.998242066937],
    "resnet32x4": [0.0431300802724, 0.0916637047482, 0.208397761214, 0.328544192184, 0.328544192184, 1.13892258824],
    "wrn_16_1": [0.0860231436689, 0.0862160154922, 0.0227698978384, 0.0419609539259, 0.0235485723792, 0.999400208956],
    "wrn_16_2": [0.0860231436689, 0.0222224771255, 0.0420139203218, 0.0652400348426, 0.0332289572249, 0.999369924615],
    "wrn_40_1": [0.0860231436689, 0.087276880538, 0.0236865337338, 0.0433539642555, 0.0242202447472, 0.999418077818],
    "wrn_40_2": [0.0860231436689, 0.0223937371996, 0.043689136154, 0.0651989488503, 0.0331864663372, 0.999361555336],
}


def fill(model):
    """Weights that any implementation can make: no generator involved."""
    for tensor in model.state_dict().values():
        if tensor.dtype == torch.float64:
            values = torch.sin(torch.arange(1, tensor.numel() + 1, dtype=torch.float64)).view(tensor.shape)
            scale = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.1
            tensor.copy_(values * scale + (tensor.ndim == 1))
    return model


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_sums(name):
    model = fill(models.create(name, 100).double()).eval()
    images = torch.cos(torch.arange(2 * 3 * 32 * 32, dtype=torch.float64)).view(2, 3, 32, 32)
    with torch.no_grad():
        features = model.features(images)
    sums = [feature.abs().mean().item() for feature in (*features.maps, features.pooled, features.logits)]
    assert sums == pytest.approx(GOLDEN[name], rel=1e-9)


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
    with pytest.raises(ValueError, match="num_classes=1"):
        models.create("resnet8", 1)
    with pytest.raises(ValueError, match="16 pixels"):
        models.create("resnet8", 10)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        models.create("wrn_16_1", 10)(torch.zeros(1, 1, 32, 32))
