"""The accuracies that were published, to stand beside ours."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# top-1 % on CIFAR-100, a column a pair (arXiv:2407.11802; n/a: fsp needs equal channels)
_CIFAR100 = """
method   wrn_40_2:wrn_16_2  wrn_40_2:wrn_40_1  resnet56:resnet20  resnet110:resnet20  resnet110:resnet32
teacher              75.61              75.61              72.34               74.31               74.31
alone                73.26              71.98              69.06               69.06               71.14
kd                   74.92              73.54              70.66               70.67               73.08
fitnet               73.58              72.24              69.21               68.99               71.06
at                   74.08              72.77              70.55               70.22               72.31
sp                   73.83              72.43              69.67               70.04               72.69
cc                   73.56              72.21              69.63               69.48               71.48
vid                  74.11              73.30              70.38               70.16               72.61
rkd                  73.35              72.22              69.61               69.25               71.82
pkt                  74.54              73.45              70.34               70.25               72.61
ab                   72.50              72.38              69.47               69.53               70.98
ft                   73.25              71.59              69.84               70.22               72.37
fsp                  72.91                n/a              69.95               70.11               71.89
nst                  73.68              72.24              69.60               69.53               71.96
crd                  75.48              74.14              71.16               71.46               73.48
crd+kd               75.64              74.38              71.63               71.56               73.75
dcd                  74.99              73.69              71.18               71.00               73.12
dcd+kd               76.06              74.76              71.81               72.03               73.62
rrd                  75.33              73.55              70.71               70.72               73.10
rrd+kd               75.66              74.67              72.19               71.74               73.54

method   resnet32x4:resnet8x4  vgg13:vgg8  vgg13:MobileNetV2  ResNet50:MobileNetV2  ResNet50:vgg8
teacher                 79.42       74.64              74.64                 79.34          79.34
alone                   72.50       70.36              64.60                 64.60          70.36
kd                      73.33       72.98              67.37                 67.35          73.81
fitnet                  73.50       71.02              64.14                 63.16          70.69
at                      73.44       71.43              59.40                 58.58          71.84
sp                      72.94       72.68              66.30                 68.08          73.34
cc                      72.97       70.71              64.86                 65.43          70.25
vid                     73.09       71.23              65.56                 67.57          70.30
rkd                     71.90       71.48              64.52                 64.43          71.50
pkt                     73.64       72.88              67.13                 66.52          73.01
ab                      73.17       70.94              66.06                 67.20          70.65
ft                      72.86       70.58              61.78                 60.99          70.29
fsp                     72.62       70.23                n/a                   n/a            n/a
nst                     73.30       71.53              58.16                 64.96          71.28
crd                     75.51       73.94              69.73                 69.11          74.30
crd+kd                  75.46       74.29              69.94                 69.54          74.58
dcd                     74.23       73.22              68.35                 67.39          73.85
dcd+kd                  75.09       73.95              69.77                 70.03          74.08
rrd                     74.48       73.99              67.93                 68.84          74.01
rrd+kd                  75.08       74.32              69.98                 69.13          74.26

method   resnet32x4:ShuffleV1  resnet32x4:ShuffleV2  wrn_40_2:ShuffleV1
teacher                 79.42                 79.42               75.61
alone                   70.50                 71.82               70.50
kd                      74.07                 74.45               74.83
fitnet                  73.59                 73.54               73.73
at                      71.73                 72.73               73.32
sp                      73.48                 74.56               74.52
cc                      71.14                 71.29               71.38
vid                     73.38                 73.40               73.61
rkd                     72.28                 73.21               72.21
pkt                     74.10                 74.69               73.89
ab                      73.55                 74.31               73.34
ft                      71.75                 72.50               72.03
fsp                       n/a                   n/a                 n/a
nst                     74.12                 74.68               74.89
crd                     75.11                 75.65               76.05
crd+kd                  75.12                 76.05               76.27
dcd                     74.26                 75.26               74.98
dcd+kd                  76.01                 76.95               76.51
rrd                     74.11                 74.80               74.98
rrd+kd                  75.18                 76.83               76.31
"""

# a wrn_16_2 learned on CIFAR-100, frozen, under a new linear classifier: top-1 % on the other data sets
_TRANSFER = """
method   stl10  tiny_imagenet
teacher   68.6           31.5
alone     69.7           33.7
kd        70.9           33.9
at        70.7           34.2
fitnet    70.3           33.5
crd       71.6           35.6
crd+kd    72.2           35.5
dcd       71.2           35.0
dcd+kd    72.5           36.2
rrd       71.2           34.6
rrd+kd    71.4           34.5
"""


def published(dataset: str = "cifar100") -> pd.DataFrame:
    """The published top-1 accuracies, a row a pair and method, in the order of the paper's tables.

    Args:
        dataset: "cifar100", the 13 pairs; "stl10" or "tiny_imagenet", where a wrn_16_2 that learned from a wrn_40_2
            on CIFAR-100 was taken to.

    Returns:
        teacher, student (as in `models.names`), method ("teacher", "alone", or as `distill` takes it), accuracy (%,
        last epoch; missing where n/a) and source.

    Raises:
        ValueError: nothing was published on that data set.
    """
    import pandas as pd

    if dataset == "cifar100":
        parts = [_read(part) for part in _CIFAR100.split("\n\n")]
    elif dataset in ("stl10", "tiny_imagenet"):
        parts = [_read(_TRANSFER)[["method", dataset]].rename(columns={dataset: "wrn_40_2:wrn_16_2"})]
    else:
        raise ValueError(f'nothing was published on "{dataset}": choose one of cifar100, stl10, tiny_imagenet')
    table = pd.concat([part.melt("method", var_name="pair", value_name="accuracy") for part in parts])
    table[["teacher", "student"]] = table.pair.str.split(":", expand=True).to_numpy()
    own = table.method.str.startswith(("dcd", "rrd"))
    table["source"] = own.map({True: "authors' README", False: "RepDistiller"})
    return table[["teacher", "student", "method", "accuracy", "source"]].reset_index(drop=True)


def _read(text: str) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(io.StringIO(text), sep=r"\s+")
