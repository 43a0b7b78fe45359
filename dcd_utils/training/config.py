"""What a run is: everything that decides its result, said in one place."""

import functools
import json
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from dcd_utils import files, losses, models, runtime
from dcd_utils.data import ImageSet
from dcd_utils.fingerprint import fingerprint, is_settled
from dcd_utils.training.recipe import Recipe

FORMAT = 3  # part of every config: raise it when the same config would train to other weights than before


def config(
    network: nn.Module, train: ImageSet, test: ImageSet, recipe: Recipe, seed: int, *, method: str = "alone",
    objective: losses.Objective | None = None, options: dict | None = None, teacher: dict | None = None,
) -> dict[str, Any]:
    """Return everything that decides a run's result, as JSON: two runs with equal configs are the same run. The
    recipe's precision is decided, and `teacher` holds the teacher's `network_facts`."""
    written = {"train": train, "test": test, "recipe": recipe}
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    facts = {
        "format": FORMAT, "kind": "train" if method == "alone" else "distill",
        "network": network_facts(network, train.num_classes) | {"frozen": frozen},
        "train": train.digest(), "test": test.digest(),
        "recipe": asdict(recipe), "seed": seed, "method": method.lower(),
        "code": {name: fingerprint(value, name) for name, value in written.items() if not is_settled(value)},
        "plain": False, "compile": False,  # as in every run of this format
    }
    if method != "alone":
        weights = objective.weights if objective is not None else {}
        facts |= {"options": options or {}, "weights": weights, "teacher": teacher, "stored_answers": None}
        facts["code"] |= loss_code(objective) if objective is not None else {}
    return json.loads(json.dumps(facts, default=lambda value: fingerprint(value, "an option")))


def network_facts(network: nn.Module, num_classes: int) -> dict[str, Any]:
    """Return what a network computes: its name, the options it was created with, a digest of its weights and buffers,
    and its `version`, or a fingerprint of its structure and code where these are not what `models.create` makes."""
    name, options = getattr(network, "name", type(network).__name__), getattr(network, "options", {})
    facts = {"name": name, "options": options, "weights": weights_digest(network)}
    if getattr(network, "version", None):
        return facts | {"version": str(network.version)}
    code = fingerprint(network, name)
    as_created = _code_as_created(name, num_classes, json.dumps(options, default=repr))
    return facts if code == as_created else facts | {"code": code}


def weights_digest(network: nn.Module) -> str:
    """Return the SHA-256 of a network's weights and buffers, also of those that a state dict leaves out."""
    tensors = {name: value for name, value in network.state_dict().items() if isinstance(value, torch.Tensor)}
    for path, module in network.named_modules():
        tensors |= {f"{path}.{name}": module.get_buffer(name) for name in sorted(module._non_persistent_buffers_set)}
    return runtime.digest(tensors)


@functools.cache
def _code_as_created(name: str, num_classes: int, options: str) -> str | None:
    try:
        fresh = models.create(name, num_classes, seed=0, **{**json.loads(options), "pretrained": False})
    except (ValueError, TypeError, ImportError):  # a network of somebody's own
        return None
    return fingerprint(fresh, name)


def loss_code(objective: losses.Objective) -> dict[str, str]:
    """Return a version or a fingerprint for each loss of the objective that is not the package's own."""
    code = {}
    for name, loss in objective.losses.items():
        method = losses.METHODS[name]
        if method.version:
            code[name] = f"version {method.version}"
        elif not str(getattr(method.build, "__module__", "")).startswith("dcd_utils.") or not is_settled(loss):
            code[name] = fingerprint((loss, method.reads, method.needs), name)
    return code


def data_facts(train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """Return what a record says of the data, for people and for who uses the network elsewhere; it decides nothing."""
    facts = {"name": train.name, "train": len(train), "test": len(test), "size": list(train.images.shape[2:])}
    return facts | {"classes": list(train.classes), "mean": list(train.mean), "std": list(train.std)}


def config_hash(config: dict) -> str:
    """Return twelve hexadecimal digits that stand for exactly this config."""
    return files.sha256(json.dumps(config, sort_keys=True).encode())[:12]


def run_name(config: dict, method: str | None = None) -> str:
    """Return the name of a run's folder, and of its record in a folder of results."""
    label = f"{config['network']['name']}-{method or config['method']}-seed{config['seed']}-{config_hash(config)}"
    return files.file_name(label)


def differences(known: Any, new: Any, place: str = "") -> str:
    """Say in words what tells one config from another."""
    if isinstance(known, dict) and isinstance(new, dict):
        keys = [key for key in {**known, **new} if known.get(key) != new.get(key)]
        return "; ".join(differences(known.get(key), new.get(key), f"{place}.{key}".lstrip(".")) for key in keys[:6])
    if place.rpartition(".")[2] == "code" or place.startswith("code."):
        return f"{place}: its code was changed"
    return f"{place} is {known!r} there and {new!r} here"
