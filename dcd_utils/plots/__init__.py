"""Pictures. A function takes arrays, draws them and returns the Figure; none computes a result or calls show.

A notebook displays the figure when it is the last value of a cell. `curves` and `matrix` also draw into an `ax` of your
own: end that line with `;`, since pyplot shows your figure anyway. Colours are safe for colour-blind readers, at most
ten beside markers and dashes, and a method looks the same in every figure.
What cannot be drawn (shapes or names that do not fit, missing columns, nothing at all) raises a ValueError.
"""

from dcd_utils.plots.curves import curves, training_curves
from dcd_utils.plots.embeddings import circle, embeddings
from dcd_utils.plots.images import image_grid, image_rows, soft_predictions
from dcd_utils.plots.matrices import matrices, matrix
from dcd_utils.plots.methods import accuracy_by_method, gains, method_map, per_class_accuracy, ranges, scatter
from dcd_utils.plots.speed import speed

__all__ = [
    "accuracy_by_method", "circle", "curves", "embeddings", "gains", "image_grid", "image_rows", "matrices", "matrix",
    "method_map", "per_class_accuracy", "ranges", "scatter", "soft_predictions", "speed", "training_curves",
]
