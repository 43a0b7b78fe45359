"""Sliders over the DCD loss of a small batch: what the scale, the bias and alpha do to every number of it."""

import html
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import ipywidgets as widgets
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from dcd_utils.plots.style import DIVERGING, HUES, SEQUENTIAL

MAX_SCALE = 10.0
# the batch of four of notebook 02: rows are students, columns teachers; the truck's student prefers the car's teacher
COSINES = ((0.96, 0.60, 0.28, 0.80), (0.28, 0.80, -0.96, -0.60), (-0.28, -0.80, 0.96, 0.60), (0.00, -0.60, 1.00, 0.80))
NAMES = ("cat", "dog", "car", "truck")


class LossParts(NamedTuple):
    """Everything the loss computes on its way: the scale, [B, B] matrices, and scalars."""

    scale: float
    scores: np.ndarray
    p: np.ndarray
    q: np.ndarray
    gradient: np.ndarray
    contrast: float
    consistency: float
    total: float
    log_scale_gradient: float


def loss_parts(cosines: Any, exp_t: float = math.e, bias: float = 0.0, alpha: float = 0.5) -> LossParts:
    """The DCD loss of a cosine matrix [B, B], with the gradient of its total on the scores and on t (float64).

    Gradient by hand, as notebook 02 derives it, so that a slider's move costs microseconds instead of a backward pass.
    """
    cosines = np.asarray(cosines, dtype=float)
    size = len(cosines)
    scale = min(exp_t, MAX_SCALE)
    scores = scale * cosines + bias
    log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    log_q = scores.T - np.logaddexp.reduce(scores.T, axis=1, keepdims=True)
    p, q, ratio = np.exp(log_p), np.exp(log_q), log_q - log_p
    divergence = (q * ratio).sum(axis=1, keepdims=True)
    gradient = (p - np.eye(size) + alpha * (p - q + (q * (ratio - divergence)).T)) / size
    contrast, consistency = -log_p.diagonal().mean(), divergence.mean()
    slope = scale * (gradient * cosines).sum() if exp_t <= MAX_SCALE else 0.0
    return LossParts(scale, scores, p, q, gradient, contrast, consistency, contrast + alpha * consistency, slope)


class LossExplorer(widgets.VBox):
    """Sliders `exp_t`, `bias` and `alpha`; `picture` shows the matrices and terms, `sentence` says what changed.

    The last line of a notebook cell shows it.

    Args:
        cosines: [B, B] between students (rows) and teachers (columns).
        names: the B images.
    """

    def __init__(self, cosines: Any = COSINES, names: Sequence[str] = NAMES):
        if np.shape(cosines) != (len(names), len(names)) or len(names) < 2:
            raise ValueError(
                f"cosines are {np.shape(cosines)} for {len(names)} names: pass [B, B] and B names, B from 2 up"
            )
        self.cosines, self.names = np.asarray(cosines, dtype=float), [html.escape(str(name)) for name in names]
        look = {"readout_format": ".2f", "layout": widgets.Layout(width="30em")}
        self.exp_t = widgets.FloatLogSlider(
            value=math.e, base=math.e, min=-2, max=3, step=0.05, description="exp(t)", **look
        )
        self.bias = widgets.FloatSlider(value=0.0, min=-10, max=10, step=0.5, description="bias b", **look)
        self.alpha = widgets.FloatSlider(value=0.5, min=0, max=2, step=0.05, description="alpha", **look)
        self.picture = widgets.HTML()
        self.sentence = widgets.HTML("Move a slider: this line says what changed.")
        self._moving = None
        self._compute()
        for name in self._settings:
            getattr(self, name).observe(lambda change, name=name: self._moved(name), names="value")
        super().__init__([self.exp_t, self.bias, self.alpha, self.sentence, self.picture])

    def _compute(self) -> None:
        self._settings = {name: getattr(self, name).value for name in ("exp_t", "bias", "alpha")}
        self.parts = loss_parts(self.cosines, **self._settings)
        self.picture.value = _picture(self.parts, self.names)

    def _moved(self, name: str) -> None:
        if name != self._moving:
            # compare with the state in which this slider was taken up, not with the last of its many small steps
            self._moving, self._before = name, (self._settings, self.parts)
        self._compute()
        self.sentence.value = _sentence(name, *self._before, self._settings, self.parts)


loss_explorer = LossExplorer


def _sentence(name: str, old: dict, before: LossParts, new: dict, now: LossParts) -> str:
    label = "exp(t)" if name == "exp_t" else name
    move = f"<b>{label} {old[name]:.2f} &rarr; {new[name]:.2f}:</b> "
    if name == "bias":
        gap = max(np.abs(now.p - before.p).max(), np.abs(now.q - before.q).max(), abs(now.total - before.total))
        return move + (
            f"every score moved by {new['bias'] - old['bias']:+.2f}; p, q, the gradient and the total did not "
            f"(largest change {gap:.0e}, rounding)."
        )
    total = f"total {before.total:.3f} &rarr; {now.total:.3f}"
    if name == "alpha":
        return move + f"s, p and q stay; consistency {now.consistency:.3f} counts {new['alpha']:.2f} times, {total}."
    contrast = f"contrast {before.contrast:.3f} &rarr; {now.contrast:.3f}"
    consistency = f"consistency {before.consistency:.3f} &rarr; {now.consistency:.3f}"
    cap = f" The cap holds the scale at {MAX_SCALE:g}, and t has no gradient." if new["exp_t"] > MAX_SCALE else ""
    return move + f"{contrast}, {consistency}, {total}.{cap}"


def _picture(parts: LossParts, names: Sequence[str]) -> str:
    """The matrices as tables and the terms as bars, in HTML: sharp, quick, and readable by a screen reader."""
    tables = [
        _table("scores s", parts.scores, names), _table("row softmax p", parts.p, names, high=1.0),
        _table("column softmax q", parts.q, names, high=1.0, rows="teachers", columns="students"),
        _table("gradient on s", parts.gradient, names),
    ]
    bars = {name: getattr(parts, name) for name in ("contrast", "consistency", "total")}
    rows = ""
    for name, value in (bars | {"scale": parts.scale, "gradient on t": parts.log_scale_gradient}).items():
        width = 100 * min(value / 4, 1) if name in bars else 0
        rows += (
            f"<tr><td>{name}</td><td style='text-align:right;padding:0 0.6em'>{round(value, 3) + 0.0:.3f}</td>"
            f"<td style='width:14em'><div style='background:{HUES[0]};height:0.9em;width:{width:.1f}%'></div></td></tr>"
        )
    terms = f"<table style='line-height:1.5'><caption style='caption-side:top'><b>terms</b></caption>{rows}</table>"
    return f"<div style='display:flex;flex-wrap:wrap;gap:1.5em'>{''.join(tables)}{terms}</div>"


def _table(title, values, names, high: float = 0.0, rows: str = "students", columns: str = "teachers") -> str:
    """A table coloured from 0 to `high`, or, if that is 0, symmetrically about 0."""
    signed = not high
    high = high or max(float(np.abs(values).max()), 1e-12)
    colours = colormaps[DIVERGING if signed else SEQUENTIAL]((values / high + signed) / (1 + signed))[..., :3]
    body = "<tr><th></th>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"
    for name, row, row_colours in zip(names, values, colours, strict=True):
        body += f"<tr><th>{name}</th>"
        for value, colour in zip(row, row_colours, strict=True):
            ink = "white" if colour @ (0.3, 0.6, 0.1) < 0.5 else "black"
            look = f"background:{to_hex(colour)};color:{ink};text-align:center;width:3.6em;height:2.2em"
            body += f"<td style='{look}'>{round(value, 2) + 0.0:.2f}</td>"
        body += "</tr>"
    caption = f"<caption style='caption-side:top'><b>{title}</b><br>rows: {rows}, columns: {columns}</caption>"
    return f"<table>{caption}{body}</table>"
