"""Reading and writing weights without ever running code from a file."""

import argparse
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor, nn

from dcd_utils import files
from dcd_utils.models.network import unwrapped

# what training scripts keep beside the weights (data, no code): numbers of numpy, whose constructor moved, and paths
_BESIDE = [argparse.Namespace, np.dtype]
_BESIDE += {type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")}
_BESIDE += [(np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
_BESIDE += [(PurePosixPath, f"pathlib{part}.PosixPath") for part in ("", "._local")]
_USUAL = ("", "model", "state_dict", "model_state_dict", "net")  # where a file keeps its weights; "" is its top


def packed(model: nn.Module, about: dict[str, str] | None = None) -> bytes:
    """The state dict of the `unwrapped` model as the content of a safetensors file, with `about` as its metadata."""
    from safetensors.torch import save

    state = unwrapped(model).state_dict()  # cloned, since safetensors refuses what two layers share
    return save({name: value.clone(memory_format=torch.contiguous_format) for name, value in state.items()}, about)


def save_weights(model: nn.Module, path: str | os.PathLike) -> None:
    """Write what `packed` returns; the file is whole or absent."""
    files.write_whole(Path(path), packed(model))


def load_weights(model: nn.Module, path: str | os.PathLike, replace_head: bool = False) -> nn.Module:
    """Load weights into `model` and return it. No code in the file is ever run.

    Args:
        path: a file of safetensors or torch.save with tensors by name, wherever in it (docs/inputs.md), or a run's
            folder. A line is printed of what was done to find them, and what was left out.
        replace_head: accept a classifier of another width, or none: the model keeps its own, which has learned nothing.

    Raises:
        FileNotFoundError: nothing lies at `path`.
        ValueError: the file is damaged, holds more than tensors, or several sets of weights that fit; its tensors do
            not fit the model (they are listed), or hold numbers that no training leaves. The model is then unchanged.
    """
    path, network = Path(path), unwrapped(model)
    path = path / "weights.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f'no weights at "{path}": pass a .safetensors or .pth file or a finished run\'s folder')
    name, own = getattr(network, "name", type(network).__name__), network.state_dict(keep_vars=True)
    readings = sorted(_readings(_read(path), own), key=lambda reading: reading[0])
    if not readings:
        raise ValueError(f'"{path}" holds no state dict: expected tensors by name, or {{"model": tensors by name}}')
    rank, source, state, problems = readings[0]
    kept = {name: own[name] for what in ("missing", "of another shape") for name in problems[what]}
    is_head = not problems["unexpected"] and _is_head(network, kept, state)
    if any(problems.values()) and not (replace_head and is_head):
        found = [f"{len(names)} {what}: {_shorten(names.values())}" for what, names in problems.items() if names]
        advice = "Check the architecture and num_classes" + is_head * ", or replace_head=True to keep the classifier"
        raise ValueError(f'"{path}"{source and f" ({source})"} does not fit this {name}: {"; ".join(found)}. {advice}')
    if readings[1:] and readings[1][0] == rank:
        ways = f"{source}, or {readings[1][1]}"
        raise ValueError(f'"{path}" fits this {name} in several ways ({ways}): pass a file that holds one of them')
    state |= kept
    faults = {name: _fault(name, value, own[name]) for name, value in state.items()}
    if fault := max(faults.values()):
        broken = _shorten(name for name, found in faults.items() if found == fault)
        raise ValueError(f'"{path}" holds {fault}, in {broken}: choose another file')
    network.load_state_dict(state)
    if said := [source] * bool(source) + [f"keeping the network's own {_shorten(kept)}"] * bool(kept):
        print(f'{name}: weights of "{path}" {", ".join(said)}', flush=True)
    return model


def _readings(content: object, own: dict[str, Tensor], key: str = "") -> Iterator[tuple]:
    """(rank, the lower the better; source in words; state dict; problems, each {name: words}) of each mapping in a file
    that holds tensors by name, without each prefix that leaves names of the network."""
    entries = content if isinstance(content, Mapping) else {}
    tensors = {name: value for name, value in entries.items() if isinstance(name, str) and isinstance(value, Tensor)}
    prefixes = {""} if tensors else set()
    if tensors.keys() != own.keys():
        cuts = [(name, dot.end()) for name in tensors for dot in re.finditer(r"\.", name)]
        prefixes |= {name[:cut] for name, cut in cuts if name[cut:] in own}
    for prefix in sorted(prefixes):
        names = {name: name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
        # auxiliary classifiers serve training alone; old files lack the counters of batches, as PyTorch allows
        state = {n: tensors[name] for name, n in names.items() if n in own or not n.lower().startswith("aux")}
        left = [str(name) for name in entries if names.get(name) not in state]
        counters = {n: torch.zeros_like(own[n]) for n in own if n.endswith("num_batches_tracked") and n not in state}
        state |= counters
        missing = {name: name for name in own if name not in state}
        unexpected = {name: name for name in state if name not in own}
        shapes = [(name, (*state[name].shape,), (*own[name].shape,)) for name in own if name in state]
        reshaped = {name: f"{name} {found} instead of {due}" for name, found, due in shapes if found != due}
        words = [(key, f'from "{key}"'), (prefix, f'without the prefix "{prefix}"')]
        words += [(left, f"leaving out {_shorten(left)}"), (counters and not missing, "with num_batches_tracked=0")]
        source = ", ".join(text for given, text in words if given)
        rank = 2 * len(missing) + len(reshaped), len(unexpected), (*_USUAL, key).index(key)
        yield rank, source, state, {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    for name, value in entries.items() if "/" not in key else ():
        yield from _readings(value, own, f"{key}/{name}".lstrip("/"))


def _is_head(network: nn.Module, kept: dict[str, Tensor], state: dict[str, Tensor]) -> bool:
    """Whether what does not fit is one layer, and its inputs fit: the classifier, whose outputs nothing else reads. If
    the file has nothing of the layer, its place must tell: it is the last."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    stored, wanted = kept.keys() & state.keys(), {*map(id, kept.values())}
    owners = [wanted <= {*map(id, layer.parameters())} for layer in (layers if stored else layers[-1:])]
    return any(owners) and all(state[name].shape[1:] == kept[name].shape[1:] for name in stored)


def _fault(name: str, value: Tensor, own: Tensor) -> str:
    """What is wrong with a tensor's numbers; nothing: "". Those of lower or higher precision are converted."""
    kinds = [(some.is_floating_point(), some.is_complex(), some.layout, some.is_meta) for some in (value, own)]
    if kinds[0] != kinds[1]:
        return f"numbers of another type ({value.dtype}, {value.layout})"
    if not value.to(own.dtype).isfinite().all():
        return "numbers that are not finite"
    return "negative variances" if name.endswith("running_var") and (value < 0).any() else ""


def _read(path: Path) -> object:
    from safetensors.torch import load_file

    with path.open("rb") as file:
        head = file.read(64)
    if re.match(rb"\s*(version https://git-lfs|<)", head):
        advice = "download the file itself, or run `git lfs pull` where it was cloned"
        raise ValueError(f'"{path}" begins with {head[:23]}: a pointer of Git LFS or a web page, no weights. {advice}')
    try:
        if head and (path.suffix == ".safetensors" or head[8:9] == b"{"):
            return load_file(path)
        if not head.startswith((b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
            raise ValueError("not a file of PyTorch's" if head else "the file is empty")
        with torch.serialization.safe_globals(_BESIDE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of a pickle
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own exceptions for a damaged file
        causes = "truncated, not a weights file, or a pickle that carries more than tensors"
        raise ValueError(f'"{path}" cannot be read as weights ({causes}): {reason(error)}') from error


def reason(error: Exception) -> str:
    """What PyTorch's reader found, without its advice to run the file's code after all."""
    if called := re.search(r"(?:GLOBAL|class|function) ([\w.]+\.[\w.]+)", str(error)):
        return f"it would call {called[1]}"
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    text = text.strip().partition("\n")[0].partition(". ")[0]
    return "not a file of PyTorch's" if not text or text.isdigit() or "operand" in text else text


def _shorten(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f", and {len(names) - 5} more" if len(names) > 5 else "")
