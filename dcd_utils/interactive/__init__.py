"""Figures that a reader moves. Each loads when first used, because widget libraries are slow to import.

Those of embeddings and matrices are Bokeh layouts with all scripts and images inside: they need no network. They show
themselves in a notebook and return their layout: keep it in a variable, or end the line with `;`.
"""

from importlib import import_module

_MODULES = {"loss_explorer": "loss", "embedding_explorer": "embedding", "matrix_explorer": "matrix"}
__all__ = list(_MODULES)


def __getattr__(name):
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}: it has {', '.join(_MODULES)}")


def __dir__():
    return sorted([*globals(), *_MODULES])
