"""Sliders over the DCD loss of a small batch: what the scale, the bias and alpha do to every number of it."""

import html
import math
from collections.abc import Sequence
from types import SimpleNamespace

import ipywidgets as widgets
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from dcd_utils.plots.style import DIVERGING, HUES, SEQUENTIAL

MAX_SCALE = 10.0


def loss_parts(cosines, exp_t: float = math.e, bias: float = 0.0, alpha: float = 0.5) -> SimpleNamespace:
    """All that the DCD loss of a cosine matrix [B, B] computes on its way, in float64. The matrices `scores`, `p`, `q`
    and `gradient` (of the total, on the scores), and the numbers `scale`, `contrast`, `consistency`, `total` and
    `log_scale_gradient` (on t). The gradient is by hand, as notebook 02 derives it, so that a slider's move costs
    microseconds instead of a backward pass."""
    cosines = np.asarray(cosines, dtype=float)
    scale = min(exp_t, MAX_SCALE)
    scores = scale * cosines + bias
    log_p, log_q = (rows - np.logaddexp.reduce(rows, axis=1, keepdims=True) for rows in (scores, scores.T))
    p, q, ratio = np.exp(log_p), np.exp(log_q), log_q - log_p
    divergence = (q * ratio).sum(axis=1, keepdims=True)
    gradient = (p - np.eye(len(p)) + alpha * (p - q + (q * (ratio - divergence)).T)) / len(p)
    contrast, consistency = -log_p.diagonal().mean(), divergence.mean()
    return SimpleNamespace(
        scale=scale, scores=scores, p=p, q=q, gradient=gradient, contrast=contrast, consistency=consistency,
        total=contrast + alpha * consistency,
        log_scale_gradient=scale * (gradient * cosines).sum() if exp_t <= MAX_SCALE else 0.0)


class LossExplorer(widgets.VBox):
    """Sliders `exp_t`, `bias` and `alpha` over the loss of cosines [B, B], rows students, columns teachers; B names.
    `picture` shows the matrices and terms, `sentence` says what changed. The last line of a notebook cell shows it."""

    def __init__(self, cosines, names: Sequence[str]):
        shape, count = np.shape(cosines), len(names)
        if shape != (count, count) or count < 2:
            raise ValueError(f"cosines are {shape} for {count} names: pass [B, B] and B names, B from 2 up")
        self.cosines, self.names = cosines, [html.escape(str(name)) for name in names]
        look = {"readout_format": ".2f", "layout": widgets.Layout(width="30em")}
        log_range = {"value": math.e, "base": math.e, "min": -2, "max": 3, "step": 0.05}
        self.exp_t = widgets.FloatLogSlider(description="exp(t)", **log_range, **look)
        self.bias = widgets.FloatSlider(value=0.0, min=-10, max=10, step=0.5, description="bias b", **look)
        self.alpha = widgets.FloatSlider(value=0.5, min=0, max=2, step=0.05, description="alpha", **look)
        self.picture, self.sentence = widgets.HTML(), widgets.HTML("Move a slider: this line says what changed.")
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
        if name != self._moving:  # compare with the state in which this slider was taken up, not its last small step
            self._moving, self._before = name, (self._settings, self.parts)
        self._compute()
        self.sentence.value = _sentence(name, *self._before, self._settings, self.parts)


loss_explorer = LossExplorer


def _sentence(name, old, before, new, now) -> str:
    move = f"<b>{'exp(t)' if name == 'exp_t' else name} {old[name]:.2f} &rarr; {new[name]:.2f}:</b> "
    if name == "bias":
        gap = max(np.abs(now.p - before.p).max(), np.abs(now.q - before.q).max(), abs(now.total - before.total))
        rest = f"p, q, the gradient and the total did not (largest change {gap:.0e}, rounding)"
        return f"{move}every score moved by {new['bias'] - old['bias']:+.2f}; {rest}."
    terms = ("contrast", "consistency", "total")
    contrast, consistency, total = (f"{term} {vars(before)[term]:.3f} &rarr; {vars(now)[term]:.3f}" for term in terms)
    if name == "alpha":
        return move + f"s, p and q stay; consistency {now.consistency:.3f} counts {new['alpha']:.2f} times, {total}."
    cap = f" The cap holds the scale at {MAX_SCALE:g}, and t has no gradient." if new["exp_t"] > MAX_SCALE else ""
    return move + f"{contrast}, {consistency}, {total}.{cap}"


def _picture(parts, names) -> str:
    """The matrices as tables and the terms as bars, in HTML: sharp, quick, and readable by a screen reader."""
    tables = _table("scores s", parts.scores, names) + _table("row softmax p", parts.p, names, high=1.0)
    tables += _table("column softmax q", parts.q, names, high=1.0, rows="teachers", columns="students")
    tables += _table("gradient on s", parts.gradient, names)
    bars = {name: getattr(parts, name) for name in ("contrast", "consistency", "total")}
    rows = ""
    for name, value in (bars | {"scale": parts.scale, "gradient on t": parts.log_scale_gradient}).items():
        width = 100 * min(value / 4, 1) if name in bars else 0
        bar = f"<div style='background:{HUES[0]};height:0.9em;width:{width:.1f}%'></div>"
        rows += f"<tr><td>{name}</td><td style='text-align:right;padding:0 0.6em'>{round(value, 3) + 0.0:.3f}</td>"
        rows += f"<td style='width:14em'>{bar}</td></tr>"
    terms = f"<table style='line-height:1.5'><caption style='caption-side:top'><b>terms</b></caption>{rows}</table>"
    return f"<div style='display:flex;flex-wrap:wrap;gap:1.5em'>{tables}{terms}</div>"


def _table(title, values, names, high: float = 0.0, rows: str = "students", columns: str = "teachers") -> str:
    """A table coloured from 0 to `high`, or, if that is 0, symmetrically about 0."""
    top = high or max(float(np.abs(values).max()), 1e-12)
    shades = colormaps[SEQUENTIAL](values / top) if high else colormaps[DIVERGING]((values / top + 1) / 2)
    body = "".join(f"<th>{name}</th>" for name in ("", *names))
    for name, row, colours in zip(names, values, shades[..., :3], strict=True):
        body += f"</tr><tr><th>{name}</th>"
        for value, colour in zip(row, colours, strict=True):
            ink = "white" if colour @ (0.3, 0.6, 0.1) < 0.5 else "black"
            look = f"background:{to_hex(colour)};color:{ink};text-align:center;width:3.6em;height:2.2em"
            body += f"<td style='{look}'>{round(value, 2) + 0.0:.2f}</td>"
    caption = f"<caption style='caption-side:top'><b>{title}</b><br>rows: {rows}, columns: {columns}</caption>"
    return f"<table>{caption}<tr>{body}</tr></table>"
