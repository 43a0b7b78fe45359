"""Names of classes, methods and networks are drawn as they are written, in a font that has their letters."""

import unicodedata
import warnings
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.cbook import is_math_text
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from dcd_utils import plots
from dcd_utils.plots import style

NAMES = ["猫", "$5 bill", "_bg", "a$b_$c", unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")]
RNG = np.random.default_rng(0)
LABELS, POINTS, MATRIX = np.arange(60) % 6, RNG.normal(size=(60, 2)), np.eye(6)
IMAGES = np.zeros((6, 3, 8, 8), np.uint8)
LINES = {name: (range(3), np.arange(3)) for name in NAMES}
HISTORY = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 2.0]})
RUNS = [(name, seed, 50.0 + seed) for name in NAMES for seed in (0, 1)]
TABLE = pd.DataFrame(RUNS, columns=["method", "seed", "accuracy"])
SERIES = [(name, series, 1.0) for name in NAMES for series in NAMES[:3]]
RANGES = pd.DataFrame(SERIES, columns=["name", "series", "value"])
GAINS = pd.DataFrame({"title": NAMES, "reads": "logits", "beside": "", "n": 3, "mean": 1.0, "low": 0.5, "high": 2.0})
RATES = dict.fromkeys(("plain", "live", "cached", "student_alone"), 1.0)
SPEED = {"teacher": NAMES[0], "student": NAMES[3], "batch_size": 2, "images_per_second": RATES}
OF_ALL = {"title": "a$b_$c 猫", "x": "$x$", "y": "$y$"}
KIND = {"superclasses": (0, 0, 1, 1, 2, 2), "superclass_names": NAMES[:3]}
PICTURES = {  # and whether names stand in a legend
    "curves": (lambda: plots.curves(LINES, levels=dict.fromkeys(NAMES, 1), **OF_ALL), True),
    "training curves": (lambda: plots.training_curves(dict.fromkeys(NAMES, HISTORY), "train_loss", "$t$"), True),
    "accuracy by method": (lambda: plots.accuracy_by_method(TABLE, title=OF_ALL["title"]), False),
    "scatter": (lambda: plots.scatter(TABLE, "seed", "accuracy", "$x$", "$y$", "$t$", names="method"), False),
    "scatter, legend": (lambda: plots.scatter(TABLE, "seed", "accuracy", "$x$", "$y$", "$t$"), True),
    "ranges": (lambda: plots.ranges(RANGES, dict.fromkeys(NAMES, 1.0), OF_ALL["title"], "$x$"), True),
    "gains": (lambda: plots.gains(GAINS, OF_ALL["title"], {"_bg": 1.0, "$5 bill $": 2.0}), True),
    "method map": (lambda: plots.method_map(dict.fromkeys(NAMES, [("$c$", "猫")]), ["$c$"], ["猫"], []), False),
    "classes": (lambda: plots.per_class_accuracy(dict.fromkeys(NAMES[:3], MATRIX[0]), NAMES, OF_ALL["title"]), True),
    "embeddings": (lambda: plots.embeddings({name: POINTS for name in NAMES[:2]}, LABELS, NAMES), True),
    "superclasses": (lambda: plots.embeddings({"_bg": POINTS}, LABELS, NAMES * 4, [0, 1, 2] * 8, NAMES[:3]), True),
    "circle": (lambda: plots.circle(np.eye(6, 2), np.eye(6, 2), NAMES, title=OF_ALL["title"]), False),
    "matrix": (lambda: plots.matrix(MATRIX, NAMES, **KIND, rows="$r$", columns="$c$", bar="$b$", title="$t$"), False),
    "matrices": (lambda: plots.matrices(dict.fromkeys(NAMES[2:4], MATRIX), NAMES, bar="$b$", title="$t$"), False),
    "images": (lambda: plots.image_grid(IMAGES, NAMES, title="$t$"), False),
    "rows": (lambda: plots.image_rows({name: IMAGES for name in NAMES}, "$t$"), False),
    "predictions": (lambda: plots.soft_predictions(IMAGES[0], {1.0: np.full(6, 1 / 6)}, NAMES, 3), False),
    "speed": (lambda: plots.speed([SPEED], "$t$"), False),
}  # fmt: skip


@pytest.fixture
def font_with_a_cat(tmp_path):
    """A font of one letter, installed for the time of a test."""
    pen = TTGlyphPen(None)
    for place in ((0, 0), (0, 700), (700, 700), (700, 0)):
        (pen.lineTo if pen.points else pen.moveTo)(place)
    pen.closePath()
    font, names = FontBuilder(1000), [".notdef", "cat"]
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord("猫"): "cat"})
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Cat Sans", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "cat.ttf")
    before = list(fontManager.ttflist)
    fontManager.addfont(tmp_path / "cat.ttf")
    style._holder.cache_clear()
    yield "Cat Sans"
    fontManager.ttflist[:] = before
    fontManager._findfont_cached.cache_clear()
    style._holder.cache_clear()


def in_a_legend(figure):
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    return {words.get_text() for legend in legends for words in legend.get_texts()}


@pytest.mark.parametrize("name", PICTURES)
def test_a_name_is_drawn_as_it_is_written(name, font_with_a_cat):
    draw, legend = PICTURES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing letter, a name left out of a legend
        figure = draw()
        figure.savefig(BytesIO(), dpi=30)
    written = [words.get_text() for words in figure.findobj(Text)]
    assert not any(map(is_math_text, written))
    assert not legend or "\u200b_bg" in in_a_legend(figure)
    assert "\\" not in repr(figure)


def test_a_letter_that_no_font_has_is_named_once():
    style._holder.cache_clear()
    with pytest.warns(UserWarning, match='no installed font can draw "\U000f1234"') as caught:
        plots.curves({"\U000f1234": ([0], [0])}, **OF_ALL | {"title": "\U000f1234"})
    assert len([warning for warning in caught if "\U000f1234" in str(warning.message)]) == 1


@pytest.mark.parametrize("setting", ["font.family", "font.sans-serif"])
def test_fonts_that_the_user_has_set_are_kept(setting, font_with_a_cat):
    with plt.rc_context({setting: [font_with_a_cat]}):
        before = dict(plt.rcParams)
        figure = plots.matrix(MATRIX, NAMES, title="猫")
        assert dict(plt.rcParams) == before
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure.savefig(BytesIO(), dpi=30)  # other names have letters that this font lacks
    (title,) = (words for words in figure.findobj(Text) if words.get_text() == "猫" and words.get_weight() == "bold")
    assert title.get_fontfamily()[0] == (font_with_a_cat if setting == "font.family" else "sans-serif")
