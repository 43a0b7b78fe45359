"""Helpers of a course on Discriminative and Consistent Distillation (DCD, arXiv:2407.11802).

Parts load when first used, so that importing the package costs no more than importing PyTorch.
"""

from importlib import import_module

__version__ = "0.1.0"
_PARTS = (
    "analysis", "data", "exercises", "experiments", "interactive", "losses", "models", "notebooks", "plots", "runtime",
    "training",
)
__all__ = list(_PARTS)


def __getattr__(name):
    if name in _PARTS:
        return import_module(f"dcd_utils.{name}")
    raise AttributeError(f"module 'dcd_utils' has no attribute '{name}': it has {', '.join(_PARTS)}")


def __dir__():
    return sorted([*globals(), *_PARTS])
