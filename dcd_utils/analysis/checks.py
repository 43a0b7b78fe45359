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
        broken = f"{int((~finite).sum())} of {len(values)} rows hold NaN or infinity"
        raise ValueError(f"{name}: {broken} (the first is row {finite.argmin()}): look for a training that diverged")
    return values


def varying(values: np.ndarray, name: str, resolution: float = 1e-6, dtype=None) -> np.ndarray:
    """`values` [N, D] whose distances mean something: not all rows the same up to `resolution`, in parts of the largest
    number, and squares that neither overflow nor vanish in `dtype` (None: their own)."""
    limits = np.finfo(dtype or values.dtype)
    largest, spread = float(np.abs(values).max()), float(np.ptp(values / 2, axis=0).max()) * 2
    if spread <= max(resolution * largest, float(limits.tiny) ** 0.5):
        reach = f"{len(values)} images, numbers up to {largest:.2g} differ by {spread:.2g}"
        raise ValueError(f"{name}: the same for every image (or nearly so: {reach}), there is nothing to compare")
    if largest > (float(limits.max) / (8 * values.shape[1])) ** 0.5:
        raise ValueError(f"{name}: {largest:.2g} is too large to be squared: look for a training that diverged")
    return values


def scaled(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """`values` times a power of two, one for all or along an axis, which rounds nothing: the largest is 0.5 to 1."""
    return np.ldexp(values, -np.frexp(np.abs(values).max(axis=axis, keepdims=True))[1])


def labels(values, count: int, num_classes: int | None = None, name: str = "labels") -> np.ndarray:
    """`values` as integers [count], from 0 to num_classes - 1 if that is given."""
    values = _array(values)
    if values.shape != (count,):
        raise ValueError(f"{name}: got shape {values.shape}, expected [{count}], one for each image")
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name}: got {values.dtype}, expected integer class numbers")
    if num_classes is not None and not 0 <= values.min() <= values.max() < num_classes:
        span = f"{name} run from {values.min()} to {values.max()}"
        raise ValueError(f"{span}, but there are {num_classes} classes: expected 0 to {num_classes - 1}")
    return values.astype(np.int64, copy=False)


def same_images(values: dict, same_classes: bool = False) -> list[np.ndarray]:
    """Each of the values, by name, as `matrix` returns it; all must have as many rows (and columns)."""
    arrays = {name: matrix(array, name) for name, array in values.items()}
    (first, rows), *others = ((name, len(array)) for name, array in arrays.items())
    for name, count in others:
        if count != rows:
            found = f"{first} has {rows} rows and {name} has {count}"
            raise ValueError(f"{found}: row i of both must come from the same image")
    widths = [array.shape[1] for array in arrays.values()]
    if same_classes and widths[0] != widths[1]:
        raise ValueError(f"the student has {widths[0]} classes, the teacher {widths[1]}: they must be the same")
    return list(arrays.values())


def neighbours(k: int, count: int) -> int:
    """`k` if `count` candidates can supply as many neighbours."""
    if k < 1 or k > count:
        found = f"k={k} neighbours were asked for, but there are {count} candidates"
        raise ValueError(f"{found}: choose 1 to {count}, or pass more images")
    return int(k)


def _array(values) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() and values.itemsize < 4 else values).numpy()
    return np.asarray(values)
