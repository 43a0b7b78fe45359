"""Losses: one file a method, and the weighted objective that sums them."""

from dcd_utils.losses.dcd import DCDLoss, dcd_terms
from dcd_utils.losses.kd import KDLoss
from dcd_utils.losses.objective import METHODS, Method, Objective, names, objective, parse

__all__ = ["METHODS", "DCDLoss", "KDLoss", "Method", "Objective", "dcd_terms", "names", "objective", "parse"]
