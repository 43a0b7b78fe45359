"""Losses: one file per method, and the weighted objective that sums them.

Every loss is called with what the student and the teacher make of the same B images: logits [B, C], pooled features
[B, width], or maps, a list of [B, channels, height, width] with the stem first and the stages after it. It returns a
scalar; no gradient reaches the teacher. The objective hands over float32 or wider. A loss with layers that fit the
networks is built from the widths of their pooled features, or from their maps of an example batch, of which only
shapes count. Shapes that do not fit and impossible settings raise ValueError.
"""

# a method takes its place in the list when its file is imported
# isort: off
from dcd_utils.losses.method import METHODS, Method, Stage, followers, names, parse, register
from dcd_utils.losses.kd import KDLoss
from dcd_utils.losses.fitnet import FitNetLoss
from dcd_utils.losses.at import ATLoss
from dcd_utils.losses.sp import SPLoss
from dcd_utils.losses.cc import CCLoss
from dcd_utils.losses.vid import VIDLoss
from dcd_utils.losses.rkd import RKDLoss
from dcd_utils.losses.pkt import PKTLoss
from dcd_utils.losses.ab import ABLoss
from dcd_utils.losses.ft import FTLoss
from dcd_utils.losses.fsp import FSPLoss
from dcd_utils.losses.nst import NSTLoss
from dcd_utils.losses.crd import CRDLoss
from dcd_utils.losses.rrd import RRDLoss
from dcd_utils.losses.dcd import DCDLoss, dcd_terms
from dcd_utils.losses.dkd import DKDLoss
from dcd_utils.losses.dist import DISTLoss
from dcd_utils.losses.lskd import LSKDLoss
from dcd_utils.losses.objective import Objective, default_weights, objective
# isort: on

__all__ = [
    "METHODS", "Method", "Objective", "Stage", "dcd_terms", "default_weights", "followers", "names", "objective",
    "parse", "register",
    "ABLoss", "ATLoss", "CCLoss", "CRDLoss", "DCDLoss", "DISTLoss", "DKDLoss", "FSPLoss", "FTLoss", "FitNetLoss",
    "KDLoss", "LSKDLoss", "NSTLoss", "PKTLoss", "RKDLoss", "RRDLoss", "SPLoss", "VIDLoss",
]  # fmt: skip
