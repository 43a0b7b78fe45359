"""Networks by name: one file per family, tensor names as in the checkpoints that the field shares."""

from contextlib import nullcontext
from functools import partial

import torch

from dcd_utils import runtime
from dcd_utils.models import libraries, mobilenet, resnet, shufflenet, vgg, wide_resnet
from dcd_utils.models.libraries import wrap
from dcd_utils.models.network import Features, Network, unwrapped
from dcd_utils.models.weights import load_weights, save_weights

__all__ = ["Features", "Network", "create", "load_weights", "names", "parameter_count", "save_weights", "unwrapped",
           "wrap"]  # fmt: skip

_NETWORKS = resnet.NETWORKS | wide_resnet.NETWORKS | vgg.NETWORKS | mobilenet.NETWORKS | shufflenet.NETWORKS


def names() -> list[str]:
    """The course's own networks; `create` makes those of torchvision and timm too."""
    return list(_NETWORKS)


def create(name: str, num_classes: int, seed: int | None = None, pretrained: bool = False, **options) -> Network:
    """A network, with fresh weights unless told otherwise; its `options` say what it was created with.

    Args:
        name: one of `names()`, or a library's network, "torchvision/resnet18" or "timm/resnet18" (see `wrap`).
        num_classes: number of outputs.
        seed: initial weights that depend on the seed and the name alone; None draws from PyTorch's global generator.
        pretrained: a library's published weights, which it downloads; with another number of outputs, the classifier is
            fresh.
        options: what else a library's network takes, for instance the size that a vision transformer is made for:
            image_size=32 in torchvision, img_size=32 in timm.

    Raises:
        ValueError: unknown name, fewer than 2 classes, options that the network does not take, or pretrained for one
            of `names()`. ImportError: timm is not installed. RuntimeError: published weights cannot be downloaded.
    """
    from_library = "/" in name and name.partition("/")[0] in libraries.LIBRARIES
    if name not in _NETWORKS and not from_library:
        advice = f'choose one of {", ".join(_NETWORKS)}, or a library\'s, as "torchvision/resnet18" or "timm/resnet18"'
        raise ValueError(f'network "{name}" does not exist: {advice}')
    if not isinstance(num_classes, int) or num_classes < 2:
        raise ValueError(f"num_classes={num_classes} was given: pass the number of classes, at least 2")
    options = {"pretrained": True, **options} if pretrained else options
    if options and not from_library:
        advice = "its weights come from a file (models.load_weights, --teacher-weights FILE) or from training"
        raise ValueError(f'"{name}" takes no {", ".join(options)}: {advice}')
    build = partial(libraries.build, name) if from_library else _NETWORKS[name]
    with runtime.seeded("weights", name, seed) if seed is not None else nullcontext():
        network = build(num_classes, **options)
    network.name, network.options = name, options
    return network


def parameter_count(model: torch.nn.Module) -> int:
    """Number of trainable numbers in the model."""
    return sum(parameter.numel() for parameter in model.parameters())
