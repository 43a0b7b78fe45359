"""Floor 3: pictures. A function takes arrays, draws them and returns the Figure; none computes a result or calls show.

Without `ax` a function makes its own figure, which a notebook displays when it is the last value of a cell.
End the line with `;` when you pass your own `ax`: pyplot shows your figure anyway. Colours are safe for colour-blind
readers, at most ten beside two marker shapes, and a method has the same colour in every picture.
"""

from dcd_utils.plots.comparison import accuracy_by_method
from dcd_utils.plots.curves import learned_scale, loss_terms, training_curves
from dcd_utils.plots.embeddings import embedding, embeddings_side_by_side
from dcd_utils.plots.images import image_grid, soft_predictions
from dcd_utils.plots.matrices import (
    batch_similarity,
    class_correlation,
    confusion,
    correlation_difference,
    logit_difference,
    per_class_accuracy,
)
from dcd_utils.plots.methods import attention_rows, heatmap, method_map, ranges
from dcd_utils.plots.overview import dcd_overview
from dcd_utils.plots.speed import cost, speed
from dcd_utils.plots.transfer import few_shot, probe_accuracy, source_and_target

__all__ = [
    "accuracy_by_method",
    "attention_rows",
    "batch_similarity",
    "class_correlation",
    "confusion",
    "cost",
    "correlation_difference",
    "dcd_overview",
    "embedding",
    "embeddings_side_by_side",
    "few_shot",
    "heatmap",
    "image_grid",
    "learned_scale",
    "logit_difference",
    "loss_terms",
    "method_map",
    "per_class_accuracy",
    "probe_accuracy",
    "ranges",
    "soft_predictions",
    "source_and_target",
    "speed",
    "training_curves",
]
