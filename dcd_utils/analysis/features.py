"""What a trained network says about each image."""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from dcd_utils import models, runtime
from dcd_utils.analysis import checks


class Extracted(NamedTuple):
    """Pooled features float32 [N, d], logits float32 [N, C] and labels int64 [N] of an image set, in its order."""

    pooled: np.ndarray
    logits: np.ndarray
    labels: np.ndarray


@torch.no_grad()
def extract(model: nn.Module, image_set, batch_size: int | None = None) -> Extracted:
    """Penultimate features and logits of every image, in eval mode, without augmentation.

    Args:
        model: any network, in DataParallel or compiled too, whose `features(images)` has `pooled` [B, d] and `logits`
            [B, C]. Every part of it is back in its former mode afterwards.
        image_set: an ImageSet, or anything with a length, `labels` and `batch(indices)`.
        batch_size: images in one pass, which change results only by rounding; None: `runtime.inference_batch`.

    Raises ValueError for no images, a batch size below 1, or features that are not finite; TypeError for a network
    without `features`.
    """
    if len(image_set) == 0:
        raise ValueError("the image set is empty: there is nothing to extract")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size} was given: pass at least 1")
    model = models.unwrapped(model)
    if not callable(getattr(model, "features", None)):
        raise TypeError(f"{type(model).__name__} has no features(images) method: take a network from models.create")
    labels = torch.as_tensor(image_set.labels)
    device = next((parameter.device for parameter in model.parameters()), labels.device)
    batch_size = batch_size or runtime.inference_batch(device)
    # part by part, because a caller may keep some batch norms in eval mode on purpose
    modes = {module: module.training for module in model.modules()}
    pooled, logits = [], []
    model.eval()
    try:
        for indices in torch.arange(len(image_set), device=labels.device).split(batch_size):
            images = image_set.batch(indices).to(device)
            if images.ndim == 4 and device.type in ("cpu", "cuda"):
                images = images.contiguous(memory_format=torch.channels_last)  # convolutions run faster on this layout
            features = model.features(images)
            pooled.append(features.pooled.float().cpu())
            logits.append(features.logits.float().cpu())
    finally:
        for module, training in modes.items():
            module.training = training
    pooled, logits = checks.matrix(torch.cat(pooled), "pooled features"), checks.matrix(torch.cat(logits), "logits")
    return Extracted(pooled, logits, labels.cpu().numpy().astype(np.int64))


def class_means(values, labels, num_classes: int) -> np.ndarray:
    """Mean row of each class: values [N, D], labels [N] -> [num_classes, D]; NaN for a class without an image."""
    values = checks.matrix(values, "values")
    labels = checks.labels(labels, len(values), num_classes)
    sums = np.zeros((num_classes, values.shape[1]))
    np.add.at(sums, labels, values)
    with np.errstate(invalid="ignore"):
        return sums / np.bincount(labels, minlength=num_classes)[:, None]
