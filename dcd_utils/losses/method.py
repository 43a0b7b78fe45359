"""What a method is: how its loss is built, what the loss reads, and the weights it was published with."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from dcd_utils.losses.shared import check


@dataclass(frozen=True)
class Method:
    """A distillation method, as the objective and the training loop know it.

    Attributes:
        name: lower case letters, digits and underscores.
        build: (student features, teacher features, **options) -> the loss module; the features are an example batch.
            A method that needs "indices" is built with train_labels= [N] as well.
        reads: the field of Features that the loss is called with: "logits", "pooled" or "maps".
        weight: of the method's own loss.
        classification: gamma, the weight of the labels' cross-entropy when the method stands alone.
        beside: the weight behind a plus, next to another method and the full classification loss; None: not there.
        needs: further arguments of the loss, by name: "labels" [B], "indices" [B] (of the training images).
        spans: what it is about: "image" (a mean over images, each by itself), or "batch" (images meet in it). Several
            processes call a loss of the first kind with their own images, of the second with the whole batch, unless
            it asks for the others' itself: "rows" (it has a value for each row of the batch, and returns their mean).
        source: authors, year, arXiv number.
        version: names the code of a method of your own; empty: the package looks at the code itself.
    """

    name: str
    build: Callable[..., nn.Module]
    reads: str
    weight: float
    classification: float = 1.0
    beside: float | None = None
    needs: tuple[str, ...] = ()
    spans: str = "batch"
    source: str = ""
    version: str = ""


@dataclass(frozen=True)
class Stage:
    """Training that comes before the student's own; a loss that asks for it has a method `stage() -> Stage`. `loss` is
    called like a method's loss; only what it reaches is trained, with a constant learning rate. With `preactivation`
    both networks show their maps as they are before the last ReLU of each stage."""

    loss: nn.Module
    learning_rate: float
    preactivation: bool = False


RESERVED = ("alone", "teacher", "all", "random")  # these mean something else in grids and tables
METHODS: dict[str, Method] = {}


def register(method: Method, replace: bool = False) -> Method:
    """Make a method known by its name to `objective`, `training.distill` and the command line, or raise ValueError. It
    takes over from one of its name that was written in the same place (a cell, run again), or, if `replace`, any."""
    if not re.fullmatch("[a-z0-9_]+", method.name) or method.name in RESERVED:
        advice = f"write it in lower case letters, digits and underscores, and not as one of {', '.join(RESERVED)}"
        raise ValueError(f'"{method.name}" was given as a name: {advice}')
    old = METHODS.get(method.name, method)
    if _origin(old) != _origin(method) and not replace:
        raise ValueError(f'"{method.name}" exists already (of {_origin(old)}): use another name, or pass replace=True')
    known = method.reads in ("logits", "pooled", "maps") and method.spans in ("image", "batch", "rows")
    if not known or not set(method.needs) <= {"labels", "indices"}:
        given = f'"{method.name}" reads {method.reads!r}, needs {method.needs!r} and spans {method.spans!r}'
        possible = '"logits", "pooled" or "maps", may need "labels" and "indices", and spans "image", "batch" or "rows"'
        raise ValueError(f"{given}: a loss reads {possible}")
    facts = {"weight": method.weight, "classification": method.classification, "beside": method.beside or 0.0}
    check("a finite number of at least 0", **facts)
    METHODS[method.name] = method
    return method


def _origin(method: Method) -> str:
    """Module and name of a method's `build`, or of the class that `loss_of` stands above."""
    build = getattr(method.build, "func", method.build)  # of a functools.partial
    return f"{build.__module__}.{getattr(build, '__qualname__', type(build).__qualname__)}"


def names() -> list[str]:
    """The methods that exist. "+kd" may follow any of them but "kd"; so may each of `followers()`."""
    return list(METHODS)


def followers() -> list[str]:
    """The methods that may stand behind a plus: those that compare logits."""
    return [name for name, method in METHODS.items() if method.beside is not None]


def parse(method: str) -> list[str]:
    """The parts of a method's name, "dcd+kd" -> ["dcd", "kd"]; ValueError if there is no such method."""
    first, *rest = method.lower().split("+") if isinstance(method, str) else [method]
    if first not in METHODS or len(rest) > 1 or not set(rest) <= set(followers()) - {first}:
        behind = f"behind a plus, after another one: {', '.join(followers())}"
        raise ValueError(f'method "{method}" does not exist: choose one of {", ".join(METHODS)}; {behind}')
    return [first, *rest]


def unsized(loss: type[nn.Module]) -> Callable[..., nn.Module]:
    """The `build` of a loss that needs no shapes."""
    return lambda student, teacher, **options: loss(**options)


def sized_by_pooled(loss: type[nn.Module]) -> Callable[..., nn.Module]:
    """The `build` of a loss that takes the widths of both networks' pooled features."""
    return lambda student, teacher, **options: loss(student.pooled.shape[1], teacher.pooled.shape[1], **options)


def sized_by_maps(loss: type[nn.Module]) -> Callable[..., nn.Module]:
    """The `build` of a loss that takes both networks' maps of an example batch."""
    return lambda student, teacher, **options: loss(student.maps, teacher.maps, **options)


def loss_of(name: str, build: Callable, reads: str, *, replace: bool = False, **facts) -> Callable:
    """Register the class below as the loss of a method; `build` is one of the three above, `facts` are Method's."""

    def registered(loss: type[nn.Module]) -> type[nn.Module]:
        made = build(loss)
        made.__module__, made.__qualname__ = loss.__module__, loss.__qualname__
        register(Method(name, made, reads, **facts), replace)
        return loss

    return registered
