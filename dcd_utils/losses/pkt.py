"""Probabilistic knowledge transfer (Passalis and Tefas, 2018, arXiv:1803.10837)."""

from torch import Tensor

from dcd_utils.distributed import gathered
from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import SHORTEST, Loss

_SMALLEST = 1e-7


def neighbours(features: Tensor) -> Tensor:
    """The chance of each row to be picked as another's neighbour: cosines, moved to [0, 1], rows of sum one: [B, B];
    in one of several processes its own rows of these."""
    lengths = features.norm(dim=1, keepdim=True)
    unit = features * (lengths > SHORTEST) / (lengths + _SMALLEST)  # see `shared.unit`
    kernel = (unit @ gathered(unit).T + 1) / 2
    return kernel / kernel.sum(dim=1, keepdim=True)


@loss_of("pkt", unsized, "pooled", spans="rows", weight=30000.0, source="Passalis and Tefas, 2018, arXiv:1803.10837")
class PKTLoss(Loss):
    """Divergence of the student's neighbour chances from the teacher's (arXiv:1803.10837, eq. 9). The mean over all B^2
    entries, not the sum over a row, is what the published weight of 30,000 belongs to."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        p, q = neighbours(student), neighbours(teacher.detach())
        return (q * ((q + _SMALLEST) / (p + _SMALLEST)).log()).mean()
