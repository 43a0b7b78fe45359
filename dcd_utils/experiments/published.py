"""The accuracies that were published, to stand beside ours; `figures/` holds them as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_DATA_SETS = ("cifar100", "stl10", "tiny_imagenet")


def published(dataset: str = "cifar100") -> pd.DataFrame:
    """Return the published top-1 accuracies, one row per pair and method, in the order of the paper's tables: teacher,
    student (as in `models.names`), method ("teacher", "alone", or as `distill` takes it), accuracy (%, last epoch;
    missing where n/a: fsp needs equal channels) and source.

    `dataset` is "cifar100", the 13 pairs (arXiv:2407.11802), or "stl10" or "tiny_imagenet", where a wrn_16_2 that
    learned from a wrn_40_2 on CIFAR-100 was frozen under a new linear classifier.
    Any other is a ValueError.
    """
    import pandas as pd

    if dataset not in _DATA_SETS:
        raise ValueError(f'nothing was published on "{dataset}": choose one of {", ".join(_DATA_SETS)}')
    table = pd.read_csv(Path(__file__).parent / "figures" / f"{dataset}.csv")
    table = table.melt("method", var_name="pair", value_name="accuracy")
    table[["teacher", "student"]] = table.pair.str.split(":", expand=True).to_numpy()
    by_authors = table.method.str.startswith(("dcd", "rrd"))
    table["source"] = by_authors.map({True: "authors' README", False: "RepDistiller"})
    return table[["teacher", "student", "method", "accuracy", "source"]]
