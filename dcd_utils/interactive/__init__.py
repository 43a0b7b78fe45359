"""Floor 4: figures that a reader moves. Each loads when first used, because widget libraries are slow to import.

The explorers of embeddings and matrices are Bokeh layouts with all scripts and images inside, so they work without a
network. They show themselves in a notebook and return their layout: keep it in a variable, or end the line with `;`.
"""

from importlib import import_module

_PARTS = {"loss_explorer": "loss", "embedding_explorer": "embedding", "matrix_explorer": "matrix"}
__all__ = list(_PARTS)


def __getattr__(name):
    if name in _PARTS:
        return getattr(import_module(f"dcd_utils.interactive.{_PARTS[name]}"), name)
    raise AttributeError(f"module 'dcd_utils.interactive' has no attribute '{name}': it has {', '.join(_PARTS)}")


def __dir__():
    return sorted([*globals(), *_PARTS])
