"""In which numbers a forward pass computes."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import nn

from dcd_utils import runtime


def autocast(device: torch.device, precision: str):
    """Return the context for forward passes: bfloat16 autocast, or nothing for "fp32"."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def resolve_precision(precision: str, device: torch.device, network: nn.Module | None = None) -> str:
    """Return what "auto" means for a network on this device: "bf16" where it is native and pays, else "fp32".

    On a CPU it does not pay for convolutions in groups: MobileNetV2 trains at half its fp32 speed, ShuffleV2 at three
    quarters.

    Raises:
        ValueError: "bf16" on a GPU that has no such arithmetic. (A CPU without it emulates it: right, but slower than
            fp32.)
    """
    native = runtime.bf16_pays(device)
    if precision == "auto":
        layers = network.modules() if network is not None and device.type == "cpu" else ()
        return "bf16" if native and not any(getattr(layer, "groups", 1) > 1 for layer in layers) else "fp32"
    if precision == "bf16" and device.type == "cuda" and not native:
        raise ValueError(
            f'precision="bf16" was given, but {torch.cuda.get_device_name(device)} does not compute in bfloat16: '
            'choose precision="fp32", or "auto", which finds out'
        )
    return precision
