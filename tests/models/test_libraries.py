import copy
import sys
import urllib.error

import pytest
import torch
import torchvision
from torch import nn

from dcd_utils import models

# channels of the maps, sizes of the maps for 64 pixels, width of the classifier's input
TORCHVISION = {
    "resnet18": ((64, 64, 128, 256, 512), (32, 16, 8, 4, 2), 512),
    "resnet50": ((64, 256, 512, 1024, 2048), (32, 16, 8, 4, 2), 2048),
    "mobilenet_v3_small": ((16, 72, 96, 288, 576), (32, 16, 8, 4, 2), 1024),
    "vgg11_bn": ((64, 128, 256, 512, 512, 512), (64, 32, 16, 8, 4, 2), 4096),
    "densenet121": ((64, 128, 256, 512, 1024), (32, 16, 8, 4, 2), 1024),
    "efficientnet_b0": ((96, 144, 240, 672, 1280), (32, 16, 8, 4, 2), 1280),
    "shufflenet_v2_x0_5": ((24, 24, 48, 96, 1024), (32, 16, 8, 4, 2), 1024),
    "vit_b_16": ((), (), 768),
}


@pytest.mark.parametrize("name", TORCHVISION)
@torch.no_grad()
def test_torchvision_networks_answer_as_ours_do(name):
    channels, sizes, width = TORCHVISION[name]
    options = {"image_size": 64} if name == "vit_b_16" else {}
    network = models.create(f"torchvision/{name}", 10, seed=0, **options).eval()
    images = torch.randn(2, 3, 64, 64)
    maps, pooled, logits = network.features(images)
    assert tuple(found.shape[1] for found in maps) == channels
    assert tuple(found.shape[2] for found in maps) == sizes
    assert pooled.shape == (2, width) and network.name == f"torchvision/{name}" and network.options == options
    with torch.device("meta"):
        own = torchvision.models.get_model(name, num_classes=10, **options).eval()
    own.load_state_dict(network.state_dict(), assign=True)  # the library's own tensor names
    torch.testing.assert_close(logits, own(images))
    assert torch.equal(network(images), logits)
    classifier = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    torch.testing.assert_close(classifier(pooled), logits)


def test_weights_survive_files_copies_and_a_place_inside_another_module(tmp_path):
    source, other = (models.create("torchvision/resnet18", 10, seed=seed).eval() for seed in (1, 2))
    images = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(source(images), other(images))
    models.save_weights(source, tmp_path / "weights.safetensors")
    assert torch.equal(models.load_weights(other, tmp_path)(images), source(images))
    published = {"model": torchvision.models.resnet18(num_classes=10).state_dict()}
    torch.save(published, tmp_path / "published.pth")
    assert torch.equal(
        models.load_weights(other, tmp_path / "published.pth").network.fc.bias, published["model"]["fc.bias"]
    )

    pair, twins = nn.ModuleList([source, nn.Linear(2, 2)]), nn.ModuleList([copy.deepcopy(other), nn.Linear(2, 2)])
    assert "0.layer1.0.conv1.weight" in pair.state_dict() and "1.weight" in pair.state_dict()
    twins.load_state_dict(pair.state_dict())
    assert torch.equal(twins[0](images), source(images)) and not torch.equal(other(images), source(images))
    twins.train()
    twins[0].features(images).pooled.sum().backward()
    assert twins[0].network.conv1.weight.grad.abs().sum() > 0 and source.network.conv1.weight.grad is None
    assert not source.training  # a copy keeps its mode, and is free of the first
    frozen = models.create("torchvision/resnet18", 10, seed=1)
    frozen.network.bn1.eval()
    twin = copy.deepcopy(frozen)
    assert twin.training and twin.network.layer1.training and not twin.network.bn1.training


def test_seeds_decide_library_weights_and_nothing_else():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = (models.create("torchvision/resnet18", 10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    weights = [network.state_dict()["conv1.weight"] for network in (first, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_training_mode_is_the_librarys_own():
    own = torchvision.models.mobilenet_v3_small(num_classes=10, dropout=0.0).train()
    network = models.wrap(copy.deepcopy(own))
    assert network.training
    images = torch.randn(4, 3, 64, 64)
    output = network.features(images)
    torch.testing.assert_close(output.logits, own(images))
    sum(found.square().mean() for found in (*output.maps, output.pooled, output.logits)).backward()
    for name, tensor in own.state_dict().items():  # running statistics too
        torch.testing.assert_close(network.state_dict()[name], tensor)
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_wrap_shares_weights_keeps_the_mode_and_replaces_the_classifier_on_demand():
    own = torchvision.models.resnet18(num_classes=7).eval()
    network = models.wrap(own)
    assert not network.training and network.name == "torchvision/ResNet" and network.options == {}
    assert network.network.conv1.weight is own.conv1.weight
    assert network.features(torch.randn(2, 3, 32, 32)).logits.shape == (2, 7)
    assert models.wrap(own, num_classes=7).network.fc.weight is own.fc.weight
    assert models.wrap(own, num_classes=4).features(torch.randn(2, 3, 32, 32)).logits.shape == (2, 4)


def test_pretrained_is_passed_through(monkeypatch):
    asked = {}

    def get_model(name, **options):
        asked.update(options, name=name)
        return torchvision.models.resnet18()

    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    network = models.create("torchvision/resnet18", 10, seed=0, pretrained=True)
    assert asked == {"name": "resnet18", "weights": "DEFAULT"}
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10) and network.options == {"pretrained": True}
    assert copy.deepcopy(network).options == {"pretrained": True}


def test_published_weights_that_cannot_be_had_are_named_and_what_to_do(monkeypatch):
    def get_model(name, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    words = 'published weights of "torchvision/resnet18" cannot be had .*not known.*--teacher-weights'
    with pytest.raises(RuntimeError, match=words):
        models.create("torchvision/resnet18", 10, pretrained=True)
    with pytest.raises(OSError):
        models.create("torchvision/resnet18", 10)


class Mine(nn.Module):
    def features(self, images):
        return models.Features([], images.mean((2, 3)), images.mean((2, 3)))


def test_what_has_features_stays_as_it_is_and_what_cannot_be_wrapped_is_named():
    for mine in (Mine(), models.create("resnet8", 10)):
        assert models.wrap(mine) is mine and mine.options == {}
    described = Mine()
    described.options = {"depth": 3}
    assert models.wrap(described).options == {"depth": 3}
    with pytest.raises(ValueError, match=r"Linear comes from neither.*features\(images\)"):
        models.wrap(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="SqueezeNet ends in .*not in a linear classifier"):
        models.create("torchvision/squeezenet1_1", 10)
    with pytest.raises(ValueError, match='"torchvision/resnet19" does not exist: did you mean .*resnet1'):
        models.create("torchvision/resnet19", 10)
    with pytest.raises(ValueError, match="one of models.names"):
        models.wrap(torchvision.models.resnet18()).features(torch.randn(1, 3, 32, 32), preactivation=True)


def test_a_missing_timm_is_said_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="pip install timm"):
        models.create("timm/resnet18", 10)


@pytest.mark.parametrize(
    ("name", "options", "channels", "sizes", "width"),
    [
        ("resnet18", {}, [64, 64, 128, 256, 512], [32, 16, 8, 4, 2], 512),
        ("efficientnet_b0", {}, [16, 24, 40, 112, 320], [32, 16, 8, 4, 2], 1280),
        ("resnetv2_50", {}, [64, 256, 512, 1024, 2048], [32, 16, 8, 4, 2], 2048),
        ("vit_tiny_patch16_224", {"img_size": 64, "patch_size": 8}, [192] * 12, [8] * 12, 192),
    ],
)
def test_timm_networks_answer_as_ours_do(name, options, channels, sizes, width, tmp_path):
    timm = pytest.importorskip("timm")
    network, other = (models.create(f"timm/{name}", 10, seed=seed, **options).eval() for seed in (1, 2))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps, pooled, logits = network.features(images)
        assert [found.shape[1] for found in maps] == channels and [found.shape[2] for found in maps] == sizes
        assert pooled.shape == (2, width) and network.name == f"timm/{name}" and network.options == options
        own = timm.create_model(name, num_classes=10, **options).eval()
        own.load_state_dict(network.state_dict())
        torch.testing.assert_close(logits, own(images))
        models.save_weights(network, tmp_path / "weights.safetensors")
        torch.testing.assert_close(models.load_weights(other, tmp_path)(images), logits)
    assert models.wrap(own, num_classes=4)(images).shape == (2, 4)
    network.train().features(images).pooled.sum().backward()
    with pytest.raises(ValueError, match="did you mean"):
        models.create("timm/resnet18x", 10)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "torchvision/alexnet",
            r"32x32 \(Given input size.*those of 64x64.*--side 64, or data.load\(..., side=64\)\)$",
        ),
        ("torchvision/inception_v3", r"--side 75, or data.load\(..., side=75\)\)$"),
        ("torchvision/vit_b_16", r"--side 224,.*or create it for this size: models.create\(..., image_size=32\)$"),
        ("timm/vit_tiny_patch16_224", r"--side 224,.*or create it for this size: models.create\(..., img_size=32\)$"),
        ("timm/swin_tiny_patch4_window7_224", r"--side 224,.*img_size=32\)$"),
        ("timm/mixer_s16_224", r"--side 224,.*img_size=32\)$"),
        ("timm/coatnet_0_rw_224", r"--side 224,.*img_size=32\)$"),  # says nothing of sizes itself
        ("timm/inception_v4", r"--side 75, or data.load\(..., side=75\)\)$"),
    ],
)
def test_a_size_that_a_network_does_not_take_is_named_beside_one_that_it_takes(name, words, capfd):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with torch.device("meta"):
        network, images = models.create(name, 10), torch.zeros(2, 3, 32, 32)
    with pytest.raises(ValueError, match=f'"{name}" does not take images of .*{words}'):
        network(images)
    assert network.training and "Traceback" not in capfd.readouterr().err
    side = int(words.partition("--side ")[2].partition(",")[0])
    with torch.device("meta"):
        assert network(torch.zeros(2, 3, side, side)).shape == (2, 10)


def test_an_error_that_is_not_of_the_size_stays_what_it_is(monkeypatch):
    network = models.create("torchvision/resnet18", 10)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        network(torch.zeros(1, 3, 32, 32))
    with pytest.raises(RuntimeError, match="expected m1 and m2 to have the same dtype|same dtype|type"):
        network.eval()(torch.zeros(1, 3, 32, 32, dtype=torch.float64))

    def fail(images):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(network, "_read", fail)
    with pytest.raises(torch.OutOfMemoryError):
        network(torch.zeros(1, 3, 32, 32))


def test_an_option_that_a_library_does_not_know_is_named_beside_its_word_for_sizes():
    for options in ({"img_size": 32}, {"image_size": 30}, {"depth": 3}):
        with pytest.raises(ValueError, match=f'"torchvision/vit_b_16" does not take .*{[*options][0]}.*image_size$'):
            models.create("torchvision/vit_b_16", 10, **options)
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match='"timm/vit_tiny_patch16_224" does not take .*image_size.*img_size$'):
        models.create("timm/vit_tiny_patch16_224", 10, image_size=32)


def test_a_network_within_others_is_wrapped():
    own = torchvision.models.resnet18(num_classes=7).eval()
    for outer in (nn.DataParallel(own), torch.compile(own), torch.compile(nn.DataParallel(own))):
        assert models.wrap(outer).network.conv1.weight is own.conv1.weight
    ours = models.create("resnet8", 10)
    assert models.wrap(nn.DataParallel(ours)) is ours


def test_files_with_auxiliary_classifiers_load(tmp_path, capsys):
    own = torchvision.models.googlenet(num_classes=10, init_weights=False)
    torch.save({"model_state_dict": own.state_dict()}, tmp_path / "googlenet.pth")
    network = models.load_weights(
        models.create("torchvision/googlenet", 10, init_weights=False), tmp_path / "googlenet.pth"
    )
    assert 'from "model_state_dict", leaving out aux1.conv.conv.weight' in capsys.readouterr().out
    assert torch.equal(network.state_dict()["fc.weight"], own.fc.weight)
    assert network.train()(torch.randn(2, 3, 64, 64)).shape == (2, 10)
