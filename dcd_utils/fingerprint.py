"""What a network or a loss computes, beyond its weights: a fingerprint of its structure, its settings and its code."""

import dis
import functools
import hashlib
import inspect
import sys
import types
import warnings
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dcd_utils import runtime

_SETTLED = ("dcd_utils", "torch", "torchvision", "timm", "numpy")  # a run's format and library versions stand for these
_MODULE_STATE = {*vars(nn.Module()), "name", "classes", "options", "version"}  # weights and labels, not settings
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_warned: set[str] = set()


def fingerprint(value: Any, name: str) -> str:
    """Return twelve hexadecimal digits that change when what `value` computes does.

    Reads a network's tree of modules, their settings and hooks, and the code of whatever is not part of an installed
    library, through every function, class and global that this code reaches. Code is compared as Python compiled it,
    so comments do not count and another Python version is another fingerprint. A warning that calls the value `name`
    says once what could not be looked into."""
    reader = _Reader()
    reader.add(value, name)
    if reader.opaque and name not in _warned:
        _warned.add(name)
        warnings.warn(
            f"{name} holds what cannot be looked into ({', '.join(reader.opaque[:3])}): a change there is taken for "
            f'the same run. Give {name} an attribute version="1", and another version when you change it',
            stacklevel=2,
        )
    return reader.total.hexdigest()[:12]


class _Reader:
    """Walks through values and adds them to one hash."""

    def __init__(self):
        self.total = hashlib.sha256()
        self.order: dict[int, int] = {}  # of what was read, by id, so that cycles end
        self.alive: list[Any] = []  # an id is only unique while its object lives
        self.opaque: list[str] = []

    def token(self, *words: object) -> None:
        self.total.update(repr(words).encode())

    def add(self, value: Any, place: str) -> None:
        """Add a value; `place` says where it was found."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return self.token(type(value).__name__, value)
        if isinstance(value, torch.Tensor):
            return self.token("tensor", runtime.digest({"": value}))
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return self.token("array", value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest())
        if id(value) in self.order:
            return self.token("seen", self.order[id(value)])
        self.order[id(value)] = len(self.order)
        self.alive.append(value)
        if isinstance(value, nn.Module):
            self.module(value, place)
        elif isinstance(value, Mapping):
            self.items(value.items(), place)
        elif isinstance(value, tuple | list | set | frozenset):
            self.items(enumerate(value if isinstance(value, tuple | list) else sorted(value, key=repr)), place)
        elif isinstance(value, types.FunctionType):
            self.function(value, place)
        elif isinstance(value, types.MethodType):
            self.add(value.__func__, place)
            self.add(value.__self__, place)
        elif isinstance(value, functools.partial):
            self.items(enumerate((value.func, value.args, value.keywords)), place)
        elif isinstance(value, property | staticmethod | classmethod):
            self.items(((name, getattr(value, name, None)) for name in ("fget", "fset", "__func__")), place)
        elif isinstance(value, type):
            self.type(value, place)
        elif isinstance(value, types.ModuleType):
            self.token(value.__name__)
            if _library(value.__name__) is None:
                self.opaque.append(f"{place}: module {value.__name__}")
        elif isinstance(value, types.BuiltinFunctionType | torch.dtype | torch.device | torch.fx.Graph):
            self.token(getattr(value, "__name__", str(value)))
        elif isinstance(value, torch.Generator):
            self.add(value.get_state(), place)
        else:
            self.object(value, place)

    def items(self, pairs: Iterable[tuple[Any, Any]], place: str) -> None:
        for key, value in pairs:
            self.add(key, place)
            self.add(value, f"{place}.{key}")

    def module(self, module: nn.Module, place: str) -> None:
        self.add(type(module), place)
        self.token(module.extra_repr())
        settings = {name: value for name, value in vars(module).items() if name not in _MODULE_STATE}
        if _library(type(module).__module__) is not None:  # a library's private settings follow from its public ones
            settings = {name: value for name, value in settings.items() if not name.startswith("_") and name != "meta"}
        self.items(sorted(settings.items()), place)
        for name in _HOOKS:
            self.items(enumerate(getattr(module, name).values()), f"{place}.{name}")
        for name, parameter in module._parameters.items():
            if parameter is not None:  # shared weights learn together; a hook changes their gradients
                self.token(name, self.order.setdefault(id(parameter), len(self.order)))
                self.items(enumerate((parameter._backward_hooks or {}).values()), f"{place}.{name}")
        self.items(module.named_children(), place)

    def function(self, function: types.FunctionType, place: str) -> None:
        if self.library(function):
            return self.token(function.__name__)  # PyTorch's pools share their qualified name
        self.code(function.__code__)
        self.add(function.__defaults__, place)
        self.add(function.__kwdefaults__, place)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                self.reached(cell.cell_contents, f"{place}.{name}", function)
            except ValueError:  # not filled yet
                self.token("empty")
        for name in sorted(_names(function.__code__, "LOAD_GLOBAL", "LOAD_NAME") & function.__globals__.keys()):
            self.reached(function.__globals__[name], name, function)
        for name in sorted(_names(function.__code__, "IMPORT_NAME")):
            beside = f"{function.__globals__.get('__package__')}.{name}"  # a relative import
            module = sys.modules.get(name, sys.modules.get(beside))
            if module is not None:
                self.reached(module, name, function)
            elif _library(name) is None:
                self.opaque.append(f"{place}: module {name}")

    def reached(self, value: Any, place: str, function: types.FunctionType) -> None:
        """Add what a function's code reaches by name; of somebody's own module, what the code uses of it."""
        if not isinstance(value, types.ModuleType) or _library(value.__name__) is not None:
            return self.add(value, place)
        self.token(value.__name__)
        for name in sorted(_names(function.__code__, "LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM") & vars(value).keys()):
            member = vars(value)[name]
            if not isinstance(member, types.ModuleType) or member.__name__.startswith(value.__name__ + "."):
                self.reached(member, f"{place}.{name}", function)

    def code(self, code: types.CodeType) -> None:
        self.token(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        for step in dis.get_instructions(code):  # which never load a docstring
            if isinstance(step.argval, types.CodeType):
                self.code(step.argval)
            else:  # the order of a set of strings is another one in each process
                argument = sorted(map(repr, step.argval)) if isinstance(step.argval, frozenset) else step.argval
                self.token(step.opname, argument)

    def type(self, cls: type, place: str) -> None:
        if self.library(cls):
            return
        for base in cls.__bases__:
            self.add(base, place)
        skipped = ("__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__")
        skipped += ("__dataclass_fields__", "__dataclass_params__")  # __init__ says the same
        self.items(((name, value) for name, value in sorted(vars(cls).items()) if name not in skipped), cls.__name__)

    def object(self, value: Any, place: str) -> None:
        self.add(type(value), place)
        if hasattr(value, "__dict__"):
            self.items(sorted(vars(value).items()), place)
        elif type(value).__repr__ is object.__repr__ or " at 0x" in repr(value):
            self.opaque.append(f"{place}: {type(value).__name__}")
        else:
            self.token(repr(value))

    def library(self, value: Any) -> bool:
        """Whether a function or class belongs to a library, which its name and version then stand for."""
        owner = _library(value.__module__)
        if owner is not None:
            self.token(value.__module__, value.__qualname__, owner)
        return owner is not None


def is_settled(value: Any) -> bool:
    """Whether an object's class is this package's own, so that its name and options say what it does."""
    return type(value).__module__.partition(".")[0] == "dcd_utils"


@functools.cache
def _library(module_name: str | None) -> str | None:
    """The version of the installed library that a module belongs to; None: somebody's own code."""
    root = (module_name or "").partition(".")[0]
    if root == "__main__":  # whatever program runs it
        return None
    if root in _SETTLED or root in sys.stdlib_module_names:
        return ""
    try:
        path = inspect.getfile(sys.modules[root])
        return metadata.version(root) if {"site-packages", "dist-packages"} & set(Path(path).parts) else None
    except metadata.PackageNotFoundError:
        return ""
    except (KeyError, TypeError, OSError):
        return None


def _names(code: types.CodeType, *operations: str) -> set[str]:
    """What these operations name in a function's code, and in the functions within it."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in operations}
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return names.union(*(_names(constant, *operations) for constant in inner))
