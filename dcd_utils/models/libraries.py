"""Networks of torchvision and timm as teachers or students: their own layers and tensor names, our `features`."""

import contextlib
import copy
import difflib
import inspect

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dcd_utils.models.network import Features, Network, unwrapped

LIBRARIES = {"torchvision": "image_size", "timm": "img_size"}  # what each calls the size a transformer is made for
_SIDES = (32, 48, 64, 75, 96, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)


def build(name: str, num_classes: int, pretrained: bool = False, **options) -> Network:
    """The network "torchvision/NAME" or "timm/NAME"; see `models.create`."""
    library, _, architecture = name.partition("/")
    if library == "torchvision":
        from torchvision import models

        architectures, make = models.list_models(module=models), models.get_model
        # published weights come with their own classifier, which `wrap` replaces
        size = {"weights": "DEFAULT"} if pretrained else {"num_classes": num_classes}
    else:
        try:
            import timm
        except ImportError as error:
            raise ImportError(f'"{name}" needs timm, which is not installed: run `pip install timm`') from error
        architectures, make = timm.list_models(), timm.create_model
        size = {"pretrained": pretrained, "num_classes": num_classes}
    if architecture not in architectures:
        near = difflib.get_close_matches(architecture, architectures, n=3, cutoff=0.4) or architectures[:3]
        raise ValueError(f'network "{name}" does not exist: did you mean {", ".join(near)}?')
    try:
        network = make(architecture, **size, **options)
    except (TypeError, AssertionError) as error:
        advice = f"{library} calls the size that a transformer is made for {LIBRARIES[library]}"
        raise ValueError(f'"{name}" does not take {options}: {error}. {advice}') from error
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        advice = "try again where there is a network, or take them from a file (models.load_weights, --teacher-weights)"
        raise RuntimeError(f'the published weights of "{name}" cannot be had ({error}): {advice}') from error
    return wrap(network, num_classes)


def wrap(network: nn.Module, num_classes: int | None = None) -> Network:
    """A network of torchvision or timm, given `features`. The result shares its weights with the network passed in.

    The maps of torchvision's networks are the last output at each resolution, from fine to coarse; its vision
    transformers (vit) have none. timm gives a map after each stage, of transformers too. A network of your own may name
    its code by an attribute `version` (a string), as `losses.Method` does: runs with another version are other runs.

    A network that has a method `features` is returned as it is, with `options` {} if it has none. If `num_classes` is
    given, a classifier of another width is replaced by a fresh one. Raises ValueError for a network of neither library
    without `features`, or one that does not end in a linear layer.
    """
    network = unwrapped(network)
    origins = [base.__module__.partition(".")[0] for base in type(network).__mro__]  # the class's own comes first
    has_features = callable(getattr(network, "features", None)) and not isinstance(network.features, nn.Module)
    if has_features and origins[0] not in LIBRARIES:
        pass
    elif "torchvision" in origins:
        network = TorchvisionNetwork(network, num_classes)
    elif "timm" in origins:
        network = TimmNetwork(network, num_classes)
    else:
        advice = "give it a method features(images) -> Features(maps, pooled, logits), then it can be used as it is"
        raise ValueError(f"{type(network).__name__} comes from neither torchvision nor timm: {advice}")
    if not hasattr(network, "options"):
        network.options = {}
    return network


class LibraryNetwork(Network):
    """A library's network behind our interface, with the library's tensor names; subclasses write `_read`."""

    def __init__(self, network: nn.Module, name: str):
        super().__init__()
        self.network, self.name, self.training = network, name, network.training
        self.register_state_dict_post_hook(_to_library_names)
        self.register_load_state_dict_pre_hook(_from_library_names)

    def _run(self, images: Tensor, preactivation: bool) -> Features:
        if preactivation:
            problem = "a library's network, whose maps before the ReLU cannot be told apart"
            raise ValueError(f'"{self.name}" is {problem}: methods that read them (ab) take one of models.names()')
        try:
            return self._read(images)
        except (RuntimeError, AssertionError, ValueError) as error:
            height, width = images.shape[2:]
            side = 0 if isinstance(error, torch.OutOfMemoryError) else _side_taken(self, images)
            if side in (0, height):
                raise
            words = str(error).partition(" but got Proxy")[0].partition("\n")[0] or type(error).__name__
            option = LIBRARIES.get(self.name.partition("/")[0])
            is_fixed = isinstance(error, AssertionError) or option in inspect.signature(type(self.network)).parameters
            advice = f", or create it for this size: models.create(..., {option}={height})" if is_fixed else ""
            problem = f'"{self.name}" does not take images of {height}x{width} ({words}), but those of {side}x{side}'
            ways = f"read your own images at that size (--side {side}, or data.load(..., side={side})){advice}"
            raise ValueError(f"{problem}: {ways}") from error


class TorchvisionNetwork(LibraryNetwork):
    """torchvision's own feature extraction reads the classifier's input and the last output at each resolution."""

    def __init__(self, network: nn.Module, num_classes: int | None = None):
        from torchvision.models.feature_extraction import create_feature_extractor

        head, pooled, maps = _torchvision_nodes(network)
        classifier = network.get_submodule(head)
        if num_classes not in (None, classifier.out_features):
            fresh = nn.Linear(classifier.in_features, num_classes, classifier.bias is not None)
            network.set_submodule(head, fresh.to(classifier.weight))
        nodes = {**{node: f"map{index}" for index, node in enumerate(maps)}, pooled: "pooled", head: "logits"}
        extractor = create_feature_extractor(network, nodes, suppress_diff_warning=True)
        super().__init__(extractor, f"torchvision/{type(network).__name__}")

    def _read(self, images: Tensor) -> Features:
        outputs = nn.Module.__call__(self.network, images)  # a graph's own call prints its code where it fails
        maps = [output for name, output in outputs.items() if name.startswith("map")]
        return Features(maps, outputs["pooled"], outputs["logits"])

    def __deepcopy__(self, memo: dict) -> Network:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        twin.network.train(self.network.training)  # torchvision copies a network into training mode, whatever it was in
        for module, copied in zip(self.modules(), twin.modules(), strict=True):
            copied.training = module.training
        return twin


class TimmNetwork(LibraryNetwork):
    """timm's networks hand out their maps, and the classifier's input, themselves."""

    def __init__(self, network: nn.Module, num_classes: int | None = None):
        name = f"timm/{type(network).__name__}"
        if not hasattr(network, "forward_intermediates") or not hasattr(network, "forward_head"):
            raise ValueError(f"{name} has no forward_intermediates and forward_head: give it a features method")
        if num_classes not in (None, network.num_classes):
            network.reset_classifier(num_classes)
        if not isinstance(network.get_classifier(), nn.Linear | nn.Conv2d):
            raise ValueError(f"{name} does not end in one linear classifier: give it a features method")
        super().__init__(network, name)

    def _read(self, images: Tensor) -> Features:
        last, maps = self.network.forward_intermediates(images)
        pooled = self.network.forward_head(last, pre_logits=True)
        classifier = self.network.get_classifier()  # some networks write theirs as a 1x1 convolution
        inputs = pooled[:, :, None, None] if isinstance(classifier, nn.Conv2d) else pooled
        return Features(maps, pooled, classifier(inputs).flatten(1))


@torch.no_grad()
def _side_taken(network: LibraryNetwork, images: Tensor) -> int:
    """The height of these images, if a network takes them, else the smallest usual side that it takes; none: 0."""
    twin = copy.deepcopy(network).to("meta").eval()  # tells shapes, computes nothing
    for height, width in (images.shape[2:], *zip(_SIDES, _SIDES, strict=True)):
        with contextlib.suppress(Exception):
            twin._read(images.new_zeros(2, 3, height, width, device="meta"))
            return height
    return 0


@torch.no_grad()
def _torchvision_nodes(network: nn.Module) -> tuple[str, str, list[str]]:
    """Names of a network's nodes: the classifier, its input, and one for each map, from fine to coarse."""
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    twin = copy.deepcopy(network).to("meta")  # tells shapes, computes nothing
    train_names, (_image, *names) = get_graph_node_names(twin, suppress_diff_warning=True)
    head, layers = names[-1], dict(twin.named_modules())
    if not isinstance(layers.get(head), nn.Linear):
        advice = "give it a method features(images) -> Features(maps, pooled, logits)"
        raise ValueError(f'{type(network).__name__} ends in "{head}", not in a linear classifier: {advice}')
    survey = create_feature_extractor(twin, None, train_names[-1:], names, suppress_diff_warning=True)
    side = getattr(network, "image_size", 224)  # vision transformers take one size only
    outputs = survey.eval()(torch.zeros(2, 3, side, side, device="meta"))
    nodes = next(iter(reversed(survey.graph.nodes))).args[0]
    pooled = next(name for name in names if nodes[name] is nodes[head].args[0])
    return head, pooled, _map_nodes(names, nodes, outputs, layers)


def _map_nodes(names: list[str], nodes: dict, outputs: dict, layers: dict[str, nn.Module]) -> list[str]:
    """The last node at each resolution that everything flows through: never one branch of a block."""
    tensors = {name: any(isinstance(leaf, Tensor) for leaf in tree_leaves(outputs[name])) for name in names}
    flow = [name for name in names if nodes[name].op != "get_attr" and tensors[name]]
    place = {nodes[name]: index for index, name in enumerate(flow)}
    last_at, read_until = {}, 0  # name by resolution; the place of the last reader of what came before
    for index, name in enumerate(flow):
        node, shape = nodes[name], getattr(outputs[name], "shape", ())
        is_map = len(shape) == 4 and shape[0] == 2 and shape[2] == shape[3] > 1
        # an adaptive pool prepares the classifier: it is no stage
        if is_map and read_until <= index and not isinstance(layers.get(node.target), nn.AdaptiveAvgPool2d):
            last_at[shape[2]] = name
        read_until = max([read_until, *(place[reader] for reader in node.users if reader in place)])
    maps = [last_at[resolution] for resolution in sorted(last_at, reverse=True)]
    return maps if len(maps) > 1 else []  # a lone map is the cut into patches


def _to_library_names(module: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: object) -> None:
    inner = f"{prefix}network."
    for name in [name for name in state if name.startswith(inner)]:
        state[prefix + name.removeprefix(inner)] = state.pop(name)


def _from_library_names(module: nn.Module, state: dict[str, Tensor], prefix: str, *_details: object) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}network.{name.removeprefix(prefix)}"] = state.pop(name)
