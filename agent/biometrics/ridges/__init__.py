"""Ridges compared place by place: a second look at two impressions that minutiae have laid over each other."""

from agent.biometrics.ridges.agreement import Agreement, compare
from agent.biometrics.ridges.block import LONGEST, RidgeMap, read, write
from agent.biometrics.ridges.enhancement import describe
from agent.biometrics.ridges.placing import elastic
from agent.biometrics.ridges.registration import Place

__all__ = ["LONGEST", "Agreement", "Place", "RidgeMap", "compare", "describe", "elastic", "read", "write"]
