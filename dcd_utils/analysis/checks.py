"""Turn what callers pass into clean arrays, or say what is wrong with it."""

import numpy as np


def matrix(values, name: str) -> np.ndarray:
    """`values` as a finite float array [N, D] (float64 stays, everything else becomes float32)."""
    values = _array(values)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{name}: got shape {values.shape}, expected [N, D] with at least one row and one column")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name}: got {values.dtype}, expected numbers")
    if values.dtype != np.float64:
        values = values.astype(np.float32, copy=False)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{name}: {int((~finite).sum())} of {len(values)} rows hold NaN or infinity (the first is row "
            f"{int(np.argmin(finite))}): look for a training that diverged"
        )
    return values


def labels(values, count: int, name: str = "labels") -> np.ndarray:
    """`values` as integers [count]."""
    values = _array(values)
    if values.shape != (count,):
        raise ValueError(f"{name}: got shape {values.shape}, expected [{count}], one for each image")
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name}: got {values.dtype}, expected integer class numbers")
    return values.astype(np.int64, copy=False)


def class_labels(values, count: int, num_classes: int) -> np.ndarray:
    """`values` as integers [count] in [0, num_classes) that name every class at least once."""
    values = labels(values, count)
    if values.min() < 0 or values.max() >= num_classes:
        span = f"labels run from {values.min()} to {values.max()}"
        raise ValueError(f"{span}, but there are {num_classes} classes: expected 0 to {num_classes - 1}")
    empty = np.flatnonzero(np.bincount(values, minlength=num_classes) == 0)
    if len(empty):
        shown = ", ".join(map(str, empty[:10])) + (", ..." if len(empty) > 10 else "")
        raise ValueError(
            f"{len(empty)} of {num_classes} classes have no image here ({shown}): pass images of every class"
        )
    return values


def same_images(values: dict) -> list[np.ndarray]:
    """Each of the values, by name, as `matrix` returns it; all must have as many rows."""
    arrays = {name: matrix(array, name) for name, array in values.items()}
    (first, rows), *others = ((name, len(array)) for name, array in arrays.items())
    for name, count in others:
        if count != rows:
            raise ValueError(
                f"{first} has {rows} rows and {name} has {count}: row i of both must come from the same image"
            )
    return list(arrays.values())


def neighbours(k: int, count: int) -> int:
    """`k` if `count` candidates can supply as many neighbours."""
    if k < 1 or k > count:
        raise ValueError(f"k={k} neighbours were asked for, but there are {count} candidates: choose 1 to {count}")
    return int(k)


def _array(values) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() and values.itemsize < 4 else values).numpy()
    return np.asarray(values)
