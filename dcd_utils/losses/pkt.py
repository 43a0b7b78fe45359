"""Probabilistic knowledge transfer (Passalis and Tefas, 2018, arXiv:1803.10837)."""

from torch import Tensor, nn

from dcd_utils.losses.method import loss_of, unsized

_SMALLEST = 1e-7


def neighbours(features: Tensor) -> Tensor:
    """The chance of each row to be picked as another's neighbour: cosines, moved to [0, 1], rows of sum one: [B, B]."""
    unit = features / (features.norm(dim=1, keepdim=True) + _SMALLEST)
    kernel = (unit @ unit.T + 1) / 2
    return kernel / kernel.sum(dim=1, keepdim=True)


@loss_of("pkt", unsized, reads="pooled", weight=30000.0, source="Passalis and Tefas, 2018, arXiv:1803.10837")
class PKTLoss(nn.Module):
    """Divergence of the student's neighbour chances from the teacher's (arXiv:1803.10837, eq. 9).

    The mean over all B^2 entries, not the sum over a row, is what the published weight of 30,000 belongs to.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        p, q = neighbours(student), neighbours(teacher.detach())
        return (q * ((q + _SMALLEST) / (p + _SMALLEST)).log()).mean()
