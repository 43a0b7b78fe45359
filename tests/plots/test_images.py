"""Images are shown as they are, and clear errors for other arrays."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from dcd_utils import plots
from dcd_utils.plots.style import HUES

IMAGES = np.random.default_rng(0).integers(0, 256, size=(10, 3, 8, 8), dtype=np.uint8)
CLASSES = [f"class {i}" for i in range(6)]


def test_a_grid_shows_every_image_and_its_title():
    figure = plots.image_grid(IMAGES, [str(i) for i in range(10)], columns=4, title="Ten")
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == 10 and len(figure.axes) == 12 and figure.get_suptitle() == "Ten"
    np.testing.assert_array_equal(shown[3].images[0].get_array(), IMAGES[3].transpose(1, 2, 0))
    assert shown[3].get_title() == "3"


def test_rows_hold_images_and_maps_and_frame_what_agrees():
    maps = np.arange(48.0).reshape(3, 4, 4)
    figure = plots.image_rows({"image": IMAGES[:3], "map": maps}, "Rows")
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["image", "map"]
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), maps[1])
    assert not any(spine.get_visible() for spine in figure.axes[1].spines.values())
    framed = plots.image_rows({"a": IMAGES[:3]}, "Rows", {"a": [True, True, False]}).axes
    assert [to_hex(ax.spines["top"].get_edgecolor()) for ax in framed[1:]] == [HUES[0], HUES[1]]
    assert [ax.spines["top"].get_visible() for ax in framed] == [False, True, True]


def test_soft_predictions_show_the_likeliest_classes():
    soft = {1: np.array([0.1, 0.7, 0.2, 0, 0, 0]), 4: np.full(6, 1 / 6)}
    figure = plots.soft_predictions(IMAGES[0], soft, CLASSES, label_index=2, top=3)
    assert [bar.get_width() for bar in figure.axes[1].patches] == [0.7, 0.2, 0.1]
    assert [to_hex(bar.get_facecolor()) == HUES[3] for bar in figure.axes[1].patches] == [False, True, False]
    assert [tick.get_text() for tick in figure.axes[1].get_yticklabels()] == ["class 1", "class 2", "class 0"]
    assert all(ax.get_xlabel() == "probability" for ax in figure.axes[1:])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.image_grid(IMAGES.astype(float), CLASSES), "expected uint8"),
        (lambda: plots.image_grid(IMAGES, ["one"]), "1 titles were given for 10 images"),
        (lambda: plots.image_rows({"a": IMAGES, "b": np.ones((2, 4, 4))}, ""), "one number"),
        (lambda: plots.image_rows({"a": IMAGES}, "", same={}), "a boolean for each image"),
        (lambda: plots.soft_predictions(IMAGES[0], {1: np.ones(5)}, CLASSES, 2), r"expected \[6\]"),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
