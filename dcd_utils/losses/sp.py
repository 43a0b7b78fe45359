"""Similarity-preserving distillation (Tung and Mori, 2019, arXiv:1907.09682)."""

from torch import Tensor

from dcd_utils.distributed import gathered
from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import Loss, unit


def similarity(map: Tensor) -> Tensor:
    """How alike a batch's images are to a network: inner products of flattened maps, rows of unit length [B, B]; in
    one of several processes its own rows of these."""
    flat = map.flatten(1)
    return unit(flat @ gathered(flat).T)


@loss_of("sp", unsized, "maps", spans="rows", weight=3000.0, source="Tung and Mori, 2019, arXiv:1907.09682")
class SPLoss(Loss):
    """Squared distance of both last maps' similarity matrices of the batch, over B^2 (arXiv:1907.09682, eq. 4)."""

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        return (similarity(teacher[-1].detach()) - similarity(student[-1])).pow(2).mean()
