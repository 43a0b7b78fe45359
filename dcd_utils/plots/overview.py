"""The method in one picture."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle, RegularPolygon

from dcd_utils.plots.style import GREY, HUES, INK, PALE, SEQUENTIAL, STUDENT, TEACHER, canvas, themed

_IMAGES = (HUES[0], HUES[1], HUES[2], HUES[4])
# Where four images lie on the front of the sphere: the teacher's, and those of a student that has more to learn.
_TEACHER_POINTS = np.array([[-0.55, 0.52], [0.60, 0.48], [0.52, -0.56], [-0.50, -0.50]])
_STUDENT_POINTS = np.array([[-0.24, 0.72], [0.78, 0.20], [0.20, -0.42], [-0.70, -0.22]])
_SCALE = 5.0


@themed
def dcd_overview(ax=None) -> Figure:
    """How DCD compares a student with a teacher, drawn from left to right on a batch of four images.

    Images pass the frozen teacher and the trained student; a linear map each brings their features to one unit
    sphere; scores of every student against every teacher form a matrix, from which the contrastive and the consistency
    term are read. The scores and distributions shown are those of the points on the sphere, at a scale of 5.
    """
    figure, (ax,) = canvas(ax, (13.0, 5.5))
    ax.set(xlim=(0, 13), ylim=(0, 5.5), aspect="equal")
    ax.set_axis_off()
    _batch(ax, 0.75, 2.75)
    _branch(ax, 4.15, TEACHER, "teacher", "frozen", "T", (0.62, 0.54, 0.46, 0.38))
    _branch(ax, 1.35, STUDENT, "student", "trained", "S", (0.44, 0.36, 0.28))
    _sphere(ax, 6.9, 2.75, 0.98)
    scores = _SCALE * _on_sphere(_STUDENT_POINTS) @ _on_sphere(_TEACHER_POINTS).T
    _score_matrix(ax, 9.35, 2.75, scores)
    _contrast(ax, scores)
    _consistency(ax, scores)
    _text(ax, 12.9, 0.25, "DCD  =  contrast  +  $\\alpha$ · consistency", size=11.5, weight="bold", align="right")
    return figure


def _batch(ax, x, y):
    _text(ax, x, y + 1.88, "a batch of\nB images", size=11)
    for i, colour in enumerate(_IMAGES):
        cy = y + 1.08 - 0.72 * i
        _box(ax, x - 0.32, cy - 0.32, 0.64, 0.64, face="#f6f3ee", edge="#8a8a8a", rounding=0.05)
        shape = (
            Circle((x, cy), 0.19),
            Rectangle((x - 0.16, cy - 0.16), 0.32, 0.32),
            RegularPolygon((x, cy - 0.04), 3, radius=0.23),
            RegularPolygon((x, cy), 4, radius=0.23),
        )[i]
        shape.set(facecolor=colour, edgecolor="none")
        ax.add_patch(shape)


def _branch(ax, y, colour, name, state, letter, heights):
    """One network and its linear map, from the batch to the sphere."""
    up = np.sign(y - 2.75)
    _arrow(ax, (1.2, 2.75 + 0.25 * up), (2.24, y), colour, bend=-0.22 * up)
    width, gap = 0.24, 0.09
    start = 3.02 - (len(heights) * (width + gap) - gap) / 2
    for i, height in enumerate(heights):
        left = start + i * (width + gap)
        _box(ax, left, y - height, width, 2 * height, face=colour, edge="none", alpha=0.95 - 0.14 * i, rounding=0.04)
    end = start + len(heights) * (width + gap) - gap
    _text(ax, 3.02, y + max(heights) + 0.2, f"{name}, {state}", size=11.5, color=colour, weight="bold")
    _arrow(ax, (end + 0.08, y), (4.72, y), colour)
    _text(ax, (end + 4.72) / 2 + 0.03, y + 0.2, f"$f_{letter}$", size=12, color=colour)
    corners = [(4.8, y - 0.44), (4.8, y + 0.44), (5.2, y + 0.24), (5.2, y - 0.24)]
    ax.add_patch(Polygon(corners, facecolor="white", edgecolor=colour, linewidth=1.8))
    _text(ax, 5.0, y, f"$W_{letter}$", size=11, color=colour)
    _text(ax, 5.0, y - 0.66, "linear map,\ntrained", size=9.5, color=GREY)
    _arrow(ax, (5.28, y), (6.9 - 0.62, 2.75 + 0.86 * up), colour, bend=-0.2 * up)
    _text(ax, 6.1, y + 0.06 * up, f"$z_{letter}$", size=12, color=colour)


def _sphere(ax, x, y, radius):
    for shade, size in ((0.955, 1.0), (0.97, 0.82), (0.985, 0.6)):
        centre = (x - 0.16 * radius * (1 - size), y + 0.16 * radius * (1 - size))
        ax.add_patch(Circle(centre, radius * size, facecolor=str(shade), edgecolor="none", zorder=1))
    ax.add_patch(Circle((x, y), radius, facecolor="none", edgecolor="#9a9a9a", linewidth=1.2, zorder=2))
    for width, height in ((2 * radius, 0.56 * radius), (0.56 * radius, 2 * radius)):
        ax.add_patch(Ellipse((x, y), width, height, facecolor="none", edgecolor=PALE, linewidth=0.9, zorder=2))
    for teacher, student, colour in zip(_TEACHER_POINTS, _STUDENT_POINTS, _IMAGES, strict=True):
        ends = np.array([x, y]) + radius * np.stack([student, teacher])
        ax.plot(*ends.T, color=colour, linewidth=1.4, linestyle=(0, (2, 1.5)), zorder=3)
        _student_dot(ax, *ends[0], colour)
        _teacher_dot(ax, *ends[1], colour)
    _text(ax, x + 0.3, y + radius + 0.3, "one unit sphere", size=11)
    _teacher_dot(ax, x + 0.02, y - radius - 0.28, GREY)
    _text(ax, x + 0.14, y - radius - 0.28, "teacher", size=9.5, color=GREY, align="left")
    _student_dot(ax, x + 0.02, y - radius - 0.52, GREY)
    _text(ax, x + 0.14, y - radius - 0.52, "student", size=9.5, color=GREY, align="left")
    _arrow(ax, (x + radius + 0.1, y), (x + radius + 0.4, y), GREY)


def _score_matrix(ax, x, y, scores):
    side, count = 0.4, len(scores)
    left, top = x - side * count / 2, y + side * count / 2
    span = np.ptp(scores)
    for i in range(count):
        for j in range(count):
            shade = colormaps[SEQUENTIAL](0.85 * (scores[i, j] - scores.min()) / span)
            corner = (left + j * side, top - (i + 1) * side)
            ax.add_patch(Rectangle(corner, side, side, facecolor=shade, edgecolor="white", linewidth=1.2))
        _student_dot(ax, left - 0.18, top - (i + 0.5) * side, _IMAGES[i])
        _teacher_dot(ax, left + (i + 0.5) * side, top + 0.18, _IMAGES[i])
    for i in range(count):
        corner = (left + i * side, top - (i + 1) * side)
        ax.add_patch(Rectangle(corner, side, side, facecolor="none", edgecolor=STUDENT, linewidth=2.2, zorder=4))
    length = side * count
    for corner, size in (((left, top - 2 * side), (length, side)), ((left + side, top - length), (side, length))):
        outline = {"edgecolor": TEACHER, "linewidth": 1.6, "linestyle": (0, (3, 1.5)), "zorder": 5}
        ax.add_patch(Rectangle(corner, *size, facecolor="none", **outline))
    _text(ax, x, top + 0.62, "B × B scores", size=11)
    _text(ax, x, top - length - 0.36, "$s_{ij}$ = scale · $\\langle z_{S,i}\\,, z_{T,j}\\rangle$ + bias", size=11)
    _text(ax, x, top - length - 0.66, "the scale is learned, the bias has no effect", size=9.5, color=GREY)
    _arrow(ax, (left + length + 0.1, y + 0.45), (10.72, y + 1.05), GREY, bend=-0.1)
    _arrow(ax, (left + length + 0.1, y - 0.45), (10.72, y - 1.0), GREY, bend=0.1)


def _contrast(ax, scores):
    _box(ax, 10.75, 3.0, 2.15, 2.3, face="white", edge=PALE)
    _text(ax, 11.82, 5.07, "contrast", size=12, weight="bold", color=STUDENT)
    _text(ax, 11.82, 4.72, "each student picks out\nits own image's teacher", size=9.5)
    _bars(ax, 11.4, 3.5, _softmax(scores[0]), 0.26, 0.88, marked=0)
    _student_dot(ax, 11.14, 3.62, _IMAGES[0])
    _text(ax, 11.82, 3.17, "$-\\log\\, p_{ii}$", size=11.5)


def _consistency(ax, scores):
    _box(ax, 10.75, 0.55, 2.15, 2.3, face="white", edge=PALE)
    _text(ax, 11.82, 2.62, "consistency", size=12, weight="bold", color=TEACHER)
    _text(ax, 11.82, 2.27, "rows and columns\nagree on who is alike", size=9.5)
    image = 1
    _student_dot(ax, 11.28, 1.94, _IMAGES[image])
    _text(ax, 11.42, 1.93, "row $p_i$", size=9.5, align="left")
    _bars(ax, 10.93, 1.1, _softmax(scores[image]), 0.19, 0.68)
    _teacher_dot(ax, 12.2, 1.94, _IMAGES[image])
    _text(ax, 12.34, 1.93, "col. $q_i$", size=9.5, align="left")
    _bars(ax, 11.95, 1.1, _softmax(scores[:, image]), 0.19, 0.68, rings=False)
    _text(ax, 11.82, 0.73, "KL( $q_i$ ‖ $p_i$ )", size=11.5)


def _bars(ax, x, y, values, width, height, marked=None, rings=True):
    """A small bar chart; under each bar the teacher (ring) or the student (dot) that it belongs to."""
    for j, value in enumerate(values):
        edge = {"edgecolor": STUDENT, "linewidth": 1.8} if j == marked else {"edgecolor": "none"}
        ax.add_patch(Rectangle((x + j * width, y + 0.12), 0.8 * width, height * value, facecolor=_IMAGES[j], **edge))
        (_teacher_dot if rings else _student_dot)(ax, x + (j + 0.4) * width, y, _IMAGES[j], size=32)
    ax.plot([x - 0.04, x + len(values) * width], [y + 0.12] * 2, color=GREY, linewidth=0.8)


def _on_sphere(points):
    return np.column_stack([points, np.sqrt(1 - np.square(points).sum(axis=1))])


def _softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def _teacher_dot(ax, x, y, colour, size=62):
    ax.scatter(x, y, s=size, facecolor="white", edgecolor=colour, linewidth=2.0, zorder=5)


def _student_dot(ax, x, y, colour, size=62):
    ax.scatter(x, y, s=size, facecolor=colour, edgecolor="white", linewidth=0.8, zorder=5)


def _text(ax, x, y, text, size=10.0, color=INK, weight="normal", align="center"):
    ax.text(
        x, y, text, fontsize=size, color=color, fontweight=weight, ha=align, va="center", linespacing=1.15, zorder=6
    )


def _box(ax, x, y, width, height, face, edge, alpha=1.0, rounding=0.1, z=1):
    style = f"round,pad=0,rounding_size={rounding}"
    look = {"facecolor": face, "edgecolor": edge, "alpha": alpha, "linewidth": 1.0, "zorder": z}
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, **look))


def _arrow(ax, start, end, colour, bend=0.0):
    look = {"color": colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 13}
    ax.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", **look))
