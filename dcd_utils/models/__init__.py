"""Networks by name: one file per family, tensor names as in the checkpoints that the field shares."""

import torch

from dcd_utils import runtime
from dcd_utils.models import libraries, mobilenet, resnet, resnet50, shufflenet_v1, shufflenet_v2, vgg, wide_resnet
from dcd_utils.models.libraries import wrap
from dcd_utils.models.network import Features, Network
from dcd_utils.models.weights import load_weights, save_weights

__all__ = ["Features", "Network", "create", "load_weights", "names", "parameter_count", "save_weights", "wrap"]

_FILES = (resnet, resnet50, wide_resnet, vgg, mobilenet, shufflenet_v1, shufflenet_v2)
_CONFIGS = {name: (file.NETWORK, arguments) for file in _FILES for name, arguments in file.CONFIGS.items()}


def names() -> list[str]:
    """The course's own networks; `create` makes those of torchvision and timm too."""
    return list(_CONFIGS)


def create(
    name: str, num_classes: int, seed: int | None = None, pretrained: bool = False, **options: object
) -> Network:
    """A network, with fresh weights unless told otherwise; its `options` say what it was created with.

    Args:
        name: one of `names()`, or a library's network, "torchvision/resnet18" or "timm/resnet18" (see `wrap`).
        num_classes: number of outputs.
        seed: initial weights that depend on the seed and the name alone; None draws from PyTorch's global generator.
        pretrained: the library's published weights, downloaded by the library; the classifier is fresh wherever theirs
            has another number of outputs. Only for a library's network.
        options: what else the library's network takes, for instance image_size=32 for a vision transformer.

    Raises:
        ValueError: unknown name (the message lists the names), fewer than 2 classes, or pretrained or options for one
            of `names()`.
        ImportError: a network of timm, which is not installed.
    """
    from_library = "/" in name and name.partition("/")[0] in libraries.LIBRARIES
    if name not in _CONFIGS and not from_library:
        raise ValueError(
            f'network "{name}" does not exist: choose one of {", ".join(_CONFIGS)}, or a library\'s, as '
            '"torchvision/resnet18" or "timm/resnet18"'
        )
    if not isinstance(num_classes, int) or num_classes < 2:
        raise ValueError(f"num_classes={num_classes} was given: pass the number of classes, at least 2")
    if pretrained:
        options = {"pretrained": True, **options}
    if options and not from_library:
        raise ValueError(
            f'"{name}" takes no {", ".join(options)}: for published weights of the course\'s own networks, use '
            "models.load_weights"
        )
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(runtime.generator("weights", name, seed).initial_seed())
        if from_library:
            network = libraries.build(name, num_classes, **options)
        else:
            build, arguments = _CONFIGS[name]
            network = build(*arguments, num_classes)
    network.name, network.options = name, options
    return network


def parameter_count(model: torch.nn.Module) -> int:
    """Number of trainable numbers in the model."""
    return sum(parameter.numel() for parameter in model.parameters())
