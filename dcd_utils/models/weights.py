"""Reading and writing weights without ever running code from a file."""

import argparse
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dcd_utils import files

# numbers of numpy, as training scripts keep them (data, no code); the constructor moved between numpy's versions
_NUMBERS = [np.dtype, *{type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")}]
_NUMBERS.append(np.float64(0).__reduce__()[0])


def save_weights(model: nn.Module, path: str | os.PathLike) -> None:
    """Write the state dict as safetensors; the file is whole or absent."""
    from safetensors.torch import save

    files.write_whole(Path(path), save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))


def load_weights(model: nn.Module, path: str | os.PathLike) -> nn.Module:
    """Load weights into `model` and return it. No code in the file is ever run.

    Args:
        path: a safetensors file, a `{"model": state dict}` file as the field shares them, a bare state dict, or a run.

    Raises:
        FileNotFoundError: nothing lies at `path`.
        ValueError: the file is damaged, holds more than tensors, its tensors do not fit the model (the message lists
            what is missing, unexpected, or of another shape), or are not finite. The model is then unchanged.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "weights.safetensors"
    if not path.is_file():
        advice = "pass a .safetensors or .pth file, or the folder of a finished run"
        raise FileNotFoundError(f'no weights at "{path}": {advice}')
    state = _read(path)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    stored = {name: tuple(tensor.shape) for name, tensor in state.items()}
    shared = [name for name in expected if name in stored]
    problems = {
        "missing": [name for name in expected if name not in stored],
        "unexpected": [name for name in stored if name not in expected],
        "of another shape": [f"{n} {stored[n]} instead of {expected[n]}" for n in shared if stored[n] != expected[n]],
    }
    if any(problems.values()):
        parts = "; ".join(f"{len(names)} {what}: {_shorten(names)}" for what, names in problems.items() if names)
        name = getattr(model, "name", type(model).__name__)
        raise ValueError(f'"{path}" does not fit this {name}: {parts}. Check the architecture and num_classes')
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ValueError(f'"{path}" holds numbers that are not finite, in {_shorten(broken)}: choose another file')
    model.load_state_dict(state)
    return model


def _read(path: Path) -> Mapping[str, Tensor]:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with path.open("rb") as file:
            if file.read(2) not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
                raise ValueError("not a file of PyTorch's")
        # the field's files often keep their command line beside the weights, in a plain container, or an accuracy
        with torch.serialization.safe_globals([argparse.Namespace, *_NUMBERS]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of a pickle
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own exceptions for a damaged file
        causes = "truncated, not a weights file, or a pickle that carries more than tensors"
        raise ValueError(f'"{path}" cannot be read as weights ({causes}): {reason(error)}') from error
    state = state.get("model", state) if isinstance(state, Mapping) else state
    entries = state.items() if isinstance(state, Mapping) else [(None, None)]
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in entries):
        raise ValueError(f'"{path}" holds no state dict: expected tensors by name, or {{"model": tensors by name}}')
    return state


def reason(error: Exception) -> str:
    """What PyTorch's reader found, without its advice to run the file's code after all."""
    if called := re.search(r"(?:GLOBAL|class|function) ([\w.]+\.[\w.]+)", str(error)):
        return f"it would call {called[1]}"
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    text = text.strip().partition("\n")[0].partition(". ")[0]
    return "not a file of PyTorch's" if not text or text.isdigit() or "operand" in text else text


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f", and {len(names) - 5} more" if len(names) > 5 else "")
